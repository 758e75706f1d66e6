"""Slurm's clients, on a real cluster: what is written for them, and what they say."""

import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoexp import hosts
from autoexp.events import SubmitLost, SubmitRefused, Submitted
from autoexp.executors import open_executor
from autoexp.executors import slurm as slurm_executor
from autoexp.executors.slurm import Printed, Slurm, directives
from autoexp.jobfiles import run_script
from autoexp.machine import Machine
from autoexp.model import EndingClass, JobSpec, Resources
from autoexp.orders import Order, take_back
from autoexp.submissions import Entry, Question
from autoexp.throttle import ALL
from tests.conftest import Room, wait_until
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Shim

MACHINE = Machine(name="here", executor="slurm", options={"mem": "100M"})
AWKWARD = "a b'c\"d$(touch pwned)`touch pwned`\\e;%j"


@pytest.fixture
def client(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return Slurm(MACHINE)


def test_who_stays_unknown_keeps_nobody_else_from_being_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounting forgets, and there may be more such jobs than names in a question."""
    monkeypatch.setattr(slurm_executor, "NAMES_AT_ONCE", 2)
    asked: list[list[str]] = []

    def call(*command: str, **_: object) -> Printed:
        if command[0] == "sacct":
            asked.append(
                next(word for word in command if word.startswith("--name=")).removeprefix("--name=").split(",")
            )
            return Printed(1, "", "sacct: error: busy")
        return Printed(0, "", "")

    monkeypatch.setattr(slurm_executor, "call", call)
    scheduler = Slurm(MACHINE)
    for _ in range(3):
        scheduler.find([Question(name=f"job{number}") for number in range(5)])

    assert asked == [["job0", "job1"], ["job2", "job3"], ["job4", "job0"]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A job's directory in which everything is awkward."""
    job = tmp_path / "a b'c%j;$HOME" / "one"
    (job / "attempts" / "001").mkdir(parents=True)
    yield job
    assert not (job / "pwned").exists()


def order_in(folder: Path, token: str = "", *, argv: tuple[str, ...] = ("true",), **more: Resources) -> Order:
    """Write a job's run.sh, and return the order of its first attempt."""
    resources = more.get("resources", Resources())
    spec = JobSpec(
        id="one", study="demo", stage="one", argv=argv, resources=resources, env={"AWKWARD": AWKWARD + "\nf"}
    )
    (folder / "run.sh").write_text(run_script(spec, str(folder.parent), "", directives(MACHINE, resources)))
    token = token or f"one.1.{os.urandom(4).hex()}"
    names = {
        "AUTOEXP_TOKEN": token,
        "AUTOEXP_ATTEMPT": "1",
        "AUTOEXP_DIR": str(folder),
        "AUTOEXP_ROOT": str(folder.parent),
    }
    return Order(
        token=token,
        attempt=1,
        job_dir=folder,
        attempt_dir=folder / "attempts" / "001",
        resources=resources,
        environment=names,
    )


def submit(client: Slurm, order: Order) -> str:
    outcome = client.submit(order, time.time())
    assert isinstance(outcome, Submitted), outcome
    return str(outcome.scheduler_id)


def ask(client: Slurm, *orders: Order, over: bool = False, number: str | None = None) -> dict[str, list[Entry]]:
    questions = [Question(name=o.token, id=number, since=time.time() - 60, over=over) for o in orders]
    found = client.find(questions)
    assert found is not None
    return {name: list(entries) for name, entries in found.items()}


def test_awkward_values_reach_the_program_as_they_are(client: Slurm, folder: Path) -> None:
    script = 'printf "%s|%s" "$AWKWARD" "$1" > out.part; mv out.part out'
    submit(client, order_in(folder, argv=("bash", "-c", script, "bash", AWKWARD)))

    wait_until((folder / "out").exists, "the program")

    assert (folder / "out").read_text() == f"{AWKWARD}\nf|{AWKWARD}"
    wait_until((folder / "attempts" / "001" / "exit.json").exists)
    assert (folder / "attempts" / "001" / "output.log").exists(), "its path is taken as it is"


@pytest.mark.parametrize(
    "resources",
    [
        Resources(),
        Resources(nodes=2, cpus=2, memory_bytes=300 << 20, walltime_s=3661, requeue=True),
        Resources(options={"comment": AWKWARD, "exclusive": "", "job-name": "overridden", "partition": "main"}),
    ],
    ids=["nothing", "much", "options"],
)
def test_scripts_are_what_bash_shellcheck_and_sbatch_expect(
    client: Slurm, slurm: Cluster, folder: Path, resources: Resources
) -> None:
    order_in(folder, argv=("bash", "-c", AWKWARD, AWKWARD + "\n"), resources=resources)

    checks = (
        ("bash", "-n", "run.sh"),
        ("shellcheck", "--severity=warning", "run.sh"),
        ("sbatch", "--test-only", "run.sh"),
    )
    for command in checks:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **slurm.env}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert client.machine is MACHINE


