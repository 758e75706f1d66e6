import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import studies, study_files
from autoexp.actions import Action, AppearJob, QueueAhead, StopJob, SubmitJob, WithdrawJob
from autoexp.errors import AutoexpError
from autoexp.events import Appeared, Ended, Event, SubmitRefused, Submitted
from autoexp.executor import Executors, Outcome, carry_out, order_of
from autoexp.executors.local import Local
from autoexp.machine import Machine
from autoexp.model import EndingClass, HookCall, Job, JobSpec, Run, State
from autoexp.registry import Ledger, Registry

if TYPE_CHECKING:
    from tests.conftest import Room

Specs = Callable[..., JobSpec]
AT = 1_795_210_801.25
SUBMIT = SubmitJob(job="one", attempt=1)


@pytest.fixture
def bench() -> Local:
    return Local(Machine(name="bench"), cpus=4, gpus=())


@pytest.fixture
def submitting(make_ledger: Callable[..., Ledger], make_spec: Specs) -> Callable[..., Ledger]:
    """A study on disk with one job whose first attempt is to be submitted."""

    def make(**fields: Any) -> Ledger:
        job = Job(spec=make_spec("one", **fields), state=State.SUBMITTING, attempt=1, token="one.1.0000")
        ledger = make_ledger(job)
        study_files.write(ledger.study, "", None)
        return ledger

    return make


def act(action: Action, ledger: Ledger, bench: Local) -> list[Outcome]:
    return list(carry_out(action, ledger, bench, AT))


def event_of(outcomes: list[Outcome]) -> Event:
    (outcome,) = outcomes
    return outcome.event


def refusal(outcomes: list[Outcome]) -> SubmitRefused:
    event = event_of(outcomes)
    assert isinstance(event, SubmitRefused)
    return event


# Orders


def test_an_order_says_all_that_an_executor_needs(submitting: Callable[..., Ledger]) -> None:
    ledger = submitting()
    folder = ledger.dir_of("one")

    order = order_of(ledger.jobs["one"], ledger)

    assert (order.token, order.attempt, order.job_dir) == ("one.1.0000", 1, folder)
    assert order.attempt_dir == folder / "attempts" / "001"
    assert order.environment == {
        "AUTOEXP_ROOT": str(ledger.study.root),
        "AUTOEXP_STUDY": "demo",
        "AUTOEXP_JOB": "one",
        "AUTOEXP_ATTEMPT": "1",
        "AUTOEXP_DIR": str(folder),
        "AUTOEXP_TOKEN": "one.1.0000",
    }


# Submitting


