import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Said
    from tests.conftest import Room

LOG = """\
# nThread 1 nGpus 2 minBytes 1073741824 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20
#  Rank  0 Group  0 Pid   4000 on node001 device  0 [0x07] GPU
#  Rank  1 Group  0 Pid   4000 on node001 device  1 [0x0b] GPU
  1073741824     268435456     float     sum      -1  10000.0  107.37  107.37      0  10100.0  106.31  106.31      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 106.84
"""
Say = Callable[..., "Said"]


@pytest.fixture
def log(here: "Room") -> Path:
    return here.write("nccl.log", LOG)


def parse(say: Say, log: Path, *words: str) -> dict[str, Any]:
    said = say("gate", "--machine", "local", "--parse", log, "--json", *words)
    verdict: dict[str, Any] = json.loads(said.out)
    assert verdict["code"] == said.status
    return verdict


def test_a_log_is_judged_and_the_verdict_is_the_exit_status(say: Say, log: Path) -> None:
    assert parse(say, log, "--ranks", "2", "--hosts", "1", "--threshold", "100") == {
        "verdict": "pass",
        "code": 0,
        "cause": "fast enough",
        "busbw_gbps": 106.31,
        "threshold_gbps": 100.0,
        "ranks": 2,
        "suspects": [],
    }
    assert parse(say, log, "--threshold", "200")["code"] == 46
    assert parse(say, log, "--ranks", "8")["code"] == 48
    assert parse(say, log.parent / "absent")["code"] == 44


def test_the_machine_s_network_is_the_threshold(say: Say, log: Path, here: "Room") -> None:
    here.write("machines/node.yaml", "network: {node: a100}\n")
    here.write("machines/old.yaml", "network: {node: v100_nvlink, node_share: 0.5}\n")

    assert say("gate", "--machine", "node", "--parse", log).status == 46
    assert say("gate", "--machine", "old", "--parse", log).status == 0


def test_a_person_reads_one_line(say: Say, log: Path) -> None:
    log.write_text("node7: Test NCCL failure common.cu:1 'unhandled cuda error'\n")

    said = say("gate", "--parse", log)

    assert said.out.startswith("fail (44): node7: Test NCCL failure")
    assert said.out.endswith("look at node7\n")


def test_more_hosts_than_ranks_are_refused_before_anything_is_measured(say: Say) -> None:
    said = say("gate", "--ranks", "2", "--hosts", "3", "--threshold", "1")

    assert said.status == 1
    assert "2 ranks cannot be on 3 hosts" in said.err


@pytest.mark.parametrize("flags", [("--threshold", "nan"), ("--threshold", "0"), ("--ranks", "0"), ("--hosts", "x")])
def test_limits_that_are_none_are_usage_errors(say: Say, flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        say("gate", *flags)


def test_without_a_log_it_measures_and_prints_nothing_but_the_verdict(room: "Room") -> None:
    room.machine(network={"threshold": 1e-6})

    done = room.run("gate", "--machine", "bench", "--ranks", "2", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ranks"] == 2
    assert "Avg bus bandwidth" in done.stderr


def test_a_network_that_does_not_tell_is_said_before_anything_is_measured(say: Say, here: "Room") -> None:
    here.write("machines/node.yaml", "network: {node: a100}\n")

    said = say("gate", "--machine", "node", "--ranks", "16", "--hosts", "2")

    assert said.status == 1
    assert "fix: give --threshold GBPS" in said.err


def test_a_hook_that_breaks_is_a_failed_gate(say: Say, here: "Room") -> None:
    here.write("hooks/nccl_gate.py", "raise SystemExit(3)\n")

    said = say("gate", "--machine", "local", "--json")

    assert (said.status, json.loads(said.out)["cause"]) == (44, "the hook ended with status 3, and wrote no verdict")
