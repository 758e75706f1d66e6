import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.actions import SubmitJob
from autoexp.lifecycle import Decision, step
from autoexp.model import ACTIVE, Job, JobSpec, RetryPolicy, State
from autoexp.remains import lost_attempt

if TYPE_CHECKING:
    from tests.conftest import Room

NOW = 1_795_210_801.0
SPEC = JobSpec(id="one", study="demo", stage="one", key="0000", retry=RetryPolicy(max_attempts=3))
NEWBORN = Job(spec=SPEC, state=State.WAITING)
BACK = "withdrawn"


def leave(folder: Path, number: int, claim: str | None = "77", key: str = "0000", **intent: Any) -> Path:
    """Leave on disk what an attempt leaves there."""
    place = folder / "attempts" / f"{number:03d}"
    place.mkdir(parents=True)
    token = f"one.{number}.{key}"
    (place / "intent.json").write_text(json.dumps({"v": 1, "token": token, "kept": {"spent": 0}, **intent}))
    if claim is not None:
        (place / f"run.{token}").write_text(f"{claim}\n")
    return place


def known(state: State, attempt: int, **fields: Any) -> Job:
    return replace(NEWBORN, state=state, attempt=attempt, token=f"one.{attempt}.0000", **fields)


def find(job: Job, folder: Path) -> Decision:
    """Find what the journal has lost, and see what comes of it."""
    found = lost_attempt(job, folder, NOW)
    return Decision(job) if found is None else step(job, found)


def test_where_nothing_ran_nothing_is_lost(tmp_path: Path) -> None:
    assert lost_attempt(NEWBORN, tmp_path, NOW) is None


@pytest.mark.parametrize("state", State)
def test_what_the_journal_knows_is_not_lost(tmp_path: Path, state: State) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2)
    leave(tmp_path, 3, None, after=2)

    assert lost_attempt(known(state, 2, ahead=3), tmp_path, NOW) is None


@pytest.mark.parametrize("state", State)
def test_the_newest_attempt_that_began_is_the_jobs_whatever_the_journal_says(tmp_path: Path, state: State) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2, "99")

    decision = find(known(state, 1, spent=1), tmp_path)

    assert (decision.job.state, decision.job.attempt, decision.job.token) == (State.RUNNING, 2, "one.2.0000")
    assert (decision.job.scheduler_id, decision.job.unused, decision.job.spent) == ("99", False, 0)
    assert decision.actions == ()
    found = lost_attempt(known(state, 1), tmp_path, NOW)
    assert found is not None
    assert step(decision.job, found).transition is None, "it is found once"


def test_a_gate_may_still_measure(tmp_path: Path) -> None:
    leave(tmp_path, 1)

    assert find(replace(NEWBORN, spec=replace(SPEC, gate=("true",))), tmp_path).job.state is State.GATING


def test_one_that_has_not_begun_is_submitted_or_asked_about(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2, None)

    decision = find(NEWBORN, tmp_path)

    assert (decision.job.state, decision.job.attempt, decision.job.unused) == (State.SUBMITTING, 2, True)
    assert decision.actions == (SubmitJob(job="one", attempt=2),)


def test_an_attempt_remembers_what_its_job_had_come_to(tmp_path: Path) -> None:
    kept = {
        "spent": 2,
        "failures": {"network": 1},
        "reduced": {"batch": 4},
        "matched": {"spike": {"times": 1, "attempt": 1, "inode": 7, "offset": 90}, "dead": {"times": 2}},
        "afresh": 2,
        "began_at": 200,
        "gpu_seconds": 1.5,
    }
    leave(tmp_path, 2, kept={**kept, "state": "succeeded"})

    job = find(NEWBORN, tmp_path).job

    assert {name: getattr(job, name) for name in kept} == kept
    assert job.state is State.RUNNING


@pytest.mark.parametrize(
    "kept",
    [
        None,
        [],
        {},
        {"spent": -1},
        {"spent": "1"},
        *({"spent": 0, name: [1]} for name in ("failures", "reduced", "afresh")),
    ],
)
def test_where_it_does_not_every_attempt_counts_and_that_is_said(tmp_path: Path, kept: Any) -> None:
    leave(tmp_path, 3, kept=kept)

    job = find(NEWBORN, tmp_path).job

    assert (job.attempt, job.spent) == (3, 2)
    assert "is a guess" in job.reason


def test_what_is_queued_ahead_comes_after_what_it_waits_for(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2)
    leave(tmp_path, 3, None, after=2)

    job = find(NEWBORN, tmp_path).job

    assert (job.state, job.attempt, job.ahead) == (State.RUNNING, 2, 3)