def test_a_job_sees_nothing_of_our_environment_but_what_it_may(
    client: Slurm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "canary")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SBATCH_COMMENT", "a default for sbatch")
    submit(client, order_in(folder, argv=("bash", "-c", "env > env.part; mv env.part env")))

    wait_until((folder / "env").exists)

    seen = (folder / "env").read_text()
    assert "canary" not in seen
    assert "SBATCH_" not in seen
    assert "SLURM_JOB_ID=77\n" not in seen


def test_a_job_is_found_by_its_name_from_the_queue_to_its_end(client: Slurm, folder: Path) -> None:
    order = order_in(folder, argv=("bash", "-c", "until test -e go; do sleep 0.1; done"))
    number = submit(client, order)

    (entry,) = ask(client, order)[order.token]
    assert (entry.id, entry.live, entry.said.ending) == (number, True, None)
    assert abs(entry.submitted_at - time.time()) < 60, "in seconds since the epoch, whatever the zone"
    (folder / "go").touch()
    wait_until(lambda: not ask(client, order)[order.token][0].live, "its end")

    (entry,) = ask(client, order)[order.token]
    assert (entry.said.ending, entry.said.hosts[0][0]) == (EndingClass.UNKNOWN, "n"), "its exit file says more"


def test_what_the_queue_does_not_have_is_looked_for_in_the_accounting(
    client: Slurm, room: Room, shim: Shim, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_in(folder)
    number = submit(client, order)
    wait_until(lambda: not ask(client, order)[order.token][0].live, "its end")
    shim.put("squeue", "exit 0")  # as after MinJobAge
    monkeypatch.setenv("PATH", room.variables["PATH"])

    found = wait_until(lambda: ask(client, order).get(order.token), "the accounting")

    assert [entry.id for entry in found] == [number]
    assert ask(client, order_in(folder, "never.1.submitted"))["never.1.submitted"] == []


def test_only_what_lives_matters_of_an_attempt_that_is_over(
    client: Slurm, room: Room, shim: Shim, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim.count("sacct")
    monkeypatch.setenv("PATH", room.variables["PATH"])
    order = order_in(folder, "long.1.gone")

    assert ask(client, order, over=True) == {order.token: []}
    assert shim.calls("sacct") == []


@pytest.mark.parametrize("script", ["exit 1", "echo broken >&2; exit 1", "kill -9 $$"])
def test_a_query_that_fails_is_no_answer(
    client: Slurm, room: Room, shim: Shim, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    shim.put("squeue", script)
    monkeypatch.setenv("PATH", room.variables["PATH"])

    assert client.find([Question(name="one.1.x")]) is None


def test_while_the_accounting_fails_nothing_is_known_of_what_vanished(
    client: Slurm, room: Room, shim: Shim, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim.put("sacct", "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    monkeypatch.setenv("PATH", room.variables["PATH"])

    assert client.find([Question(name="one.1.x", id="99999")]) == {}


def test_without_accounting_the_controllers_word_that_it_knows_no_such_id_counts(
    client: Slurm, room: Room, shim: Shim, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim.put("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    monkeypatch.setenv("PATH", room.variables["PATH"])

    found = client.find([Question(name="one.1.x", id="99999"), Question(name="two.1.x")])

    assert found is not None
    ((entry,), never) = found["one.1.x"], found["two.1.x"]
    assert (entry.live, entry.said.ending, never) == (False, None, [])


def test_a_job_is_ended_by_its_id_and_its_name_together(client: Slurm, folder: Path) -> None:
    order = order_in(folder, argv=("sleep", "60"))
    number = submit(client, order)

    client.end("another.1.name", [number], politely=False)
    assert ask(client, order)[order.token][0].live
    wait_until(lambda: client.end(order.token, [number], politely=False), "its end")
    wait_until(lambda: not ask(client, order)[order.token][0].live, "its end")


def test_a_program_is_asked_politely_by_way_of_the_batch_script(client: Slurm, folder: Path) -> None:
    script = "trap 'echo saved > saved; exit 0' TERM; touch ready; while :; do sleep 0.1; done"
    order = order_in(folder, argv=("bash", "-c", script))
    number = submit(client, order)
    wait_until((folder / "ready").exists)

    wait_until(lambda: client.end(order.token, [number], politely=True))

    wait_until((folder / "saved").exists, "the program's own end")
    wait_until((folder / "attempts" / "001" / "exit.json").exists)


def test_a_second_acceptance_leaves_quietly(client: Slurm, folder: Path) -> None:
    order = order_in(folder, argv=("bash", "-c", "echo ran >> ran; until test -e go; do sleep 0.1; done"))
    first, second = submit(client, order), submit(client, order)
    wait_until((folder / "ran").exists)
    wait_until(lambda: sum(entry.live for entry in ask(client, order)[order.token]) == 1, "the loser's end")

    (folder / "go").touch()
    wait_until((folder / "attempts" / "001" / "exit.json").exists)

    assert (folder / "ran").read_text() == "ran\n"
    assert (folder / "attempts" / "001" / f"run.{order.token}").read_text().strip() in {first, second}


def test_what_was_taken_back_never_runs(client: Slurm, folder: Path) -> None:
    order = order_in(folder, argv=("touch", "ran"))
    assert take_back(order)

    submit(client, order)
    wait_until(lambda: not ask(client, order)[order.token][0].live, "its end")

    assert not (folder / "ran").exists()


def test_an_excluded_host_is_not_used(client: Slurm, slurm: Cluster, folder: Path) -> None:
    plain = order_in(folder, argv=("sleep", "60"))
    order = Order(
        token=plain.token,
        attempt=1,
        job_dir=folder,
        attempt_dir=plain.attempt_dir,
        environment=plain.environment,
        excluded=("n1", "n2", "n3"),
    )

    number = submit(client, order)

    wait_until(lambda: slurm.run("squeue", "--noheader", "--format=%N", f"--jobs={number}").strip() == "n4", "its node")


@pytest.mark.parametrize("excluded", [("n1", "n2", "n3", "n4"), ("n1", "scrapped")], ids=["every node", "a stranger"])
def test_a_job_is_not_refused_for_the_nodes_that_it_is_to_avoid(
    client: Slurm, slurm: Cluster, folder: Path, excluded: tuple[str, ...]
) -> None:
    order = replace(order_in(folder), excluded=excluded)

    number = submit(client, order)

    look = ("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={number}")
    wait_until(lambda: slurm.run(*look).strip() == "COMPLETED", "its end")


def test_every_task_of_an_array_counts_as_slurm_counts_it(client: Slurm, slurm: Cluster) -> None:
    slurm.run("sbatch", "--array=1-30", "--begin=now+600", "--output=/dev/null", "--wrap=true")

    assert client.find([]) == {}
    assert client.load()[ALL] == 30


def test_clients_that_are_not_there_are_no_reason_to_give_up(
    client: Slurm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    outcome = client.submit(order_in(folder), 0.0)

    assert isinstance(outcome, SubmitRefused)
    assert (outcome.temporary, "sbatch" in outcome.reason) == (True, True)
    assert client.find([]) is None


@pytest.mark.parametrize(
    ("code", "output", "errors"),
    [
        (None, "", ""),
        (-9, "", "sbatch: error: Batch job submission failed: Invalid account"),
        (1, "7\n", "sbatch: error: Batch job submission failed: Invalid account"),
        (1, "", "sbatch: lua: Requested account is charged 12 GPUh"),
    ],
    ids=["it took too long", "it was killed", "it printed an id", "a banner"],
)
def test_an_sbatch_that_did_not_surely_fail_leaves_its_submission_in_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int | None, output: str, errors: str
) -> None:
    monkeypatch.setattr(slurm_executor, "call", lambda *_, **__: Printed(code, output, errors))

    assert isinstance(Slurm(MACHINE).submit(order_in(tmp_path), 0.0), SubmitLost)


def test_a_client_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()

    assert slurm_executor.call("sleep", "60", patience_s=0.2).code is None
    assert time.monotonic() - began < 30.0


def test_without_accounting_it_is_known_how_soon_the_controller_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "AccountingStorageType = accounting_storage/{}\nMessageTimeout = 10 sec\nMinJobAge = 120 sec\n"
    for kept, remembers_s in (("none", 120.0), ("slurmdbd", math.inf)):
        monkeypatch.setattr(slurm_executor, "call", lambda *_, kept=kept: Printed(0, said.format(kept), ""))
        client = Slurm(MACHINE)
        client.find([])
        assert client.remembers_s == remembers_s


def test_an_answer_without_an_id_is_none(
    client: Slurm, room: Room, shim: Shim, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim.put("sbatch", "exit 0")
    monkeypatch.setenv("PATH", room.variables["PATH"])

    assert isinstance(client.submit(order_in(folder), 0.0), SubmitLost)


def test_a_client_that_an_earlier_watcher_left_is_seen(client: Slurm) -> None:
    with subprocess.Popen(["sleep", "60"], env={"AUTOEXP_TOKEN": "one.1.x", "PATH": os.environ["PATH"]}) as left:
        wait_until(lambda: left.pid in set(hosts.carriers("AUTOEXP_TOKEN", "one.1.x")))
        assert not client.is_quiet("one.1.x")
        left.kill()
    assert client.is_quiet("one.1.x")


def test_the_controller_says_how_long_a_message_may_take(client: Slurm) -> None:
    client.find([])

    assert client.message_timeout_s == 10.0


def test_the_executor_is_found_by_its_name() -> None:
    assert open_executor(MACHINE).trouble() is None


def test_a_client_that_takes_too_long_is_ended_with_what_a_site_s_wrapper_has_started(tmp_path: Path) -> None:
    done = slurm_executor.call(
        "bash", "-c", "echo so far >&2; sleep 1000 & echo $! > pid; wait", folder=str(tmp_path), patience_s=1
    )

    assert (done.code, done.errors) == (None, "so far\n")
    left = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    wait_until(lambda: not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z", "its end")
