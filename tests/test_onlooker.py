"""Looking on while jobs move, in a real terminal."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.errors import AutoexpError
from autoexp.onlooker import Onlooker
from autoexp.page.live import Live
from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.conftest import Room

STAGES = """
one:
  sweep: {params: {n: [1, 2, 3]}}
  start: {file_exists: {path: "${dir}/../../go"}}
  command: 'while ! test -e ../../end; do sleep 0.1; done; test ${n} -ne 2'
two: {needs: one, command: 'true'}
"""
ENDS = ("one-n1  succeeded", "one-n2  failed", "one-n3  succeeded", "two  skipped")


@pytest.fixture
def planned(room: "Room") -> "Room":
    """A study whose jobs begin, and end, when a file is there."""
    room.plan(STAGES)
    return room


@pytest.fixture
def terminal(planned: "Room") -> Iterator[Terminal]:
    found = Terminal(planned.home)
    yield found
    found.close()


def follow(room: "Room", terminal: Terminal, *words: str, **settings: str) -> None:
    """Start the program in a shell of the terminal; what it ends with is printed after it."""
    told = shlex.join(room.command("status", room.root, "--follow", *words))
    terminal.start({**room.environment(), **settings})
    terminal.type(f"clear; {told}; echo ended: $?", "Enter")


def test_the_screen_is_right_while_jobs_move(planned: "Room", terminal: Terminal) -> None:
    study = planned.root / "demo"
    follow(planned, terminal)
    lines = terminal.wait_for(r"^demo: 4 waiting$", is_drawn=True)
    assert lines[0].startswith("no watcher; start one: autoexp watch /")
    assert lines[2:4] == ["  one  [------------------------] 0/3", "  two  [------------------------] 0/1"]

    planned.watch()
    (study / "go").touch()
    lines = terminal.wait_for(r"^demo: 3 running, 1 waiting$", is_drawn=True)
    assert lines[2:4] == [
        "  one  [------------------------] 0/3  3 running",
        "  two  [------------------------] 0/1",
    ]
    assert [line.split()[:2] for line in lines[4:8]] == [
        ["running", "one-n1"],
        ["running", "one-n2"],
        ["running", "one-n3"],
        ["waiting", "two"],
    ]

    (study / "end").touch()
    lines = terminal.wait_for(r"^demo: 1 failed, 1 skipped, 2 succeeded$", is_drawn=True)
    assert lines[2:4] == [
        "  one  [########################] 3/3",
        "  two  [########################] 1/1",
    ]
    assert [line.split()[:2] for line in lines[4:8]] == [
        ["failed", "one-n2"],
        ["skipped", "two"],
        ["succeeded", "one-n1"],
        ["succeeded", "one-n3"],
    ]
    assert lines[4].endswith("exit code 1")
    assert lines[8:] == [""] * 16
    assert "\x1b[31mfailed\x1b[39m" in "\n".join(terminal.shown("-e"))

    terminal.type("C-c")
    assert "ended: 130" in terminal.wait_for("^ended")
    assert lines[1:8] == terminal.shown()[1:8], "the last picture stays"


def test_what_does_not_fit_is_counted_and_a_resized_screen_drawn_anew(planned: "Room", terminal: Terminal) -> None:
    follow(planned, terminal)
    terminal.wait_for("two .*waiting", is_drawn=True)

    terminal.resize(50, 6)
    lines = terminal.wait_for("^and 2 more waiting$", is_drawn=True)
    assert [line.split()[:1] for line in lines] == [["no"], ["demo:"], ["waiting"], ["waiting"], ["and"], []]

    terminal.resize(100, 30)
    lines = terminal.wait_for("two .*one-n1 is waiting", is_drawn=True)
    assert sum(line.startswith("waiting") for line in lines) == 4


def test_enter_draws_the_screen_anew_and_the_end_of_the_input_ends_it(planned: "Room", terminal: Terminal) -> None:
    follow(planned, terminal)
    before = terminal.wait_for("two .*waiting", is_drawn=True)

    terminal.type("rubbish", *["Enter"] * 30)
    planned.wait_until(lambda: terminal.shown() == before)
    terminal.type("C-d")

    assert "ended: 0" in terminal.wait_for("^ended")


def test_who_wants_no_colors_gets_none(planned: "Room", terminal: Terminal) -> None:
    planned.run("mark", "demo/two", "cancel", "--root", str(planned.root))
    planned.run("watch", planned.root, "--once")
    follow(planned, terminal, NO_COLOR="1")

    terminal.wait_for("^cancelled")

    assert "\x1b[33" not in "\n".join(terminal.shown("-e"))


def test_a_terminal_that_cannot_redraw_gets_a_line_for_each_move(planned: "Room", terminal: Terminal) -> None:
    follow(planned, terminal, TERM="xterm")
    terminal.wait_for("two .*waiting", is_drawn=True)
    terminal.type("C-c")
    terminal.wait_for("^ended")

    words = shlex.join(planned.command("status", planned.root, "--follow"))
    terminal.type(f"clear; TERM=dumb {words}; echo ended: $?", "Enter")
    planned.wait_until(lambda: terminal.shown()[0] == "demo: 4 waiting")

    (planned.root / "demo" / "go").touch()
    planned.watch()
    terminal.wait_for("demo/one-n3  running  attempt 1$")


def test_elsewhere_it_prints_a_line_for_each_move(planned: "Room") -> None:
    (planned.root / "demo" / "go").touch()
    (planned.root / "demo" / "end").touch()
    said = planned.home / "said.txt"
    with said.open("wb") as file:
        looker = planned.start("status", planned.root, "--follow", stdout=file)
        planned.wait_until(lambda: said.read_text() == "demo: 4 waiting\n")
        planned.watch()
        planned.wait_until(lambda: all(f"demo/{end}" in said.read_text() for end in ENDS))

    assert planned.stop(looker) == 130
    moves = [line.split("  ")[1:] for line in said.read_text().splitlines()[1:]]
    assert ["demo/one-n2", "failed", "attempt 1", "exit code 1"] in moves


def test_programs_get_the_lines_as_json(planned: "Room") -> None:
    told = planned.command("status", planned.root, "--follow", "--json", "--where", 'stage == "one"')
    looker = subprocess.Popen(told, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **planned.settings())
    planned.watchers.append(looker)
    assert looker.stdout is not None

    rows = [json.loads(looker.stdout.readline()) for _ in range(3)]

    assert [row["job"] for row in rows] == ["one-n1", "one-n2", "one-n3"]
    assert {row["state"] for row in rows} == {"waiting"}
    looker.stdout.close()


def test_a_choice_is_followed_as_jobs_move(planned: "Room") -> None:
    onlooker = Onlooker(Live(planned.root), 'state == "cancelled"')
    assert onlooker.look() == []
    assert onlooker.look() is None

    planned.run("mark", "demo/two", "cancel", "--root", str(planned.root))
    planned.run("watch", planned.root, "--once")
    news = onlooker.look() or []

    assert [row["job"] for row in news] == ["two"]
    assert [key.job for key in onlooker.jobs] == ["two"]


def test_a_choice_that_makes_no_sense_is_refused(planned: "Room") -> None:
    with pytest.raises(AutoexpError, match="colour"):
        Onlooker(Live(planned.root), "colour == 1").look()


def test_while_nothing_changes_it_does_next_to_nothing(planned: "Room", terminal: Terminal) -> None:
    follow(planned, terminal)
    terminal.wait_for("two .*waiting", is_drawn=True)
    pid = int(terminal.tmux("display-message", "-p", "#{pane_pid}"))
    (looker,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def ticks() -> int:
        return sum(map(int, Path(f"/proc/{looker}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    planned.wait_until_after(3.0)

    assert ticks() - before <= 0.03 * 3.0 * os.sysconf("SC_CLK_TCK")