def test_what_was_queued_ahead_and_began_is_the_jobs_attempt(tmp_path: Path) -> None:
    leave(tmp_path, 2)
    leave(tmp_path, 3, after=2)

    job = find(NEWBORN, tmp_path).job

    assert (job.state, job.attempt, job.ahead) == (State.RUNNING, 3, 0)


def test_the_number_of_what_was_taken_back_is_not_used_again(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2, BACK, after=1)

    job = find(NEWBORN, tmp_path).job

    assert (job.state, job.attempt, job.ahead, job.dropped) == (State.RUNNING, 1, 0, 2)


@pytest.mark.parametrize("state", [State.WAITING, State.HELD, State.BACKOFF, State.FAILED])
def test_where_all_was_taken_back_the_job_stays_as_it_is(tmp_path: Path, state: State) -> None:
    leave(tmp_path, 1, BACK)

    job = find(replace(NEWBORN, state=state), tmp_path).job

    assert (job.state, job.attempt, job.dropped) == (state, 0, 1)
    assert find(job, tmp_path).transition is None


@pytest.mark.parametrize("state", [State.SUBMITTING, State.QUEUED])
def test_what_was_to_begin_and_was_taken_back_waits_again_unless_we_took_it_back(tmp_path: Path, state: State) -> None:
    leave(tmp_path, 1, BACK)

    job = find(known(state, 1, unused=True), tmp_path).job

    assert (job.state, job.unused, job.dropped) == (State.WAITING, False, 1)
    assert lost_attempt(known(state, 1, unused=True, withdrawn=True), tmp_path, NOW) is None


@pytest.mark.parametrize("state", State)
def test_what_was_refused_by_all_that_is_known_and_began_since_is_found(tmp_path: Path, state: State) -> None:
    leave(tmp_path, 1)

    job = find(known(state, 1, unused=True), tmp_path).job

    assert job.state is (state if state in ACTIVE else State.RUNNING)


def test_an_attempt_of_another_study_is_none_of_the_jobs(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    leave(tmp_path, 2, key="ffff")

    assert find(NEWBORN, tmp_path).job.attempt == 1
    assert lost_attempt(known(State.SUCCEEDED, 1), tmp_path, NOW) is None


def test_an_attempt_that_was_not_even_intended_is_none(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "001").mkdir(parents=True)
    (tmp_path / "attempts" / "001" / ".intent.json.7.tmp").touch()
    (tmp_path / "attempts" / "notes").mkdir()

    assert lost_attempt(NEWBORN, tmp_path, NOW) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"token": [1]}', None], ids=["torn", "a list", "odd", "gone"])
def test_a_job_of_whose_attempts_nobody_can_tell_is_held_unless_it_is_at_something(
    tmp_path: Path, text: str | None
) -> None:
    intent = leave(tmp_path, 1) / "intent.json"
    intent.unlink() if text is None else intent.write_text(text)

    job = find(NEWBORN, tmp_path).job

    assert job.state is State.HELD
    assert str(intent) in job.reason
    for state in (*ACTIVE, State.SUCCEEDED):
        assert find(replace(NEWBORN, state=state), tmp_path).transition is None


def test_attempts_that_cannot_be_read_are_no_reason_to_begin_anew(tmp_path: Path) -> None:
    (leave(tmp_path, 1) / "run.one.1.0000").unlink()
    (tmp_path / "attempts" / "001" / "run.one.1.0000").mkdir()

    assert find(NEWBORN, tmp_path).job.state is State.HELD


CLAIMS = st.sampled_from([None, "", "77", BACK])
LEFT = st.dictionaries(
    st.integers(1, 6),
    st.tuples(CLAIMS, st.sampled_from(["0000", "0000", "ffff"]), st.booleans()),
    max_size=6,
)


@given(left=LEFT, state=st.sampled_from(State), attempt=st.integers(0, 5), unused=st.booleans())
def test_whatever_is_on_disk_no_own_attempt_that_began_is_ever_behind(
    left: dict[int, tuple[str | None, str, bool]], state: State, attempt: int, *, unused: bool
) -> None:
    with TemporaryDirectory() as home:
        for number, (claim, key, ahead) in left.items():
            leave(Path(home), number, claim, key, **({"after": number - 1} if ahead else {}))

        job = find(known(state, attempt, unused=unused), Path(home)).job
        again = find(job, Path(home))

    begun = [number for number, (claim, key, _) in left.items() if key == "0000" and claim not in (None, BACK)]
    back = [number for number, (claim, key, _) in left.items() if key == "0000" and claim == BACK]
    assert job.attempt >= max(begun, default=0)
    assert job.attempt not in back or job.attempt == attempt
    assert again.transition is None
    if job.attempt == attempt:
        assert job.state in (state, State.RUNNING, State.WAITING)


