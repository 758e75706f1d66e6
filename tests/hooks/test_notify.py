"""Telling people something."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from autoexp.errors import HookRefused

if TYPE_CHECKING:
    from tests.conftest import Room

HOOK = Path(__file__).parents[2] / "hooks" / "notify.py"
TEXT = "loss 'nan'; $(touch hacked) \"quoted\""


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    """The hook as a module."""
    return load("notify")


@pytest.mark.parametrize(
    "command",
    [
        ["tee", "told"],
        ["bash", "-c", 'printf "%s\\n" "$1" > told', "-", "{text}"],
        'printf "%s\\n" "$AUTOEXP_TEXT" > told',
        "cat > told",
    ],
)
def test_the_command_gets_the_text_as_it_is(hook: ModuleType, tmp_path: Path, command: object) -> None:
    hook.prepare(tmp_path, command=command, text=TEXT)

    assert (tmp_path / "told").read_text() == f"{TEXT}\n"
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"command": "echo no such address; exit 3"}, "bash ended with 3: no such address"),
        ({"command": ["/no/such/program"]}, "/no/such/program cannot be run"),
        ({"command": ["a\0b"]}, "cannot be run"),
        ({"command": "sleep 60", "timeout": 0.2}, "bash took longer than 0.2 s"),
        ({"command": []}, "its command is"),
        ({"command": {"mail": "me"}}, "its command is"),
        ({"command": "true", "timeout": "soon"}, "its timeout is 'soon'"),
        ({}, "its command is None"),
    ],
)
def test_who_cannot_be_told_is_a_lasting_refusal(
    hook: ModuleType, tmp_path: Path, values: dict[str, object], why: str
) -> None:
    with pytest.raises(HookRefused) as refused:
        hook.prepare(tmp_path, text="it happened", **values)

    assert why in refused.value.why
    assert not refused.value.temporary


def test_a_command_that_reads_nothing_is_no_trouble(hook: ModuleType, tmp_path: Path) -> None:
    assert hook.prepare(tmp_path, command="echo sent", text="x" * 100_000) == {"said": "sent"}


@pytest.mark.parametrize(("command", "status"), [("cat", 0), ("false", 1)])
def test_it_can_be_tried_by_hand(command: str, status: int) -> None:
    words = [sys.executable, str(HOOK), "--text", "hello", "--command", command]

    done = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == status
    assert json.loads(done.stdout) == {"said": "hello"} if not status else "nobody was told" in done.stderr


def test_an_event_of_a_study_tells_people(room: "Room") -> None:
    room.machine()
    recipe = room.write(
        "told.yaml",
        "study: told\nstages:\n  train:\n    command: 'echo loss is nan'\n    notify: {command: 'cat >> told.txt'}\n"
        "    events:\n      spike: {log: nan, do: {notify: '{job}: {line}'}}\n",
    )

    assert room.start("run", recipe, "--machine", "bench").wait(60) == 0, room.said()

    assert (room.job_dir("train", "told") / "told.txt").read_text() == "train: loss is nan\n"


def test_a_key_that_it_does_not_take_is_refused_when_planning(room: "Room") -> None:
    room.machine()
    recipe = room.write(
        "told.yaml",
        "study: told\nstages:\n  train:\n    command: [train]\n    notify: {comand: cat}\n"
        "    events: {spike: {log: nan, do: {notify: hello}}}\n",
    )

    done = room.run("plan", recipe, "--dry-run", "--machine", "bench")

    assert done.returncode == 1
    assert "told.yaml:5" in done.stderr
    assert "comand" in done.stderr
