import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room


def test_a_computer_in_order_passes_and_nothing_is_changed(here: "Room", say: "Say") -> None:
    before = sorted(here.home.rglob("*"))

    done = say("doctor", "--machine", "local")

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("ok    machine: local, executor local, as you named it")
    assert {line[:6] for line in done.out.splitlines()} <= {"ok    ", "warn  "}
    assert sorted(here.home.rglob("*")) == before


def test_what_failed_decides_the_status_and_is_in_the_json(here: "Room", say: "Say") -> None:
    (here.home / "machines" / "odd.yaml").write_text("executor: local\npython: /opt/none/python\n")

    done = say("doctor", "--machine", "odd", "--root", "there", "--json")
    told = json.loads(done.out)

    assert done.status == 1
    assert (told["machine"], told["root"]) == ("odd", str(here.home / "there"))
    (failed,) = [finding for finding in told["findings"] if finding["grade"] == "FAIL"]
    assert failed == {
        "grade": "FAIL",
        "what": "python of jobs",
        "why": "/opt/none/python cannot be run",
        "fix": "correct python: in machines/odd.yaml",
    }


def test_a_cluster_that_is_not_recognised_is_told(
    here: "Room", say: "Say", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    first = say("doctor").out.splitlines()[0]

    assert first.startswith("warn  machine: local, executor local, though there is an sbatch: no machine's")
    monkeypatch.setenv("CLUSTER", "ours")
    (here.home / "machines" / "own.yaml").write_text("identify: {environment: {CLUSTER: ours}}\n")
    assert say("doctor").out.splitlines()[0] == "ok    machine: own, executor local: CLUSTER=ours"
    monkeypatch.setenv("CLUSTER", "theirs")
    told = [say("doctor", "--machine", name).out.splitlines()[0] for name in ("own", "local")]
    elsewhere = "ok    machine: own, executor local, as you named it; its identify rule does not hold here"
    assert told == [elsewhere, "ok    machine: local, executor local, as you named it"]


def test_a_machine_that_is_none_is_refused(say: "Say") -> None:
    done = say("doctor", "--machine", "nowhere")

    assert (done.status, done.out) == (1, "")
    assert "unknown machine 'nowhere'" in done.err


def test_a_batch_scheduler_s_machine_is_asked_for_its_own(
    here: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here.home.is_dir()
    monkeypatch.setenv("PATH", "/nowhere")

    done = say("doctor", "--machine", "slurm")

    assert done.status == 1
    assert done.out.splitlines()[-1].startswith("FAIL  Slurm's clients: ")
