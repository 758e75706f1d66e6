import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

Settle = Callable[[], None]
FIELDS = ["job", "stage", "state", "reason", "attempt", "iteration", "since", "scheduler_id"]
MIXED = """
bad: {command: 'exit 3'}
good: {command: 'true'}
idle: {start: {file_exists: {path: never}}, command: 'true'}
over: {needs: bad, command: 'true'}
"""


@pytest.fixture
def mixed(here: "Room", settle: Settle) -> "Room":
    """A study that has come to all kinds of ends."""
    here.plan(MIXED)
    here.touch("idle", "hold")
    settle()
    return here


def test_a_study_that_nobody_ever_watched_waits(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")

    told = json.loads(say("status", "experiments", "--json").out)

    assert told == {
        "root": str(here.root),
        "watcher": None,
        "studies": [
            {
                "study": "demo",
                "gpu_hours": {"budget": None, "used": 0.0, "promised": 0.0},
                "jobs": [
                    dict(
                        zip(FIELDS, ("one", "one", "waiting", "nothing to wait for", 0, None, None, None), strict=True)
                    ),
                    dict(zip(FIELDS, ("two", "two", "waiting", "one is waiting", 0, None, None, None), strict=True)),
                ],
            }
        ],
        "problems": {},
    }


def test_json_says_who_watches_and_what_runs(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'sleep 60'}\n")
    watcher = here.watch()
    here.wait_for({"one": "running"})

    told = json.loads(say("status", here.root, "--json").out)
    shown = say("status", here.root).out.splitlines()

    assert list(told["watcher"]) == ["pid", "host", "since"]
    assert told["watcher"]["pid"] == watcher.pid
    (row,) = told["studies"][0]["jobs"]
    assert list(row) == FIELDS
    assert (row["attempt"], row["scheduler_id"]) == (1, str(here.pid_of("one")))
    assert row["since"].endswith("Z")
    assert shown[0] == (
        f"watched by pid {watcher.pid} on {os.uname().nodename} since {told['watcher']['since']} (inotify)"
    )


def test_what_needs_a_person_comes_first(mixed: "Room", say: "Say") -> None:
    assert mixed.root.is_dir()
    lines = say("status", "experiments").out.splitlines()

    assert lines[0] == "no watcher; start one: autoexp watch experiments"
    assert lines[1:3] == ["", "demo: 1 failed, 1 held, 1 skipped, 1 succeeded"]
    assert [line.split()[:2] for line in lines[3:]] == [
        ["failed", "bad"],
        ["held", "idle"],
        ["skipped", "over"],
        ["succeeded", "good"],
    ]
    assert lines[3].endswith("  exit code 3")
    assert lines[5].endswith("  bad is failed")


def test_one_root_may_hold_several_studies_or_none(here: "Room", say: "Say") -> None:
    here.root.mkdir()
    assert say("status").out.splitlines()[-1] == "no studies; plan one: autoexp plan RECIPE"

    for study in ("b", "a"):
        here.plan("one: {command: 'true'}\n", study=study)

    assert [line for line in say("status").out.splitlines() if line[1:2] == ":"] == ["a: 1 waiting", "b: 1 waiting"]


def test_a_study_that_cannot_be_read_is_told_and_the_others_are_shown(here: "Room", say: "Say") -> None:
    for study in ("good", "torn"):
        here.plan("one: {command: 'true'}\n", study=study)
    plan = here.root / "torn" / "plan.json"
    plan.write_bytes(plan.read_bytes()[:100])

    told = json.loads(say("status", "--json").out)
    shown = say("status").out

    assert [study["study"] for study in told["studies"]] == ["good"]
    assert list(told["problems"]) == ["torn"]
    assert f"problem: torn: {plan} cannot be read" in shown
    assert "good: 1 waiting" in shown


def test_a_retired_job_that_is_gone_is_not_shown(here: "Room") -> None:
    waiting = "one: {sweep: {params: {n: [1, 2]}}, start: {file_exists: {path: never}}, command: 'true'}\n"
    here.plan(waiting)
    here.run("watch", here.root, "--once")
    assert list(here.states()) == ["one-n1", "one-n2"]

    here.plan(waiting.replace("[1, 2]", "[1]"))
    here.run("watch", here.root, "--once")

    assert list(here.states()) == ["one-n1"]


def test_a_root_that_may_only_be_read_is_shown(mixed: "Room", humble: tuple[str, ...]) -> None:
    places = [mixed.home, *(path for path in mixed.home.rglob("*") if path.is_dir())]
    for path in places:
        path.chmod(0o555)
    mixed.prefix = humble

    done = mixed.run("status", mixed.root)
    for path in places:
        path.chmod(0o755)

    assert (done.returncode, done.stderr) == (0, "")
    assert "demo: 1 failed, 1 held, 1 skipped, 1 succeeded" in done.stdout


@pytest.mark.parametrize(
    ("words", "what"),
    [
        pytest.param(
            ["status", "nowhere"], "nowhere is no experiments folder\n  why: there is no such", id="no folder"
        ),
        pytest.param(["status", "demo.yaml"], "demo.yaml is no experiments folder\n  why: it is a file", id="a file"),
        pytest.param(["status", "--var", "other"], "keeps its runtime state in", id="another var than its own"),
        pytest.param(["status", "--follow", "--var", "other"], "keeps its runtime state in", id="followed, the same"),
        pytest.param(["status", "--follow", "--where", "colour == 1"], "colour", id="followed, a choice of nothing"),
    ],
)
def test_a_root_that_cannot_be_read_says_why(here: "Room", say: "Say", words: list[str], what: str) -> None:
    here.plan("one: {command: 'true'}\n")
    here.run("watch", here.root, "--once")

    said = say(*words)

    assert said.status == 1
    assert what in said.err


def on_a_terminal(room: "Room", *words: str | Path, **variables: str) -> bytes:
    """What a command shows on a terminal."""
    ours, theirs = pty.openpty()
    try:
        settings = {**room.environment(), **variables}
        subprocess.run(room.command(*words), env=settings, cwd=room.home, stdout=theirs, timeout=60, check=True)
    finally:
        os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        return terminal.read(65536)


def test_a_terminal_shows_colors_unless_they_are_not_wanted(mixed: "Room", say: "Say") -> None:
    red = b"\x1b[31mfailed"

    assert red in on_a_terminal(mixed, "status", mixed.root)
    assert b"\x1b" not in on_a_terminal(mixed, "status", mixed.root, NO_COLOR="1")
    assert "\x1b" not in say("status", mixed.root).out
