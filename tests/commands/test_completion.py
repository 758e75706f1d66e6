"""What shells complete; bash is asked itself, by typing."""

import shlex
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from autoexp.cli import COMMANDS
from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room


@pytest.fixture
def terminal(here: "Room") -> Iterator[Terminal]:
    """A bash that has read our script, in a room with a study, where `autoexp` is on the PATH."""
    here.plan("train: {sweep: {params: {n: [17]}}, command: 'echo ${n}'}\nscore: {needs: train, command: 'true'}\n")
    program = here.write("bin/autoexp", f'#!/bin/sh\nexec {shlex.join(here.command())} "$@"\n')
    program.chmod(0o755)
    variables = {**here.environment(), "PATH": f"{program.parent}:{here.environment()['PATH']}"}
    found = Terminal(here.home)
    found.start({**variables, "AUTOEXP_ROOT": str(here.root), "INPUTRC": "/dev/null"})
    found.type(f'cd {here.home}; eval "$(autoexp completion bash)"; clear; PS1="ready% "', "Enter")
    found.wait_for("^ready%$")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("autoexp sim", "autoexp simulate"),
        ("autoexp status --fol", "autoexp status --follow"),
        ("autoexp why demo/tr", "autoexp why demo/train-n17"),
        ("autoexp mark demo/score res", "autoexp mark demo/score restart"),
        ("autoexp report de", "autoexp report demo"),
        ("autoexp plan dem", "autoexp plan demo.yaml"),
        ("autoexp watch exper", "autoexp watch experiments"),
    ],
)
def test_bash_completes_what_is_typed(terminal: Terminal, typed: str, becomes: str) -> None:
    terminal.type(typed, "Tab")

    terminal.wait_for(rf"^ready% {becomes}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_knows_each_command(say: "Say", shell: str) -> None:
    done = say("completion", shell)

    assert (done.status, done.err) == (0, "")
    assert [name for name in COMMANDS if name not in done.out] == []
    assert "until-done" in done.out


def test_bash_finds_no_fault_with_its_script(say: "Say") -> None:
    script = say("completion", "bash").out

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_the_scripts_are_told_the_names_under_the_root(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'true'}\n")

    assert say("completion", "studies").out.split() == ["demo"]
    assert say("completion", "jobs").out.split() == ["demo", "demo/one"]


def test_where_there_is_no_root_there_are_no_names(say: "Say") -> None:
    done = say("completion", "jobs")

    assert (done.status, done.err) == (0, "")