def test_the_intent_is_on_disk_before_the_submission(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()

    assert event_of(act(SUBMIT, ledger, bench)) == Submitted(at=AT, attempt=1)

    intent = json.loads((ledger.dir_of("one") / "attempts" / "001" / "intent.json").read_text())
    assert intent == {
        "v": 1,
        "token": "one.1.0000",
        "job": "one",
        "attempt": 1,
        "at": "2026-11-20T21:40:01.250000Z",
        "pid": os.getpid(),
        "kept": {"spent": 0},
    }
    assert list(bench.queue) == ["one.1.0000"]


def test_current_log_names_the_newest_attempts_log(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()
    link = ledger.dir_of("one") / "current.log"
    link.symlink_to("attempts/000/output.log")

    act(SUBMIT, ledger, bench)

    assert link.readlink() == Path("attempts/001/output.log")
    assert sorted(path.name for path in link.parent.iterdir() if path.name.startswith(".")) == []


def test_submitting_again_is_the_same_attempt(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()
    act(SUBMIT, ledger, bench)
    intent = (ledger.dir_of("one") / "attempts" / "001" / "intent.json").read_bytes()

    assert event_of(act(SUBMIT, ledger, bench)) == Submitted(at=AT, attempt=1)
    assert (ledger.dir_of("one") / "attempts" / "001" / "intent.json").read_bytes() == intent
    assert len(bench.queue) == 1


@pytest.mark.parametrize("text", ['{"token":"one.1.ffff"}', "{", ""], ids=["another's", "torn", "empty"])
def test_an_attempt_that_the_journal_does_not_know_is_never_overwritten(
    submitting: Callable[..., Ledger], bench: Local, text: str
) -> None:
    ledger = submitting()
    intent = ledger.dir_of("one") / "attempts" / "001" / "intent.json"
    intent.parent.mkdir(parents=True)
    intent.write_text(text)

    refused = refusal(act(SUBMIT, ledger, bench))

    assert intent.read_text() == text
    assert not refused.temporary
    assert "attempt 1 already exists on disk" in refused.reason
    assert f"autoexp mark {ledger.dir_of('one')} retry" in refused.fix
    assert bench.queue == {}


def test_what_is_queued_ahead_says_what_it_waits_for(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()
    ledger.put(replace(ledger.jobs["one"], state=State.RUNNING, scheduler_id="77", spent=2, reduced={}))

    assert act(QueueAhead(job="one", attempt=1), ledger, bench) == []

    intent = json.loads((ledger.dir_of("one") / "attempts" / "002" / "intent.json").read_text())
    assert (intent["token"], intent["after"], intent["kept"]) == ("one.2.0000", 1, {"spent": 2})


def test_what_has_begun_is_not_prepared_again(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting(prepare=(HookCall(name="gone", path="/nowhere/gone.py"),))
    (ledger.dir_of("one") / "attempts" / "001").mkdir(parents=True)
    (ledger.dir_of("one") / "attempts" / "001" / "run.one.1.0000").write_text("77\n")

    assert event_of(act(SUBMIT, ledger, bench)) == Submitted(at=AT, attempt=1)


def test_a_job_whose_directory_is_gone_is_not_made_again(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()
    (ledger.dir_of("one") / "run.sh").unlink()

    refused = refusal(act(SUBMIT, ledger, bench))

    assert refused.temporary
    assert "run.sh is gone" in refused.reason
    assert not (ledger.dir_of("one") / "attempts").exists()


# Preparing


@pytest.fixture
def prepared(submitting: Callable[..., Ledger], tmp_path: Path) -> Callable[[str], Ledger]:
    """A job that a hook prepares; the hook is what is given."""

    def make(text: str) -> Ledger:
        path = tmp_path / "hooks" / f"hook{len(text)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return submitting(prepare=(HookCall(name=path.stem, path=str(path), values={"size": 3}),))

    return make


def test_a_hook_prepares_the_jobs_directory_before_it_is_submitted(
    prepared: Callable[[str], Ledger], bench: Local
) -> None:
    ledger = prepared("def prepare(folder, size):\n    (folder / 'made').write_text('x' * size)\n    return {}\n")

    assert isinstance(event_of(act(SUBMIT, ledger, bench)), Submitted)
    assert (ledger.dir_of("one") / "made").read_text() == "xxx"


@pytest.mark.parametrize("temporary", [True, False])
def test_what_a_hook_refuses_is_not_submitted(
    prepared: Callable[[str], Ledger], bench: Local, *, temporary: bool
) -> None:
    text = "from autoexp.errors import HookRefused\ndef prepare(folder, size):\n"
    ledger = prepared(f"{text}    raise HookRefused('not yet', why='too early', fix='wait', temporary={temporary})\n")

    refused = refusal(act(SUBMIT, ledger, bench))

    assert (refused.reason, refused.fix, refused.temporary) == ("not yet: too early", "wait", temporary)
    assert bench.queue == {}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        pytest.param("def prepare(folder, size):\n    return {}[size]\n", 2, "KeyError(3)", id="raises"),
        pytest.param("import sys\ndef prepare(folder, size):\n    sys.exit(4)\n", 3, "SystemExit(4)", id="exits"),
        pytest.param("import no_such_thing_at_all\n", 1, "No module named", id="cannot be loaded"),
        pytest.param("def prepare(folder):\n    pass\n", None, "unexpected keyword argument", id="takes other values"),
    ],
)
def test_a_broken_hook_is_one_jobs_mishap(
    prepared: Callable[[str], Ledger], bench: Local, text: str, line: int | None, what: str
) -> None:
    ledger = prepared(text)

    refused = refusal(act(SUBMIT, ledger, bench))

    assert not refused.temporary
    assert what in refused.reason
    path = ledger.jobs["one"].spec.prepare[0].path
    assert f"broke: {path}:{line}: " in refused.reason if line else f"broke: {path}: " in refused.reason


def done(ledger: Ledger) -> list[str]:
    return sorted(path.name for path in (ledger.dir_of("one") / "done").iterdir())


@pytest.mark.parametrize(("afresh", "left"), [(0, ["iter_0000010", "iter_0000020"]), (1, ["iter_0000020"])])
def test_a_restart_forgets_what_a_batch_had_done_before_it_and_nothing_else(
    submitting: Callable[..., Ledger], bench: Local, afresh: int, left: list[str]
) -> None:
    ledger = submitting(iterations=(10, 20), runs=(Run(), Run()))
    ledger.put(replace(ledger.jobs["one"], afresh=afresh))
    (ledger.dir_of("one") / "done").mkdir()
    (ledger.dir_of("one") / "done" / "iter_0000010").write_text("0\n")
    (ledger.dir_of("one") / "done" / "iter_0000020").write_text("1\n")

    for _ in range(2):  # a crash may come at any time, and each effect is safe to repeat
        act(SUBMIT, ledger, bench)
        assert done(ledger) == left


# The other actions


def test_a_queued_attempt_that_is_withdrawn_has_ended(submitting: Callable[..., Ledger], bench: Local) -> None:
    ledger = submitting()
    act(SUBMIT, ledger, bench)

    ended = event_of(act(WithdrawJob(job="one", attempt=1), ledger, bench))

    assert isinstance(ended, Ended)
    assert (ended.attempt, ended.ending) == (1, EndingClass.CANCELLED)


def test_an_attempt_that_began_cannot_be_withdrawn(submitting: Callable[..., Ledger], bench: Local) -> None:
    assert act(WithdrawJob(job="one", attempt=1), submitting(), bench) == []


EACH = "one: {command: 'true'}\neval: {each: {job: one}, command: [echo, '${sibling.one.dir}']}\n"
APPEAR = AppearJob(job="eval-one", template="eval-one", parent="one")


def planned(room: "Room") -> Ledger:
    """A study with a job, and a template for it."""
    room.plan(EACH)
    ledger = Registry(room.root).load(room.root / "demo")
    ledger.put(Job(spec=ledger.study.plan.jobs[0], state=State.WAITING))
    return ledger


def test_what_appears_is_written_down_before_it_is_told(room: "Room", bench: Local) -> None:
    ledger = planned(room)

    (outcome,) = act(APPEAR, ledger, bench)

    assert outcome.event == Appeared(at=AT, parent="one")
    assert list(studies.appeared(ledger.study.dir)) == [outcome.spec]
    assert outcome.spec is not None
    assert outcome.spec.argv == ("echo", str(room.job_dir("one")))
    assert (room.job_dir("eval-one") / "run.sh").exists()


def test_what_appeared_before_a_crash_is_written_down_once(room: "Room", bench: Local) -> None:
    """Found at fsync:.../appeared.jsonl@pretrain.checkpoint_saved: the next watcher wrote the line again."""
    act(APPEAR, planned(room), bench)
    ledger = Registry(room.root).load(room.root / "demo")
    ledger.put(Job(spec=ledger.study.plan.jobs[0], state=State.WAITING))

    (outcome,) = act(APPEAR, ledger, bench)

    assert outcome.event == Appeared(at=AT, parent="one")
    assert [spec.id for spec in studies.appeared(ledger.study.dir)] == ["eval-one"]


GREEDY = """
study: demo
machine: bench
params: {batch: 8}
sweep: {params: {batch: [8]}}
stages:
  one:
    command: [./fits, "${batch}", "${calc:'1024 // ${batch}'}"]
    retry: &greedy {max_attempts: 9, backoff: 1s, when: {gpu_oom: {reduce: {batch: 0.5}, backoff: 0.1s}}}
  two: {each: {job: one}, command: [../one-batch8/fits, "${batch}", "8"], retry: *greedy}
"""
FITS = """#!/bin/sh
echo "batch $1, accumulating $2"
[ "$1" -le 2 ] || { echo "torch.OutOfMemoryError: CUDA out of memory."; exit 1; }
"""


def test_an_attempt_after_want_of_memory_runs_with_less_and_all_that_follows_from_it(room: "Room") -> None:
    path = room.write("greedy.yaml", GREEDY)
    assert room.run("plan", path).returncode == 0
    fits = room.write("experiments/demo/jobs/one-batch8/fits", FITS)
    fits.chmod(0o755)

    watched = room.run("watch", room.root, "--until-done")

    assert watched.returncode == 0, watched.stdout + watched.stderr
    for job, accumulating in {"one-batch8": (128, 256, 512), "two-one-batch8": (8, 8, 8)}.items():
        logs = [(room.attempt_dir(job, number) / "output.log").read_text().splitlines()[0] for number in (1, 2, 3)]
        assert logs == [f"batch {size}, accumulating {n}" for size, n in zip((8, 4, 2), accumulating, strict=True)]
        assert "batch: 2" in (room.attempt_dir(job, 3) / "job.yaml").read_text()
        assert "fits 8 " in (room.job_dir(job) / "run.sh").read_text()


def test_nothing_appears_from_a_recipe_that_was_changed_since_it_was_planned(room: "Room", bench: Local) -> None:
    ledger = planned(room)
    with (room.root / "demo" / "recipe.yaml").open("a") as recipe:
        recipe.write("# a remark\n")

    with pytest.raises(AutoexpError, match="is not the recipe that was planned") as caught:
        act(APPEAR, ledger, bench)

    assert caught.value.fix == f"plan it: autoexp plan {room.root / 'demo' / 'recipe.yaml'} --root {room.root}"
    assert list(studies.appeared(ledger.study.dir)) == []


@pytest.mark.parametrize("action", [SubmitJob, WithdrawJob, StopJob])
def test_an_action_of_an_earlier_attempt_is_left_undone(
    submitting: Callable[..., Ledger], bench: Local, action: Callable[..., Action]
) -> None:
    ledger = submitting()
    act(SUBMIT, ledger, bench)

    assert act(action(job="one", attempt=0), ledger, bench) == []
    assert list(bench.queue) == ["one.1.0000"]


# Which executor


def test_studies_of_one_machine_share_its_slots(submitting: Callable[..., Ledger]) -> None:
    ledger = submitting()
    found = Executors()

    assert found.of(ledger) is found.of(ledger)


def test_an_unknown_executor_names_the_known_ones_and_the_file_to_add(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(machine=Machine(name="cloud", executor="kubernetes"))

    with pytest.raises(AutoexpError, match="unknown executor 'kubernetes'") as caught:
        Executors().of(ledger)

    assert "local" in caught.value.why
    assert "autoexp/executors/kubernetes.py" in caught.value.fix