# With a watcher


def lose(room: "Room", what: str, trigger: str) -> None:
    """Lose var, or what its journal says from this event of the second attempt on."""
    if what == "all of var":
        shutil.rmtree(room.var)
        return
    (path,) = (room.var / "journal").glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if '"attempt":2' in line and f'"trigger":"{trigger}"' in line)
    path.write_text("".join(lines[:last]))
    (room.var / "snapshot.json").unlink(missing_ok=True)


LOSSES = [("all of var", ""), ("its tail", "conditions_met"), ("its tail", "submitted"), ("its tail", "started")]
losing = pytest.mark.parametrize(("what", "trigger"), LOSSES, ids=lambda word: word or "whole")


@losing
def test_a_second_attempt_that_runs_is_found_and_watched_to_its_end(room: "Room", what: str, trigger: str) -> None:
    wait = "until test -e go; do sleep 0.02; done"
    room.plan(f"one: {{command: 'echo ran >> runs; test $AUTOEXP_ATTEMPT = 1 || {wait}'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "succeeded"})
    room.run("mark", "demo/one", "restart")
    room.wait_for({"one": "running"})
    room.pid_of("one", 2)
    room.stop(watcher, signal.SIGKILL)
    lose(room, what, trigger)

    watcher = room.start("watch", room.root, "--until-done")
    room.wait_for({"one": "running"})
    assert room.rows()["one"]["attempt"] == 2
    (room.job_dir("one") / "go").touch()

    assert watcher.wait(60) == 0, room.said()
    assert (room.states(), room.rows()["one"]["attempt"]) == ({"one": "succeeded"}, 2)
    assert (room.job_dir("one") / "runs").read_text() == "ran\nran\n"
    checked = room.inside("replay", room.root, "--check", "--json")
    assert (checked["breaks"], checked["differences"]) == ([], [])


@losing
def test_a_success_after_a_retry_stays_one_and_so_does_what_depended_on_it(
    room: "Room", what: str, trigger: str
) -> None:
    one = "one: {retry: {max_attempts: 1}, command: 'echo ran >> runs; test $AUTOEXP_ATTEMPT = 2'}"
    room.plan(f"{one}\ntwo: {{needs: one, command: 'echo ran >> runs'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "failed", "two": "skipped"})
    room.run("mark", "demo/one", "retry")
    room.wait_for({"one": "succeeded"})
    room.run("mark", "demo/two", "retry")
    room.wait_for({"two": "succeeded"})
    room.stop(watcher, signal.SIGKILL)
    lose(room, what, trigger)

    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert room.states() == {"one": "succeeded", "two": "succeeded"}
    assert (room.job_dir("one") / "runs").read_text() == "ran\nran\n"
    assert (room.job_dir("two") / "runs").read_text() == "ran\n"


def test_a_retry_that_had_not_begun_when_var_was_lost_is_held_and_fails_nobody(room: "Room") -> None:
    room.plan("one: {retry: {max_attempts: 1}, start: {file_exists: {path: go}}, command: 'exit 1'}\n")
    (room.job_dir("one") / "go").touch()
    watcher = room.watch()
    room.wait_for({"one": "failed"})
    (room.job_dir("one") / "go").unlink()
    room.run("mark", "demo/one", "retry")
    room.wait_for({"one": "waiting"})
    room.stop(watcher, signal.SIGKILL)
    shutil.rmtree(room.var)

    assert room.run("watch", room.root, "--until-done").returncode == 1
    assert room.states() == {"one": "held"}
    assert "retry was asked at 20" in room.rows()["one"]["reason"]


def test_what_was_taken_back_from_the_queue_before_var_was_lost_runs_once(room: "Room") -> None:
    room.machine(cpus=1)
    room.plan("busy: {command: 'until test -e go; do sleep 0.02; done'}\none: {command: 'echo ran >> runs'}\n")
    watcher = room.watch()
    room.wait_for({"busy": "running", "one": "queued"})
    room.run("mark", "demo/one", "hold")
    room.wait_for({"one": "held"})
    room.run("mark", "demo/one", "release")
    room.wait_for({"one": "queued"})
    room.stop(watcher, signal.SIGKILL)
    shutil.rmtree(room.var)
    (room.job_dir("busy") / "go").touch()

    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert room.rows()["one"]["attempt"] == 2
    assert (room.job_dir("one") / "runs").read_text() == "ran\n"
