"""The table, cell by cell, and the rules that hold whatever happens in whatever order."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from autoexp.actions import AnswerEvent, AppearJob, DropAhead, QueueAhead, StopJob, SubmitJob, WithdrawJob
from autoexp.codec import decode, encode
from autoexp.effects import DEFAULT_REMEDIES, LONGEST_BACKOFF_S, TRY_AGAIN, next_attempt
from autoexp.events import (
    EVENTS,
    Answered,
    Appeared,
    AttemptFound,
    BackoffElapsed,
    CheckpointSaved,
    CheckpointsGathered,
    ConditionsDied,
    ConditionsMet,
    Ended,
    Event,
    GateFailed,
    GatePassed,
    LogMatched,
    Planned,
    Progressed,
    Requested,
    Retired,
    Stalled,
    Started,
    SubmitDeferred,
    SubmitLost,
    SubmitRefused,
    Submitted,
    WentAstray,
)
from autoexp.fold import fold
from autoexp.lifecycle import TABLE, UNBORN, accepted, owed, step
from autoexp.model import (
    ACTIVE,
    OVER,
    Answer,
    Deed,
    EndingClass,
    Job,
    JobSpec,
    Remedy,
    RetryPolicy,
    Rule,
    State,
    Template,
    Transition,
    Verb,
)

W, H, S, Q = State.WAITING, State.HELD, State.SUBMITTING, State.QUEUED
G, R, L, P, B = State.GATING, State.RUNNING, State.STALLED, State.STOPPING, State.BACKOFF
OK, BAD, CUT, SKIP = State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED
SENT, LIVE, IDLE = (S, Q), (G, R, L), (W, B)

SPEC = JobSpec(id="train", study="demo", stage="train", key="k3y", retry=RetryPolicy(max_attempts=3))
NOW = 1000.0


def job(state: State | None, spec: JobSpec = SPEC, **fields: Any) -> Job:
    """Make a job in a state, with an open attempt where the state implies one."""
    usual: dict[str, Any] = {"attempt": 0 if state in {None, W} else 1, "unused": state in SENT}
    return Job(spec=spec, state=state, **(usual | fields))


def after(at: Job, *events: Event) -> Job:
    for event in events:
        at = step(at, event).job
    return at


def ask(verb: Verb, reason: str = "") -> Requested:
    return Requested(at=NOW, verb=verb, reason=reason)


def ended(ending: EndingClass = EndingClass.CRASHED, reason: str = "exit code 1") -> Ended:
    return Ended(at=NOW, ending=ending, reason=reason)


TAKEN_BACK = ended(EndingClass.CANCELLED, "taken back")
MET = ConditionsMet(at=NOW, reason="nothing to wait for")
SUBMITTED = Submitted(at=NOW, scheduler_id="77")
STARTED = Started(at=NOW, scheduler_id="77")
FOUND = AttemptFound(at=NOW, number=3, begun=True, scheduler_id="78", dropped=2, reason="attempt 3 stands on disk")
REFUSED = SubmitRefused(at=NOW, reason="no such partition")
BUSY = SubmitRefused(at=NOW, reason="queue full", temporary=True)
SUBMIT, WITHDRAW = SubmitJob(job="train", attempt=1), WithdrawJob(job="train", attempt=1)
STOP, SAVE = StopJob(job="train", attempt=1), StopJob(job="train", attempt=1, save=True)
NEXT = SubmitJob(job="train", attempt=2)

SAMPLES: dict[str, Event] = {
    "planned": Planned(at=NOW),
    "appeared": Appeared(at=NOW, parent="p", iteration=5),
    "retired": Retired(at=NOW),
    "conditions_met": MET,
    "conditions_died": ConditionsDied(at=NOW, reason="p failed"),
    "backoff_elapsed": BackoffElapsed(at=NOW),
    "submitted": SUBMITTED,
    "submit_refused": REFUSED,
    "submit_deferred": SubmitDeferred(at=NOW, reason="there are 20 jobs, and 20 may be"),
    "submit_lost": SubmitLost(at=NOW, reason="sbatch timed out"),
    "gate_passed": GatePassed(at=NOW),
    "gate_failed": GateFailed(at=NOW, code=46, cause="slow"),
    "attempt_found": FOUND,
    "started": STARTED,
    "progressed": Progressed(at=NOW, iteration=10),
    "checkpoint_saved": CheckpointSaved(at=NOW, path="checkpoints/iter_0000100", iteration=100),
    "checkpoints_gathered": CheckpointsGathered(at=NOW, template="batch-train", iterations=(100,)),
    "stalled": Stalled(at=NOW, idle_s=99.0),
    "went_astray": WentAstray(at=NOW, reason="it trains from random weights"),
    "log_matched": LogMatched(at=NOW, event="spike", line="loss spike", inode=7, offset=90),
    "answered": Answered(at=NOW, event="spike", number=1),
    "ended": ended(),
    **{verb.trigger: ask(verb) for verb in Verb},
}


# The marker table: what each verb does in each state, at once, and once the attempt has ended.

NO = "refused"
ON_ITS_END: dict[tuple[State, ...], Any] = {(S,): (S, WITHDRAW), (Q,): (Q, WITHDRAW), LIVE: (P, STOP), (P,): (P,)}
"""A wish that has to wait for the attempt to end."""
AT_ONCE: dict[Verb, dict[tuple[State, ...], Any]] = {
    # state afterwards, then the actions; where an attempt is open, `LATER` says what it ends in
    Verb.HOLD: {
        IDLE: (H,),
        (H,): NO,
        (S,): (S, WITHDRAW),
        (Q,): (Q, WITHDRAW),
        (G,): (G,),
        (R,): (R,),
        (L,): (L,),
        (P,): (P,),
    },
    Verb.RELEASE: {IDLE: NO, (H,): (W,), (S,): (S,), (Q,): (Q,), (G,): (G,), (R,): (R,), (L,): (L,), (P,): NO},
    Verb.START: {(W,): (S, SUBMIT), (B, H): (S, NEXT), SENT: NO, LIVE: NO, (P,): NO},
    Verb.SAVE: {IDLE: NO, (H,): NO, SENT: NO, LIVE: (P, SAVE), (P,): NO},
    Verb.CANCEL: {IDLE: (CUT,), (H,): (CUT,), **ON_ITS_END},
    Verb.RESTART: {IDLE: NO, (H,): NO, SENT: NO, LIVE: (P, STOP), (P,): NO, (OK, BAD, CUT, SKIP): (W,)},
    Verb.RETRY: {IDLE: NO, (H,): NO, SENT: NO, LIVE: NO, (P,): NO, (OK,): NO, (BAD, CUT, SKIP): (W,)},
    Verb.SUCCEED: {IDLE: (OK,), (H,): (OK,), **ON_ITS_END, (OK,): NO, (BAD, CUT, SKIP): (OK,)},
    Verb.FAIL: {IDLE: (BAD,), (H,): (BAD,), **ON_ITS_END, (BAD,): NO, (OK, CUT, SKIP): (BAD,)},
}
LATER = {Verb.HOLD: H, Verb.SAVE: H, Verb.CANCEL: CUT, Verb.RESTART: S, Verb.SUCCEED: OK, Verb.FAIL: BAD}


def cell(verb: Verb, state: State) -> Any:
    return next((answer for states, answer in AT_ONCE[verb].items() if state in states), NO)


CELLS = [pytest.param(verb, state, id=f"{verb} while {state}") for verb in Verb for state in State]
REFUSED_CELLS = [p for p in CELLS if cell(*p.values[:2]) == NO]  # type: ignore[arg-type]
TAKEN_CELLS = [p for p in CELLS if cell(*p.values[:2]) != NO]  # type: ignore[arg-type]
WISHES = [p for p in TAKEN_CELLS if p.values[0] in LATER and p.values[1] in ACTIVE]


@pytest.mark.parametrize(("verb", "state"), TAKEN_CELLS)
def test_a_marker_does_at_once_what_the_marker_table_says(verb: Verb, state: State) -> None:
    target, *actions = cell(verb, state)

    decision = step(job(state), ask(verb))

    assert decision.refusal is None
    assert decision.job.state is target
    assert decision.actions == tuple(actions)
    assert decision.transition is not None
    assert (decision.transition.source, decision.transition.target) == (state, target)


@pytest.mark.parametrize(("verb", "state"), REFUSED_CELLS)
def test_a_refused_marker_changes_nothing_and_lists_what_would_be_taken(verb: Verb, state: State) -> None:
    before = job(state)

    decision = step(before, ask(verb))

    assert (decision.job, decision.transition, decision.actions) == (before, None, ())
    taken = [other for other in Verb if cell(other, state) != NO]
    assert decision.refusal is not None
    assert decision.refusal.startswith(f"a job that is {state} takes no {verb}")
    assert decision.refusal.endswith(f"; it takes: {', '.join(taken)}")
    assert accepted(state) == tuple(taken)


@pytest.mark.parametrize(
    ("verb", "state", "hint"),
    [
        pytest.param(Verb.RESTART, W, "start", id="restart while waiting"),
        pytest.param(Verb.RESTART, B, "start", id="restart while backing off"),
        pytest.param(Verb.RESTART, H, "release", id="restart while held"),
        pytest.param(Verb.RETRY, OK, "restart", id="retry after success"),
    ],
)
def test_a_refusal_names_the_verb_that_was_probably_meant(verb: Verb, state: State, hint: str) -> None:
    assert f"(you may want {hint})" in str(step(job(state), ask(verb)).refusal)


@pytest.mark.parametrize(("verb", "state"), WISHES)
def test_a_wish_that_has_to_wait_comes_true_when_the_attempt_ends(verb: Verb, state: State) -> None:
    asked = after(job(state), ask(verb))
    assert asked.pending is verb

    if state is S:
        answered = step(asked, SUBMITTED)
        assert answered.actions == (WITHDRAW,)
        asked = answered.job
    over = step(asked, TAKEN_BACK)

    assert over.job.state is LATER[verb]
    assert over.job.pending is None
    assert over.actions == ((NEXT,) if verb is Verb.RESTART else ())
    assert over.job.spent == 0, "what a person ended costs no attempt"


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.SUCCEED, Verb.FAIL, Verb.HOLD])
@pytest.mark.parametrize("state", SENT)
@pytest.mark.parametrize("refusal", [REFUSED, BUSY], ids=["for good", "for now"])
def test_a_wish_comes_true_at_once_when_the_submission_is_refused(verb: Verb, state: State, refusal: Event) -> None:
    over = step(after(job(state), ask(verb)), refusal)

    assert over.job.state is LATER[verb]
    assert over.actions == ()
    assert over.job.pending is None


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.SUCCEED, Verb.FAIL, Verb.HOLD])
@pytest.mark.parametrize("state", SENT)
def test_a_job_that_starts_while_it_is_withdrawn_is_stopped(verb: Verb, state: State) -> None:
    begun = step(after(job(state), ask(verb)), STARTED)

    assert begun.job.state is P
    assert begun.actions == (STOP,)
    assert after(begun.job, ended(EndingClass.CANCELLED)).state is LATER[verb]


def test_a_submission_that_lands_after_the_cancel_is_withdrawn_too() -> None:
    cancelled = after(job(W), MET, ask(Verb.CANCEL), TAKEN_BACK)
    assert cancelled.state is CUT

    late = step(cancelled, SUBMITTED)

    assert late.job.state is CUT
    assert late.actions == (WITHDRAW,)


@pytest.mark.parametrize("state", [W, H, B, *sorted(OVER)])
def test_an_attempt_that_starts_when_nobody_wants_it_is_stopped(state: State) -> None:
    late = step(job(state, attempt=1), STARTED)

    assert late.job.state is state
    assert late.actions == (STOP,)


@pytest.mark.parametrize("state", SENT)
def test_the_newest_wish_stands(state: State) -> None:
    assert after(job(state), ask(Verb.HOLD), ask(Verb.CANCEL), TAKEN_BACK).state is CUT
    assert after(job(state), ask(Verb.CANCEL), ask(Verb.HOLD), TAKEN_BACK).state is H


def test_a_hold_that_is_taken_back_before_the_answer_leaves_the_submission_alone() -> None:
    released = after(job(S), ask(Verb.HOLD), ask(Verb.RELEASE))
    answered = step(released, SUBMITTED)

    assert released.pending is None
    assert (answered.job.state, answered.actions) == (Q, ())


def test_a_hold_that_is_taken_back_after_the_withdrawal_makes_the_job_wait_again() -> None:
    released = after(job(Q), ask(Verb.HOLD), ask(Verb.RELEASE))
    gone = after(released, TAKEN_BACK)

    assert (gone.state, gone.spent) == (W, 0)
    assert step(gone, MET).actions == (NEXT,)


def test_a_withdrawal_that_hits_after_the_start_is_no_cancellation_once_the_hold_was_taken_back() -> None:
    begun = after(job(Q), ask(Verb.HOLD), ask(Verb.RELEASE), STARTED)
    assert begun.state is R

    gone = after(begun, TAKEN_BACK)

    assert (gone.state, gone.spent) == (W, 0)


def test_a_job_that_outlived_its_withdrawal_pays_for_its_own_crash() -> None:
    crashed = after(job(Q), ask(Verb.HOLD), ask(Verb.RELEASE), STARTED, ended())

    assert (crashed.state, crashed.spent) == (B, 1)


def test_release_takes_back_a_hold_and_no_other_wish() -> None:
    assert after(job(Q), ask(Verb.CANCEL), ask(Verb.RELEASE), TAKEN_BACK).state is CUT


@pytest.mark.parametrize("state", LIVE)
def test_a_running_job_on_hold_goes_on_and_is_held_instead_of_retried(state: State) -> None:
    asked = after(job(state), ask(Verb.HOLD))

    assert asked.state is state
    assert after(asked, ended()).state is H
    assert after(asked, ended()).reason == "hold was asked; exit code 1"
    assert after(asked, ask(Verb.RELEASE), ended()).state is B


@pytest.mark.parametrize("state", [*LIVE, P])
@pytest.mark.parametrize("verb", [Verb.HOLD, Verb.SAVE])
def test_finished_work_stays_finished_and_gives_its_own_reason(state: State, verb: Verb) -> None:
    pending = job(state, pending=verb)

    done = after(pending, ended(EndingClass.SUCCESS, "trained to iteration 9"))

    assert (done.state, done.pending, done.reason) == (OK, None, "trained to iteration 9")


@pytest.mark.parametrize(
    ("verb", "final"), [(Verb.CANCEL, CUT), (Verb.FAIL, BAD), (Verb.SUCCEED, OK), (Verb.RESTART, S)]
)
def test_what_a_person_asked_for_comes_before_a_success_of_the_attempt_it_stopped(verb: Verb, final: State) -> None:
    assert after(job(R), ask(verb), ended(EndingClass.SUCCESS)).state is final


def test_a_person_s_words_become_the_reason() -> None:
    assert after(job(W), ask(Verb.HOLD, "lunch")).reason == "hold: lunch"
    assert after(job(W), ask(Verb.HOLD)).reason == "hold was asked"


def test_start_skips_the_conditions_and_the_wait() -> None:
    assert step(job(W), ask(Verb.START)).actions == (SUBMIT,)
    begun = after(job(B, attempt=1, spent=1, wake_at=NOW + 60), ask(Verb.START))

    assert (begun.attempt, begun.wake_at, begun.spent) == (2, None, 1)


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART])
def test_a_retry_begins_with_a_fresh_budget_and_keeps_the_outputs(verb: Verb) -> None:
    failed = job(BAD, attempt=3, spent=3, refusals=2, checkpoints=(100,), ending=EndingClass.CRASHED)

    again = after(failed, ask(verb))

    assert (again.state, again.spent, again.refusals, again.ending) == (W, 0, 0, None)
    assert (again.checkpoints, again.attempt) == ((100,), 3)
    assert after(again, MET).attempt == 4


@pytest.mark.parametrize(("state", "attempt"), [(OK, 3), (BAD, 3), (R, 3)])
def test_a_restart_of_a_batch_does_everything_again_and_a_retry_only_the_rest(state: State, attempt: int) -> None:
    several = replace(SPEC, iterations=(100, 200))
    events = (ended(),) if state is R else (MET,)

    again = after(job(state, several, attempt=2), ask(Verb.RESTART), *events)
    retried = after(again, STARTED, ended(), BackoffElapsed(at=NOW))

    assert (again.attempt, again.afresh) == (attempt, attempt)
    assert (retried.attempt, retried.afresh) == (attempt + 1, attempt)
    assert after(job(BAD, several, attempt=2), ask(Verb.RETRY), MET).afresh == 0
    assert after(job(OK, attempt=2), ask(Verb.RESTART)).afresh == 0, (
        "a job that stands for one thing has nothing to say"
    )


# What happens, and what is owed for it.


SPIKE = Rule(name="spike", log="spike", limit=2, do=(Deed(name="restart", values={"lr": 0.5}),))
BROKEN = Rule(name="broken", state="failed", came_from="running", do=(Deed(name="retry"),))
EVENTFUL = replace(SPEC, retry=RetryPolicy(), events=(SPIKE, BROKEN))
MATCHED = LogMatched(at=NOW, attempt=1, event="spike", line="loss spike", groups={"at": "5"}, inode=7, offset=90)
ANSWER = AnswerEvent(job="train", event="spike", number=1)


def test_what_happened_is_owed_until_it_is_answered() -> None:
    decision = step(job(R, EVENTFUL), MATCHED)

    assert (decision.job.state, decision.actions) == (R, (ANSWER,))
    assert decision.job.due[0]["at"] == "5"
    assert list(owed(decision.job, ())) == [ANSWER]
    assert decision.transition is not None
    assert fold(job(R, EVENTFUL), decision.transition) == decision.job
    assert list(owed(after(decision.job, Answered(at=NOW, event="spike", number=1)), ())) == []


def test_a_line_counts_once_and_an_event_as_often_as_it_may() -> None:
    once = after(job(R, EVENTFUL), MATCHED)
    twice = after(once, replace(MATCHED, offset=120))

    assert step(once, MATCHED).transition is None
    assert [owing["number"] for owing in twice.due] == [1, 2]
    assert step(twice, replace(MATCHED, offset=150)).transition is None
    assert step(once, replace(MATCHED, event="unknown")).transition is None


def test_another_attempt_s_log_is_another_one() -> None:
    once = replace(after(job(R, EVENTFUL), MATCHED), attempt=2)

    assert step(once, replace(MATCHED, attempt=2, offset=3)).transition is not None


def test_a_restart_may_change_params_for_all_attempts_to_come() -> None:
    asked = replace(ask(Verb.RESTART), params={"lr": 0.5})

    assert after(job(R, EVENTFUL), asked).reduced == {"lr": 0.5}
    assert after(job(OK, EVENTFUL), asked).reduced == {"lr": 0.5}


def test_a_state_that_the_recipe_waits_for_is_an_event_if_it_came_from_the_right_one() -> None:
    failed = step(job(R, EVENTFUL, attempt=1), ended(EndingClass.CONFIG))
    from_the_queue = step(job(Q, EVENTFUL), REFUSED)

    assert (failed.job.state, failed.actions) == (BAD, (AnswerEvent(job="train", event="broken", number=1),))
    assert (from_the_queue.job.state, from_the_queue.actions) == (BAD, ())


def test_several_events_of_one_state_are_all_owed() -> None:
    spec = replace(EVENTFUL, events=(BROKEN, replace(BROKEN, name="dead", came_from="")))

    failed = step(job(R, spec), ended(EndingClass.CONFIG)).job

    assert [owing["event"] for owing in failed.due] == ["broken", "dead"]
    assert failed.matched == {"broken": {"times": 1}, "dead": {"times": 1}}


# The table as a whole.


def test_the_samples_are_the_whole_alphabet() -> None:
    assert SAMPLES.keys() == EVENTS.keys()
    assert all(event.trigger == trigger for trigger, event in SAMPLES.items())


def test_every_row_speaks_of_known_events_and_states() -> None:
    assert {row.trigger for row in TABLE} == EVENTS.keys()
    assert {source for row in TABLE for source in row.sources} == {UNBORN, *State}


@pytest.mark.parametrize("state", [None, *State], ids=lambda state: str(state or UNBORN))
@pytest.mark.parametrize("trigger", SAMPLES)
def test_every_event_in_every_state_has_a_row_or_an_explanation(trigger: str, state: State | None) -> None:
    covered = any(row.trigger == trigger and (state or UNBORN) in row.sources for row in TABLE)

    decision = step(job(state, attempt=1), SAMPLES[trigger])

    assert covered is (decision.refusal is None)
    if not covered:
        assert str(state or UNBORN) in str(decision.refusal)
        assert decision.job == job(state, attempt=1)


def test_the_last_row_of_each_choice_is_unconditional() -> None:
    last = {(row.trigger, source): row for row in TABLE for source in row.sources}

    assert {choice for choice, row in last.items() if row.when} == set()


def test_no_row_stands_behind_an_unconditional_one() -> None:
    closed: set[tuple[str, object]] = set()
    for row in TABLE:
        choices = {(row.trigger, source) for source in row.sources}
        assert not choices <= closed, f"{row} is never reached"
        closed |= set() if row.when else choices


def _reachable(start: State, rows: Iterable[Any]) -> set[State]:
    found, edge = {start}, [start]
    while edge:
        state = edge.pop()
        targets = {row.target for row in rows if state in row.sources and row.target} - found
        found |= targets
        edge += targets
    return found


@pytest.mark.parametrize("state", sorted(set(State) - OVER))
def test_every_live_state_has_a_way_out_and_can_end_every_way(state: State) -> None:
    reached = _reachable(state, TABLE)

    assert OVER - {SKIP} <= reached


def test_left_alone_every_live_state_but_held_comes_to_an_end() -> None:
    asked = {*(verb.trigger for verb in Verb), "planned", "retired", "attempt_found"}
    alone = [row for row in TABLE if row.trigger not in asked]

    assert {state for state in set(State) - OVER if not _reachable(state, alone) & OVER} == {H}


def test_every_class_of_ending_has_a_remedy() -> None:
    assert DEFAULT_REMEDIES.keys() == set(EndingClass)


# An ordinary life.


def test_a_planned_job_waits_runs_and_succeeds() -> None:
    moves = []
    at = job(None, attempt=0)
    for event in (Planned(at=1.0), MET, SUBMITTED, STARTED, ended(EndingClass.SUCCESS, "done")):
        decision = step(at, event)
        at = decision.job
        assert decision.transition is not None
        moves.append((decision.transition.trigger, at.state, [str(action) for action in decision.actions]))

    assert moves == [
        ("planned", W, []),
        ("conditions_met", S, ["submit train attempt 1"]),
        ("submitted", Q, []),
        ("started", R, []),
        ("ended", OK, []),
    ]
    assert (at.token, at.scheduler_id, at.spent, at.reason) == ("train.1.k3y", "77", 0, "done")


def test_a_gate_stands_before_the_run() -> None:
    gated = job(Q, replace(SPEC, gate=("python", "gate.py")))
    measuring = after(gated, STARTED)

    assert (measuring.state, measuring.scheduler_id, measuring.unused) == (G, "77", False)
    assert after(measuring, GatePassed(at=NOW)).state is R
    assert after(measuring, GateFailed(at=NOW, code=46, cause="slow")).state is G, "its own ending will say so"
    assert after(measuring, ended(EndingClass.NETWORK)).state is B


def test_a_job_whose_conditions_died_is_skipped() -> None:
    skipped = after(job(W), ConditionsDied(at=NOW, reason="pretrain failed"))

    assert (skipped.state, skipped.reason) == (SKIP, "pretrain failed")


def test_the_claim_s_id_is_the_one_that_counts() -> None:
    begun = after(job(S), Submitted(at=NOW, scheduler_id="1"), Started(at=NOW, scheduler_id="2"))
    unnamed = after(job(Q, scheduler_id="1"), Started(at=NOW))

    assert (begun.scheduler_id, unnamed.scheduler_id) == ("2", "1")


def test_progress_wakes_a_stalled_job_and_is_no_move_otherwise() -> None:
    assert after(job(L), Progressed(at=NOW, iteration=3)).state is R
    assert step(job(R), Progressed(at=NOW, iteration=3)).transition is None


def test_time_in_a_state_counts_from_the_move_into_it() -> None:
    running = job(R, since=5.0)

    assert after(running, CheckpointSaved(at=9.0, path="c", iteration=1)).since == 5.0
    assert after(running, Stalled(at=9.0, idle_s=4.0)).since == 9.0


# Checkpoints, and what appears for them.

CHILD = Template(id="convert-train", stage="convert", parent="train", kind="checkpoint", first=100, every=100)
TWIN = Template(id="note-train", stage="note", parent="train", kind="job")
WITH_CHILDREN = replace(SPEC, children=(CHILD, TWIN))
SAVED = CheckpointSaved(at=NOW, path="checkpoints/iter_0000200", iteration=200)


@pytest.mark.parametrize("state", sorted(State))
def test_a_checkpoint_brings_its_jobs_about_once_in_whatever_state(state: State) -> None:
    first = step(job(state, WITH_CHILDREN), SAVED)
    second = step(first.job, SAVED)

    expected = AppearJob(job="convert-train@0000200", template="convert-train", parent="train", iteration=200)
    assert first.actions == (expected,)
    assert first.job.checkpoints == (200,)
    assert second.actions == ()
    assert second.transition is None


def test_a_checkpoint_that_no_template_wants_is_remembered_without_a_job() -> None:
    decision = step(job(R, WITH_CHILDREN), CheckpointSaved(at=NOW, path="c", iteration=150))

    assert (decision.actions, decision.job.checkpoints) == ((), (150,))


def test_a_new_checkpoint_wakes_a_stalled_job_and_an_old_one_does_not() -> None:
    assert after(job(L), SAVED).state is R
    assert step(job(L, checkpoints=(200,)), SAVED).transition is None


@pytest.mark.parametrize("birth", [Planned(at=NOW), Appeared(at=NOW, parent="p")], ids=["planned", "appeared"])
def test_a_job_s_own_twins_appear_at_its_birth(birth: Event) -> None:
    born = step(job(None, WITH_CHILDREN, attempt=0), birth)

    assert born.job.state is W
    assert born.actions == (AppearJob(job="note-train", template="note-train", parent="train"),)


# Retries.


@pytest.mark.parametrize("ending", [ending for ending in EndingClass if ending is not EndingClass.SUCCESS])
@pytest.mark.parametrize("state", [Q, G, R, L])
def test_each_ending_leads_where_its_default_remedy_says(ending: EndingClass, state: State) -> None:
    targets = {Remedy.FAIL: BAD, Remedy.CANCEL: CUT, Remedy.HOLD: H}
    expected = B if DEFAULT_REMEDIES[ending] in TRY_AGAIN else targets[DEFAULT_REMEDIES[ending]]

    over = after(job(state, unused=False), ended(ending))

    assert (over.state, over.ending) == (expected, ending)


def test_an_attempt_that_never_began_is_submitted_again_and_uses_up_nothing_five_times_in_a_row() -> None:
    at, waits = job(Q, replace(SPEC, retry=RetryPolicy(max_attempts=1))), []
    gone = ended(EndingClass.UNKNOWN, "nothing says that it began")
    for _ in range(5):
        at = after(at, gone)
        assert (at.state, at.spent, at.attempt) == (B, 0, 1)
        waits.append((at.wake_at or 0.0) - NOW)
        at = after(at, BackoffElapsed(at=NOW), SUBMITTED)

    assert waits == [2, 4, 8, 16, 32]
    assert after(at, gone).state is BAD
    assert after(at, STARTED, gone).state is BAD


@pytest.mark.parametrize(
    ("remedy", "target"),
    [
        (Remedy.RESUME, B),
        (Remedy.RETRY, B),
        (Remedy.EXCLUDE_NODE, B),
        (Remedy.HOLD, H),
        (Remedy.FAIL, BAD),
        (Remedy.CANCEL, CUT),
    ],
)
def test_a_recipe_s_remedy_comes_before_the_default(remedy: Remedy, target: State) -> None:
    policy = RetryPolicy(max_attempts=3, when={EndingClass.GPU_OOM: Answer(remedy=remedy)})

    over = after(job(R, replace(SPEC, retry=policy)), ended(EndingClass.GPU_OOM))

    assert (over.state, over.ending, over.spent) == (target, EndingClass.GPU_OOM, 1)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_job_gets_as_many_attempts_as_its_budget_says(most: int) -> None:
    at = job(W, replace(SPEC, retry=RetryPolicy(max_attempts=most)))
    for _ in range(20):
        at = after(at, MET, BackoffElapsed(at=NOW), SUBMITTED, STARTED, ended())

    assert (at.state, at.attempt, at.spent) == (BAD, most, most)


def answering(ending: EndingClass, **answer: Any) -> JobSpec:
    """A job with a budget of ninety-nine attempts, and an answer of its own to one class of ending."""
    policy = RetryPolicy(max_attempts=99, when={ending: Answer(remedy=Remedy.RETRY, **answer)})
    return replace(SPEC, retry=policy, params={"batch": 8, "rate": 1.0})


def test_an_answer_is_given_as_often_as_it_says_and_other_endings_do_not_count() -> None:
    at = job(W, answering(EndingClass.NETWORK, attempts=2))
    for ending in (EndingClass.NETWORK, EndingClass.CRASHED, EndingClass.NETWORK):
        at = after(at, MET, BackoffElapsed(at=NOW), SUBMITTED, STARTED, ended(ending))
        assert at.state is B

    over = after(at, BackoffElapsed(at=NOW), SUBMITTED, STARTED, ended(EndingClass.NETWORK))

    assert (over.state, over.attempt) == (BAD, 4)
    assert "2 more attempts were made" in over.reason


def test_a_checkpoint_refunds_what_an_answer_counts() -> None:
    at = job(R, answering(EndingClass.NETWORK, attempts=1), failures={EndingClass.NETWORK: 1}, spent=1)

    assert after(at, SAVED, ended(EndingClass.NETWORK)).state is B
    assert after(at, ended(EndingClass.NETWORK)).state is BAD


def test_an_answer_has_a_wait_of_its_own_that_doubles_with_its_own_count() -> None:
    spec = answering(EndingClass.NETWORK, attempts=5, backoff_s=60.0)
    waits = [after(job(R, spec, spent=7, failures={"network": n}), ended(EndingClass.NETWORK)).wake_at for n in (0, 1)]

    assert waits == [NOW + 60, NOW + 120]


def test_want_of_memory_reduces_what_the_recipe_says_until_it_cannot_be_reduced() -> None:
    at = job(W, answering(EndingClass.GPU_OOM, reduce={"batch": 0.5}))
    seen = []
    while at.state is not BAD:
        at = after(at, MET, BackoffElapsed(at=NOW), SUBMITTED, STARTED, ended(EndingClass.GPU_OOM))
        seen.append((at.attempt, dict(at.reduced)))

    assert seen == [(1, {"batch": 4}), (2, {"batch": 2}), (3, {"batch": 1}), (4, {"batch": 1})]
    assert "batch cannot be reduced any further" in at.reason
    assert after(at, ask(Verb.RETRY)).reduced == {}


CHAINED = replace(SPEC, retry=RetryPolicy(max_attempts=3, queue_ahead=True, backoff_s=60.0))


def test_the_next_attempt_queues_behind_one_that_has_begun_and_goes_on_at_once() -> None:
    begun = step(job(Q, CHAINED), STARTED)
    assert begun.actions == (QueueAhead(job="train", attempt=1),)

    cut = after(begun.job, ended(EndingClass.TIME_LIMIT))
    on = step(cut, BackoffElapsed(at=NOW))

    assert (cut.state, cut.wake_at) == (B, NOW)
    assert (on.job.attempt, on.job.ahead, on.actions) == (2, 0, (SubmitJob(job="train", attempt=2),))


def test_what_queues_behind_an_attempt_whose_node_failed_goes_on_although_that_node_is_to_be_avoided() -> None:
    policy = replace(CHAINED.retry, when={EndingClass.NODE_FAIL: Answer(remedy=Remedy.EXCLUDE_NODE)})
    begun = after(job(Q, replace(CHAINED, retry=policy)), STARTED)

    cut = step(begun, replace(ended(EndingClass.NODE_FAIL), suspects=("n1",)))

    assert not [action for action in cut.actions if isinstance(action, DropAhead)]
    assert (cut.job.wake_at, list(cut.job.avoided)) == (NOW, ["n1"])
    assert after(cut.job, BackoffElapsed(at=NOW)).attempt == 2


@pytest.mark.parametrize(("spent", "queued"), [(1, True), (2, False)])
def test_nothing_queues_behind_the_last_attempt_that_is_allowed(spent: int, *, queued: bool) -> None:
    assert bool(step(job(Q, CHAINED, spent=spent), STARTED).actions) is queued


def test_nothing_queues_behind_one_that_is_not_to_go_on_when_it_is_cut_short() -> None:
    for answer in (
        Answer(remedy=Remedy.HOLD),
        Answer(remedy=Remedy.RETRY, reduce={"batch": 0.5}),
        Answer(remedy=Remedy.RETRY, attempts=0),
    ):
        policy = replace(CHAINED.retry, when={EndingClass.TIME_LIMIT: answer})
        assert step(job(Q, replace(CHAINED, retry=policy)), STARTED).actions == ()


@pytest.mark.parametrize(
    "event",
    [
        ended(EndingClass.SUCCESS),
        ended(EndingClass.CONFIG),
        ended(EndingClass.CRASHED),
        *(ask(verb) for verb in (Verb.HOLD, Verb.SAVE, Verb.RESTART, Verb.CANCEL, Verb.SUCCEED, Verb.FAIL)),
        WentAstray(at=NOW, reason="it began elsewhere"),
        Retired(at=NOW),
    ],
    ids=lambda event: str(getattr(event, "ending", "") or getattr(event, "verb", "") or event.trigger),
)
def test_what_is_queued_ahead_is_taken_back_where_the_job_is_not_to_go_on_or_not_like_this(event: Event) -> None:
    begun = after(job(Q, CHAINED), STARTED)

    decision = step(begun, event)

    assert DropAhead(job="train", attempt=1, ahead=2) in decision.actions
    assert (decision.job.ahead, decision.job.dropped) == (0, 2)
    assert next_attempt(decision.job) == 3, "its number is used up"


def test_a_new_watcher_queues_it_again_and_takes_back_again_what_was_taken_back() -> None:
    begun = after(job(Q, CHAINED), STARTED)

    assert list(owed(begun, {"train"})) == [QueueAhead(job="train", attempt=1)]
    held = after(begun, ask(Verb.HOLD))
    assert list(owed(held, {"train"})) == [DropAhead(job="train", attempt=1, ahead=2)]


def test_a_fraction_is_reduced_as_a_fraction_and_only_by_its_own_ending() -> None:
    running = job(R, answering(EndingClass.GPU_OOM, reduce={"rate": 0.5, "batch": 0.75}))

    assert after(running, ended(EndingClass.GPU_OOM)).reduced == {"rate": 0.5, "batch": 6}
    assert after(running, ended(EndingClass.CRASHED)).reduced == {}


def test_a_job_with_one_attempt_is_never_tried_again_whatever_it_saved() -> None:
    running = job(R, replace(SPEC, retry=RetryPolicy(max_attempts=1)))

    assert after(running, SAVED, ended(EndingClass.PREEMPTED)).state is BAD


def test_the_wait_doubles_with_each_attempt_that_counts() -> None:
    spec = replace(SPEC, retry=RetryPolicy(max_attempts=99, backoff_s=10.0))
    waits = [after(job(R, spec, spent=spent), ended()).wake_at for spent in range(9)]

    assert waits == [NOW + wait for wait in (10, 20, 40, 80, 160, 320, 600, 600, 600)]


def test_a_recipe_may_ask_for_a_longer_wait_than_the_longest() -> None:
    spec = replace(SPEC, retry=RetryPolicy(max_attempts=9, backoff_s=3600.0))

    assert [after(job(R, spec, spent=spent), ended()).wake_at for spent in range(3)] == [NOW + 3600.0] * 3
    assert LONGEST_BACKOFF_S < 3600


def test_no_number_of_attempts_or_refusals_is_too_large_to_wait_for() -> None:
    spec = replace(SPEC, retry=RetryPolicy(max_attempts=10**6))

    assert after(job(R, spec, spent=5000), ended()).wake_at == NOW + LONGEST_BACKOFF_S
    assert after(job(S, refusals=5000), BUSY).wake_at == NOW + LONGEST_BACKOFF_S


def test_a_new_checkpoint_refunds_the_attempt() -> None:
    at = job(W, replace(SPEC, retry=RetryPolicy(max_attempts=2)))
    for iteration in range(100, 2000, 100):
        at = after(at, MET, BackoffElapsed(at=NOW), SUBMITTED, STARTED)
        at = after(at, CheckpointSaved(at=NOW, path="c", iteration=iteration), ended(EndingClass.TIME_LIMIT))

    assert (at.state, at.attempt, at.spent) == (B, 19, 0)
    at = after(at, BackoffElapsed(at=NOW), STARTED, SAVED, ended(), BackoffElapsed(at=NOW), STARTED, ended())
    assert (at.state, at.spent) == (BAD, 2), "a checkpoint it had before is no progress"


@pytest.mark.parametrize(
    ("first", "then", "between"),
    [
        pytest.param([], [ask(Verb.RETRY), MET], BAD, id="failed, then retried"),
        pytest.param([], [ask(Verb.RESTART), MET], BAD, id="failed, then restarted"),
        pytest.param([ask(Verb.HOLD)], [ask(Verb.START)], H, id="held, then started"),
        pytest.param([ask(Verb.HOLD)], [ask(Verb.RELEASE), MET], H, id="held, then released"),
        pytest.param([ask(Verb.CANCEL)], [ask(Verb.RETRY), MET], CUT, id="cancelled, then retried"),
    ],
)
def test_after_a_refusal_for_good_the_next_submission_is_the_same_attempt(
    first: list[Event], then: list[Event], between: State
) -> None:
    sent = after(job(W), MET)

    refused = after(sent, *first, REFUSED)
    assert (refused.state, refused.spent) == (between, 0)
    again = after(refused, *then)

    assert (again.state, again.attempt, again.token) == (S, 1, sent.token)


def test_temporary_refusals_wait_longer_each_time_and_use_up_no_attempt() -> None:
    at = after(job(W, replace(SPEC, retry=RetryPolicy(max_attempts=1))), MET)
    token, waits = at.token, []
    for _ in range(12):
        at = after(at, BUSY)
        assert at.state is B
        waits.append((at.wake_at or 0.0) - NOW)
        decision = step(at, BackoffElapsed(at=NOW))
        at = decision.job
        assert (decision.actions, at.attempt, at.token) == ((SUBMIT,), 1, token)

    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    assert after(at, SUBMITTED, STARTED).refusals == 0


def test_a_lost_answer_is_asked_after_again_later_each_time_and_the_attempt_stays_the_same() -> None:
    lost = SubmitLost(at=NOW, attempt=1, reason="sbatch timed out")
    at = after(job(W), MET)
    waits = []
    for _ in range(12):
        decision = step(at, lost)
        at = decision.job
        assert (at.state, at.attempt, at.reason, decision.actions) == (S, 1, "sbatch timed out", ())
        waits.append((at.wake_at or 0.0) - NOW)

    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    assert (after(at, SUBMITTED).wake_at, after(at, STARTED).wake_at) == (None, None)
    assert after(at, SUBMITTED).reason == ""


def test_a_hook_s_refusal_for_now_is_asked_again_and_for_good_fails() -> None:
    not_yet = SubmitRefused(at=NOW, attempt=1, reason="checkpoint 300 is not whole yet", temporary=True)
    never = SubmitRefused(at=NOW, attempt=1, reason="the cooldown has a tracker of its own", fix="move it away")
    at = after(job(W), MET)

    waiting = after(at, not_yet)
    assert (waiting.state, waiting.reason, waiting.spent) == (B, "checkpoint 300 is not whole yet", 0)
    assert after(waiting, BackoffElapsed(at=NOW)).attempt == 1
    assert after(at, never).state is BAD


def test_a_withdrawn_attempt_is_not_used_again() -> None:
    released = after(job(Q), ask(Verb.HOLD), TAKEN_BACK, ask(Verb.RELEASE))

    assert step(released, MET).actions == (NEXT,)
    assert after(released, MET).token == "train.2.k3y"


# Stalls.

KILLS = replace(SPEC, retry=RetryPolicy(max_attempts=3, when={EndingClass.HUNG: Answer(remedy=Remedy.RETRY)}))
STALL = Stalled(at=NOW, idle_s=99.0)


def test_a_stalled_job_is_only_shown_unless_the_recipe_says_what_to_do() -> None:
    shown = step(job(R), STALL)

    assert (shown.job.state, shown.actions) == (L, ())


def test_a_hung_job_is_stopped_and_ends_as_hung_whatever_its_exit_code() -> None:
    stopped = step(job(R, KILLS), STALL)
    assert (stopped.job.state, stopped.actions) == (P, (STOP,))

    over = after(stopped.job, ended(EndingClass.CANCELLED, "ended by SIGTERM"))

    assert (over.state, over.ending, over.spent) == (B, EndingClass.HUNG, 1)


def test_a_job_that_finished_while_it_was_stopped_for_hanging_has_succeeded() -> None:
    over = after(job(R, KILLS), STALL, ended(EndingClass.SUCCESS))

    assert (over.state, over.ending) == (OK, EndingClass.SUCCESS)


def test_a_hung_mark_does_not_outlive_its_attempt() -> None:
    again = after(job(R, KILLS), STALL, ended(), BackoffElapsed(at=NOW), SUBMITTED, STARTED, ended())

    assert again.ending is EndingClass.CRASHED


# Going astray.

ASTRAY = SAMPLES["went_astray"]


@pytest.mark.parametrize("state", LIVE)
def test_a_run_that_went_astray_is_stopped_at_once(state: State) -> None:
    decision = step(job(state), ASTRAY)

    assert (decision.job.state, decision.actions) == (P, (STOP,))
    assert decision.job.reason == "it trains from random weights"


@pytest.mark.parametrize("ending", [EndingClass.CANCELLED, EndingClass.SUCCESS, EndingClass.CRASHED])
def test_it_fails_for_good_and_says_why_whatever_its_exit_code(ending: EndingClass) -> None:
    over = after(job(R), ASTRAY, ended(ending))

    assert (over.state, over.ending) == (BAD, EndingClass.CONFIG)
    assert over.reason == "it trains from random weights; it was stopped"


def test_a_cancel_or_a_restart_asked_of_a_run_astray_is_obeyed() -> None:
    assert after(job(R), ask(Verb.CANCEL), ended()).state is CUT
    assert after(replace(job(R), astray="x", state=P, pending=Verb.RESTART), ended()).state is S


def test_a_mark_of_having_gone_astray_does_not_outlive_its_attempt() -> None:
    again = after(job(R), ASTRAY, ended(), ask(Verb.RETRY), MET, SUBMITTED, STARTED, ended())

    assert (again.ending, again.astray) == (EndingClass.CRASHED, "")


# Planning.


@pytest.mark.parametrize("state", [W, H, B])
def test_a_retired_job_that_has_no_attempt_open_is_cancelled(state: State) -> None:
    gone = after(job(state), Retired(at=NOW))

    assert (gone.state, gone.retired) == (CUT, True)


@pytest.mark.parametrize("state", [*SENT, *LIVE, P])
def test_planning_never_touches_an_open_attempt(state: State) -> None:
    decision = step(job(state), Retired(at=NOW))

    assert (decision.job.state, decision.job.retired, decision.actions) == (state, True, ())


def test_a_retired_job_is_not_tried_again() -> None:
    assert after(job(R, retired=True), ended()).state is BAD
    assert after(job(S, retired=True), BUSY).state is CUT


def test_that_only_its_retirement_kept_a_job_from_being_tried_again_is_told() -> None:
    dropped = after(job(R, retired=True), ended())
    for_good = after(job(R, retired=True, spent=2), ended())

    assert dropped.reason.endswith("; not tried again, for the recipe had dropped it then")
    assert "dropped" not in for_good.reason


def test_a_job_that_is_planned_again_comes_back_fresh_if_it_was_retired() -> None:
    back = after(job(CUT, retired=True, spent=2), Planned(at=NOW))
    done = after(job(OK, retired=True), Planned(at=NOW))

    assert (back.state, back.retired, back.spent) == (W, False, 0)
    assert (done.state, done.retired) == (OK, False)


def test_planning_a_job_a_second_time_is_no_move() -> None:
    assert step(job(R), Planned(at=NOW)).transition is None


# Stale news, the journal, and debts.


@pytest.mark.parametrize("trigger", [trigger for trigger in SAMPLES if not trigger.endswith("_requested")])
@pytest.mark.parametrize("stale", [1, 3])
def test_news_of_another_attempt_changes_nothing(trigger: str, stale: int) -> None:
    before = job(R, attempt=2)

    decision = step(before, replace(SAMPLES[trigger], attempt=stale))

    assert (decision.job, decision.transition, decision.actions) == (before, None, ())
    assert decision.refusal == f"it speaks of attempt {stale}; the newest is 2"


def test_the_journal_keeps_the_evidence_and_the_actions() -> None:
    move = step(job(R, WITH_CHILDREN), SAVED).transition

    assert move == Transition(
        at=NOW,
        study="demo",
        job="train",
        attempt=1,
        trigger="checkpoint_saved",
        source=R,
        target=R,
        evidence={"path": "checkpoints/iter_0000200", "iteration": 200},
        changes={"checkpoints": (200,)},
        actions=("appear convert-train@0000200",),
    )


def test_a_job_owes_what_its_state_still_asks_for() -> None:
    known = {"train", "convert-train@0000200", "note-train"}
    debts = {
        S: (job(S), [SUBMIT]),
        Q: (job(Q), []),
        R: (job(R), []),
        P: (job(P, pending=Verb.CANCEL), [STOP]),
        OK: (job(OK), []),
    }
    assert {state: list(owed(at, known)) for state, (at, _) in debts.items()} == {s: d for s, (_, d) in debts.items()}
    assert list(owed(job(Q, pending=Verb.HOLD, withdrawn=True), known)) == [WITHDRAW]
    assert list(owed(job(P, pending=Verb.SAVE), known)) == [SAVE]


def test_a_job_owes_the_jobs_that_have_not_appeared_yet() -> None:
    at = job(OK, WITH_CHILDREN, checkpoints=(200, 250, 300))

    assert [str(action) for action in owed(at, {"convert-train@0000200"})] == [
        "appear note-train",
        "appear convert-train@0000300",
    ]


class Life(RuleBasedStateMachine):
    """A job among arbitrary events, beside a world that knows which attempt really exists."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.born = self.job = job(None, attempt=0)
        self.moves: list[Transition] = []
        self.open: int | None = None
        """The attempt that was submitted and has neither ended nor been refused."""

    @initialize(
        most=st.integers(1, 3),
        hung=st.sampled_from([None, *Remedy]),
        gate=st.booleans(),
        remedies=st.dictionaries(st.sampled_from(EndingClass), st.sampled_from(Remedy), max_size=3),
        count=st.sampled_from([None, 1, 2]),
    )
    def plan(
        self,
        most: int,
        hung: Remedy | None,
        gate: bool,  # noqa: FBT001 - drawn
        remedies: dict[EndingClass, Remedy],
        count: int | None,
    ) -> None:
        said = {**remedies, **({EndingClass.HUNG: hung} if hung else {})}
        when = {ending: Answer(remedy=remedy, attempts=count) for ending, remedy in said.items()}
        policy = RetryPolicy(max_attempts=most, when=when, queue_ahead=count is not None)
        spec = replace(WITH_CHILDREN, retry=policy, gate=("gate",) if gate else ())
        self.born = self.job = job(None, spec, attempt=0)
        self.happen(Planned(at=self.clock))

    def happen(self, event: Event) -> None:
        self.clock += 1.0
        before = self.job
        decision = step(before, replace(event, at=self.clock))
        self.job = decision.job
        if decision.transition is None:
            assert self.job == before
            assert decision.actions == ()
            return
        self.moves.append(decode(Transition, json.loads(json.dumps(encode(decision.transition)))))
        self._check_absorbing(before, event)
        for action in decision.actions:
            if isinstance(action, SubmitJob):
                assert self.open is None, "two attempts open at once"
                self.open = action.attempt
        assert self.job.attempt >= before.attempt

    def _check_absorbing(self, before: Job, event: Event) -> None:
        if before.state in OVER and self.job.state is not before.state:
            verbs = {Verb.RESTART, Verb.RETRY, Verb.SUCCEED, Verb.FAIL}
            by_hand = isinstance(event, Requested) and event.verb in verbs
            assert by_hand or (isinstance(event, Planned) and before.retired)

    # What really happens to the open attempt

    @precondition(lambda self: self.open is not None)
    @rule()
    def submit(self) -> None:
        self.happen(replace(SUBMITTED, attempt=self.open))

    @precondition(lambda self: self.open is not None and self.job.state in SENT)
    @rule(temporary=st.booleans())
    def refuse(self, temporary: bool) -> None:  # noqa: FBT001 - drawn
        attempt, self.open = self.open, None
        self.happen(replace(BUSY, attempt=attempt, temporary=temporary))

    @precondition(lambda self: self.open is not None)
    @rule()
    def start(self) -> None:
        self.happen(replace(STARTED, attempt=self.open))

    @precondition(lambda self: self.open is not None)
    @rule(ending=st.sampled_from(EndingClass))
    def end(self, ending: EndingClass) -> None:
        attempt, self.open = self.open, None
        self.happen(replace(ended(ending), attempt=attempt))

    # What people, clocks and planning ask

    @rule(verb=st.sampled_from(Verb))
    def ask(self, verb: Verb) -> None:
        self.happen(ask(verb))

    @rule(trigger=st.sampled_from(["planned", "retired", "conditions_met", "conditions_died", "backoff_elapsed"]))
    def tell(self, trigger: str) -> None:
        self.happen(SAMPLES[trigger])

    @rule(iteration=st.integers(1, 5).map(lambda n: n * 100))
    def save(self, iteration: int) -> None:
        self.happen(CheckpointSaved(at=0.0, path="c", iteration=iteration))

    @rule(
        trigger=st.sampled_from(["stalled", "progressed", "gate_passed", "gate_failed", "submit_lost", "went_astray"])
    )
    def look(self, trigger: str) -> None:
        self.happen(SAMPLES[trigger])

    @rule(
        trigger=st.sampled_from(["submitted", "submit_refused", "started", "ended", "stalled"]), off=st.integers(1, 3)
    )
    def hear_old_news(self, trigger: str, off: int) -> None:
        before = self.job
        self.happen(replace(SAMPLES[trigger], attempt=before.attempt - off))
        assert self.job is before

    # What holds all the time

    @invariant()
    def an_open_attempt_is_never_forgotten(self) -> None:
        assert (self.open is not None) is (self.job.state in ACTIVE)
        assert self.open in {None, self.job.attempt}

    @invariant()
    def replaying_the_journal_gives_the_same_job(self) -> None:
        replayed = self.born
        for move in self.moves:
            replayed = fold(replayed, move)
        assert replayed == self.job

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert 0 <= self.job.spent <= self.job.attempt

    @invariant()
    def a_wish_only_waits_while_an_attempt_is_open(self) -> None:
        assert self.job.pending is None or self.job.state in ACTIVE


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_whatever_happens_in_whatever_order_the_rules_hold = Life.TestCase
