"""The dispatcher: exit statuses, and what happens when the world, or we, go wrong."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import __version__, cli
from autoexp.cli import COMMANDS
from autoexp.commands import status
from autoexp.errors import AlreadyWatched, AutoexpError

if TYPE_CHECKING:
    from tests.conftest import Room

READING = {
    "simulate",
    "import",
    "convert",
    "gate",
    "inspect",
    "plan",
    "status",
    "why",
    "events",
    "replay",
    "report",
    "machines",
    "doctor",
}
TELL = {"what": "it is wrong", "why": "so", "fix": "mend it"}


def fail_with(error: BaseException) -> Callable[..., int]:
    def run(*_: object) -> int:
        raise error

    return run


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that fails."""

    def run(error: BaseException) -> int:
        monkeypatch.setattr(status, "run", fail_with(error))
        return cli.main(["status", "somewhere"])

    return run


# Exit statuses


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_no_command_is_a_usage_error_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().out.startswith("usage: autoexp COMMAND")


def test_the_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"autoexp {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"), [("stauts", "did you mean status?"), ("xyzzy", "autoexp --help lists the commands")]
)
def test_an_unknown_command_is_a_usage_error_with_a_hint(
    capsys: pytest.CaptureFixture[str], word: str, hint: str
) -> None:
    assert cli.main([word]) == 2
    assert capsys.readouterr() == ("", f"autoexp: there is no command {word!r}; {hint}\n")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["plan"], id="a missing argument"),
        pytest.param(["status", "--nonsense"], id="an unknown option"),
        pytest.param(["watch", "root", "--once", "--until-done"], id="two options that exclude each other"),
        pytest.param(["watch", "root", "--observer", "crystal"], id="a choice that there is not"),
        pytest.param(["status", "--js"], id="half an option"),
        pytest.param(["mark", "demo"], id="no verb"),
    ],
)
def test_a_wrong_use_is_status_2_and_shows_the_usage(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: autoexp {words[0]}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"\nautoexp {name}" in out.replace("  autoexp", "autoexp"), "its examples"
    assert "--debug" in out
    assert ("--json" in out) is (name in READING)


def test_an_error_of_the_users_is_three_lines_and_status_1(
    broken: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(AutoexpError(TELL["what"], why=TELL["why"], fix=TELL["fix"])) == 1
    assert capsys.readouterr() == ("", "autoexp: it is wrong\n  why: so\n  fix: mend it\n")


def test_a_watched_root_is_status_75(broken: Callable[[BaseException], int]) -> None:
    assert broken(AlreadyWatched(TELL["what"], why=TELL["why"], fix=TELL["fix"])) == 75


def test_an_interruption_is_status_130(
    broken: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_what_the_computer_refuses_is_the_users_to_fix(
    broken: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert broken(OSError(number, os.strerror(number), "/some/file")) == 1

    what, why, fix = capsys.readouterr().err.splitlines()
    assert what == "autoexp: /some/file cannot be read or written"
    assert why == f"  why: {os.strerror(number)}"
    assert fix.startswith("  fix: ")


def test_a_python_without_our_packages_is_the_users_to_fix(
    broken: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(ModuleNotFoundError("No module named 'omegaconf'", name="omegaconf")) == 1

    what, why, fix = capsys.readouterr().err.splitlines()
    assert what == "autoexp: the package omegaconf is missing"
    assert why == f"  why: {sys.executable} has none"
    assert fix.startswith("  fix: activate the environment")


@pytest.mark.parametrize("name", [None, "autoexp.gone"])
def test_a_module_of_ours_that_is_missing_is_a_bug_of_ours(
    broken: Callable[[BaseException], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert broken(ModuleNotFoundError("No module", name=name)) == 3


def test_an_error_of_the_computer_that_we_should_have_foreseen_is_a_bug_of_ours(
    broken: Callable[[BaseException], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert broken(FileNotFoundError(errno.ENOENT, "No such file", "/some/file")) == 3


# Who reads what is printed


@pytest.fixture
def planned(room: "Room") -> "Room":
    """A room in which some commands have something to print."""
    room.plan("one: {sweep: {params: {n: [1, 2, 3]}}, command: 'true'}\n")
    return room


PRINTING = [["--help"], ["--version"], ["status"], ["status", "--json"], ["plan", "demo.yaml", "--dry-run"]]


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_reader_who_has_seen_enough_is_no_error(planned: "Room", words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = planned.run_into(writing, *words)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_who_leaves_in_the_middle_is_no_error(planned: "Room") -> None:
    planned.run("watch", planned.root, "--once")
    reading, writing = os.pipe()
    os.close(reading)

    done = planned.run_into(writing, "events", planned.root, "--follow")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_closed_output_is_no_error(planned: "Room", words: list[str]) -> None:
    planned.prefix = ("sh", "-c", 'exec "$@" >&-', "sh")

    done = planned.run(*words)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_full_disk_is_told(planned: "Room", words: list[str]) -> None:
    done = planned.run_into(os.open("/dev/full", os.O_WRONLY), *words)

    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["  why: No space left on device", "  fix: make room, then do it again"]


def test_an_interrupted_program_says_nothing_of_its_insides(planned: "Room") -> None:
    program = planned.start("events", planned.root, "--follow", stdout=subprocess.PIPE)
    planned.run("watch", planned.root, "--once")
    assert program.stdout is not None
    with program.stdout:
        program.stdout.readline()
        status = planned.stop(program, signal.SIGINT)

    assert status == 130
    assert planned.said() == ""
