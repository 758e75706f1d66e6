"""What is written to a terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoexp.screen import Screen

QUIET_S = 0.3


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal of 40 x 10: our end, and the program's."""
    ours, theirs = pty.openpty()
    resize(theirs, 10, 40)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def resize(terminal: int, lines: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@pytest.fixture
def written(terminal: tuple[int, int]) -> Callable[[], str]:
    """What was written since; a terminal hands it on a moment later."""

    def read() -> str:
        found = b""
        while select.select([terminal[0]], [], [], QUIET_S)[0]:
            found += os.read(terminal[0], 65536)
        return found.decode().replace("\r\n", "\n")

    return read


@pytest.fixture
def screen(terminal: tuple[int, int], written: Callable[[], str]) -> Iterator[Screen]:
    """A screen on the terminal, entered."""
    with Screen(terminal[1], "ascii") as opened:
        assert written() == "\n" * 9
        yield opened


def test_only_lines_that_have_changed_are_written(screen: Screen, written: Callable[[], str]) -> None:
    screen.draw(["one", "two", "three"])
    assert written() == "\x1b[H\x1b[2J\x1b[1;1H\x1b[Kone\x1b[2;1H\x1b[Ktwo\x1b[3;1H\x1b[Kthree\x1b[10;1H"

    screen.draw(["one", "TWO", "three"])
    assert written() == "\x1b[2;1H\x1b[KTWO\x1b[10;1H"

    screen.draw(["one", "TWO", "three"])
    assert written() == ""

    screen.draw(["one"])
    assert written() == "\x1b[2;1H\x1b[K\x1b[3;1H\x1b[K\x1b[10;1H"


@pytest.mark.parametrize("how", ["resized", "stopped and continued", "asked"])
def test_what_may_be_spoiled_is_drawn_anew(
    screen: Screen, terminal: tuple[int, int], written: Callable[[], str], how: str
) -> None:
    screen.draw(["one"])
    written()
    before = screen.is_spoiled

    if how == "resized":
        resize(terminal[1], 5, 20)
        assert screen.room == (19, 4)
    elif how == "asked":
        screen.spoil()
    else:
        os.kill(os.getpid(), signal.SIGCONT)
    meanwhile = screen.is_spoiled
    screen.draw(["one"])

    assert (before, meanwhile, screen.is_spoiled) == (False, True, False)
    assert written().startswith("\x1b[H\x1b[2J\x1b[1;1H\x1b[Kone")


def test_what_its_encoding_lacks_is_a_question_mark(screen: Screen, written: Callable[[], str]) -> None:
    screen.draw(["日本"])

    assert "??" in written()


def test_the_last_picture_stays_above_the_cursor(terminal: tuple[int, int], written: Callable[[], str]) -> None:
    with Screen(terminal[1], "ascii") as screen:
        screen.draw(["one", "two"])
        written()

    assert written() == "\x1b[3;1H\x1b[J"
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


@pytest.mark.parametrize(("lines", "columns"), [(0, 0), (0, 80)])
def test_a_terminal_that_does_not_know_its_size_is_taken_for_a_usual_one(
    screen: Screen, terminal: tuple[int, int], lines: int, columns: int
) -> None:
    resize(terminal[1], lines, columns)

    assert screen.size() == (80, 24)


def test_without_a_terminal_the_size_is_the_usual(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert Screen(file.fileno(), "ascii").size() == (80, 24)
