import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.checkup import Grade, Patient, examine
from autoexp.checkup import slurm as checks
from autoexp.machine import Machine, Partition
from tests.slurm.cluster import Cluster, cluster

if TYPE_CHECKING:
    from tests.checkup.conftest import Ask
    from tests.conftest import Room


@pytest.fixture
def there(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, reached from here."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def test_a_cluster_in_order_is_in_order(there: Cluster, room: "Room") -> None:
    room.variables |= there.env
    room.machine(executor="slurm", options="{mem: 100M}", partition="main", account="lab", qos="normal")

    done = room.run("doctor", "--machine", "bench", "--root", room.root)

    assert "FAIL" not in done.stdout
    assert done.returncode == 0
    found = dict(line[6:].split(": ", 1) for line in done.stdout.splitlines())
    assert found["cluster"] == "test, Slurm 22.05.8" or found["cluster"].startswith("test, Slurm ")
    assert (found["message timeout"], found["partition"]) == ("10 s", "main is up")
    assert (found["account"], found["qos"]) == ("lab is yours", "normal is yours")
    assert "UP" in found["controller"]
    assert found["accounting"].startswith("on: ")
    assert found["submission"].startswith("a small job would be taken: Job ")
    assert there.states() == {}


def test_a_controller_that_is_down_fails_and_nothing_more_is_asked(there: Cluster, room: "Room") -> None:
    there.stop_part("slurmctld")
    room.variables |= there.env
    room.machine(executor="slurm")

    done = room.run("doctor", "--machine", "bench", "--root", room.root)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("FAIL  controller: Slurmctld(primary) at ")
    assert "DOWN" in done.stdout.splitlines()[-1]


def test_a_database_that_is_down_fails(there: Cluster, ask: "Ask") -> None:
    there.stop_part("slurmdbd")

    found = ask(checks.accounting)["accounting"]

    assert (found.grade, found.fix) == (Grade.FAIL, "ask the site: slurmdbd does not answer")
    assert ask(checks.account)["account"].grade is Grade.WARN


def test_a_cluster_without_accounting_is_told(ask: "Ask", monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(accounting=False) as simple:
        monkeypatch.setenv("SLURM_CONF", simple.env["SLURM_CONF"])

        assert ask(checks.accounting)["accounting"].why.startswith("off: ")
        assert ask(checks.account, options={"account": "lab"})["account"].grade is Grade.WARN
        assert ask(checks.account)["account"].grade is Grade.OK


@pytest.mark.usefixtures("there")
def test_a_partition_that_is_none_fails_with_those_there_are(ask: "Ask") -> None:
    found = ask(checks.partitions, options={"partition": "gpu"}, partitions={"gpu": Partition(), "big": Partition()})

    assert found["partition"].line() == (
        "FAIL  partition: the cluster has no gpu; correct partition: in machines/m.yaml; there are main, short, urgent"
    )
    assert found["partitions"].grade is Grade.WARN
    assert found["partitions"].why.startswith("the cluster has no big")


def test_a_partition_that_is_down_is_told(there: Cluster, ask: "Ask") -> None:
    there.run("scontrol", "update", "partitionname=short", "state=down")
    try:
        found = ask(checks.partitions, options={"partition": "main,short"})["partition"]
    finally:
        there.run("scontrol", "update", "partitionname=short", "state=up")

    assert (found.grade, found.why) == (Grade.WARN, "short is down")


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(("key", "name"), [("account", "elsewhere"), ("qos", "gold")])
def test_an_account_or_a_qos_of_others_fails(ask: "Ask", key: str, name: str) -> None:
    found = ask(checks.account, options={key: name})[key]

    assert found.grade is Grade.FAIL
    assert found.why.startswith(f"{name} is not among yours: ")
    assert found.fix == f"correct {key}: in machines/m.yaml"


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "gpu"}, "correct partition: in the stage's resources or in the machine file"),
        ({"mem": "999G"}, ""),
        ({"account": "elsewhere"}, "correct account: in the stage's resources or the machine file"),
        ({"gres": "gpu:1"}, ""),
    ],
    ids=["partition", "memory", "account", "gpus"],
)
def test_a_job_that_slurm_would_refuse_fails_with_slurm_s_words(
    ask: "Ask", options: dict[str, str], words: str
) -> None:
    found = ask(checks.submission, executor="slurm", options=options)["submission"]

    assert found.grade is Grade.FAIL
    assert found.why.startswith("a small job would be refused: ")
    assert words in found.fix


def test_variables_that_go_before_what_jobs_say_are_told(ask: "Ask", monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(checks.overrides) == {}
    monkeypatch.setenv("SBATCH_PARTITION", "short")

    found = ask(checks.overrides)["environment"]

    assert (found.grade, found.fix) == (Grade.WARN, "unset SBATCH_PARTITION")
    assert "SBATCH_PARTITION=short goes before" in found.why


def examined() -> list[str]:
    patient = Patient(machine=Machine(name="m"), root=Path("/nowhere"))
    return [finding.line() for finding in examine(patient, (checks.CHECKS,))]


def test_a_host_without_slurm_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    (line,) = examined()

    assert line.startswith(
        "FAIL  Slurm's clients: sbatch, squeue, scancel, sacct, scontrol, sinfo not found on the PATH"
    )


def test_a_client_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexec sleep 3600\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(checks, "PATIENCE_S", 0.2)

    lines = examined()

    assert lines[1:] == [f"FAIL  controller: no answer within 0.2 s; {checks.ASK_THE_SITE}"]


def test_clients_without_a_cluster_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none.conf"))

    lines = examined()

    assert [line[:16] for line in lines] == ["ok    Slurm's cl", "FAIL  controller"]
