import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from autoexp import machines
from autoexp.errors import AutoexpError, RecipeError
from autoexp.model import Machine, Network
from autoexp.places import Places


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder with a machines/ of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "machines").mkdir()
    return tmp_path / "machines"


def read(raw: dict[str, Any]) -> Machine:
    return machines.read("m", raw, Places("m.yaml"))


def test_the_machine_that_came_along_is_this_computer() -> None:
    local = machines.load("local")

    assert (local.name, local.executor, local.python) == ("local", "local", sys.executable)
    assert (local.sweep_s, local.poll_s, local.visibility_s) == (10, 1, 1)
    assert (local.stop_grace_s, local.save_grace_s) == (10, 300)


def test_a_machine_is_what_its_file_says() -> None:
    raw = {
        "description": "d",
        "executor": "slurm",
        "cpus": 8,
        "gpus": 0,
        "python": "/py",
        "observer": "poll",
        "sweep": "1m",
    }

    made = read({**raw, "environment": ["MODULEPATH"], "programs": {"megatron": "/opt/pretrain.py"}})

    assert made == Machine(
        name="m",
        description="d",
        executor="slurm",
        cpus=8,
        gpus=0,
        python="/py",
        environment=("MODULEPATH",),
        programs={"megatron": "/opt/pretrain.py"},
        observer="poll",
        sweep_s=60,
    )


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown key": ({"exectuor": "local"}, "m.yaml: exectuor: unknown key 'exectuor'", "did you mean executor?"),
    "a bare duration": ({"sweep": 10}, "sweep: 10 is no duration", "write it with its unit"),
    "cpus as text": ({"cpus": "8"}, "cpus: '8' is no cpus", "write cpus: a count"),
    "cpus as a boolean": ({"cpus": True}, "cpus: True is no cpus", "write cpus: a count"),
    "gpus below zero": ({"gpus": -1}, "gpus: -1 is no gpus", "write gpus: a count"),
    "an unknown observer": (
        {"observer": "eyes"},
        "'eyes' is no observer",
        "write observer: one of auto, inotify, poll",
    ),
    "one name for a list": ({"environment": "PATH"}, "'PATH' is no environment", "write environment: a list of names"),
    "programs as a list": ({"programs": ["a"]}, "['a'] is no programs", "write programs: BACKEND: PROGRAM"),
    "an executor that is no text": ({"executor": 3}, "3 is no executor", "write executor: text"),
    "a rule that is text": ({"identify": "lumi"}, "'lumi' is no identify", "write identify: environment:"),
    "an unknown rule": ({"identify": {"host": "a"}}, "identify.host: unknown key 'host'", "did you mean hostname?"),
    "a rule without values": ({"identify": {"environment": "A"}}, "'A' is no rule", "write {NAME: VALUE}"),
    "a bad pattern": ({"identify": {"hostname": "uan["}}, "'uan[' is no pattern", "write a regex"),
}


@pytest.mark.parametrize(("raw", "what", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_machine_file_that_cannot_be_read_names_the_key(raw: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(raw)

    assert what in caught.value.what
    assert caught.value.why
    assert caught.value.fix.startswith(fix)


def test_an_unknown_machine_lists_those_there_are(here: Path) -> None:
    (here / "lumi.yaml").write_text("executor: local\n")

    with pytest.raises(AutoexpError, match=r"unknown machine 'luni'\n  why: there are .*local, lumi"):
        machines.load("luni")


HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        pytest.param(f"{{hostname: '{HOST}'}}", True, id="by its host"),
        pytest.param("{hostname: '.*'}", True, id="by a pattern"),
        pytest.param(f"{{hostname: '{HOST}x'}}", False, id="another host"),
        pytest.param("{environment: {CLUSTER: lumi}}", True, id="by a variable"),
        pytest.param("{environment: {CLUSTER: jupiter}}", False, id="another value"),
        pytest.param("{environment: {NOT_SET_ANYWHERE: x}}", False, id="a variable that is not set"),
        pytest.param("{environment: {CLUSTER: lumi}, hostname: 'nowhere'}", False, id="all of it has to fit"),
        pytest.param("{environment: {NUMBER: 7}}", True, id="a number is compared as text"),
        pytest.param("{}", False, id="no rule"),
    ],
)
def test_auto_is_the_machine_whose_rule_fits_and_else_this_computer(
    here: Path, monkeypatch: pytest.MonkeyPatch, rule: str, *, found: bool
) -> None:
    monkeypatch.setenv("CLUSTER", "lumi")
    monkeypatch.setenv("NUMBER", "7")
    (here / "aaa.yaml").write_text(f"identify: {rule}\nexecutor: slurm\n")

    assert machines.load("auto").name == ("aaa" if found else "local")


def test_a_broken_machine_file_is_told_when_it_might_be_the_one(here: Path) -> None:
    (here / "aaa.yaml").write_text("executor: local\nidentify: {hostname: '['}\n")

    with pytest.raises(RecipeError, match=r"aaa.yaml:2: identify.hostname: '\[' is no pattern"):
        machines.load("auto")


def test_cores_and_gpus_are_counted_unless_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machines.cpus(Machine(name="m", cpus=3)) == 3
    assert machines.cpus(Machine(name="m")) == len(os.sched_getaffinity(0))
    assert machines.gpus(Machine(name="m", gpus=2)) == ("0", "1")
    assert len(machines.gpus(Machine(name="m"))) == len(list(Path("/dev").glob("nvidia[0-9]*")))


@pytest.mark.parametrize(
    ("visible", "given", "used"),
    [
        ("1,3", None, ("1", "3")),
        ("1,3", 1, ("1",)),
        ("3", 8, ("3",)),
        ("", 8, ()),
        ("-1", None, ()),
        ("0, 2", 2, ("0", "2")),
    ],
)
def test_gpus_that_we_may_not_see_are_not_handed_out(
    monkeypatch: pytest.MonkeyPatch, visible: str, given: int | None, used: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert machines.gpus(Machine(name="m", gpus=given)) == used


def test_a_network_is_named_or_given_in_numbers() -> None:
    made = read({"network": {"node": "h100", "link": "ndr400", "links_per_gpu": 0.5, "link_share": 0.7}})

    assert made.network == Network(node="h100", link="ndr400", links_per_gpu=0.5, link_share=0.7)
    assert read({"network": {"threshold": 300}}).network == Network(threshold_gbps=300)
    assert read({}).network == Network()


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ({"node": "h1000"}, "'h1000' is no node we know"),
        ({"link": "a100"}, "'a100' is no link we know"),
        ({"link": ["ndr400"]}, "is no link we know"),
        ({"treshold": 3}, "unknown key 'treshold'"),
        ({"threshold": 0}, "0 is no threshold"),
        ({"node_share": True}, "True is no node_share"),
        ({"node_share": "0.5"}, "'0.5' is no node_share"),
        ("h100", "'h100' is no network"),
    ],
)
def test_a_network_that_is_none_is_refused(network: object, what: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(what)):
        read({"network": network})
