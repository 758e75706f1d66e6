"""The job lifecycle: one table, one function.

Rule 1: every rule about how a job moves is a row of `TABLE`. There is no second place; an `if job.state` that
decides a move anywhere else is a bug.
Rule 2: rows are tried in order, the first whose `when` holds is taken, and each choice ends with a row that
always holds, because `transitions` answers False, not an error, when no condition holds.
Rule 3: rows only name effects. Nothing here touches the disk, the clock or a scheduler, so a test needs no mock.
Rule 4: `fold` is the only way a job changes, in memory and in replay alike.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from transitions import EventData, Machine, MachineError

from autoexp import effects as do
from autoexp import happenings
from autoexp.actions import Action, DropAhead, QueueAhead, StopJob, SubmitJob, WithdrawJob
from autoexp.events import Event, Requested
from autoexp.fold import fold
from autoexp.model import EndingClass, Job, Remedy, State, Transition, Verb

W, H, S, Q = State.WAITING, State.HELD, State.SUBMITTING, State.QUEUED
G, R, L, P = State.GATING, State.RUNNING, State.STALLED, State.STOPPING
B = State.BACKOFF
OK, BAD, CUT, SKIP = State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED

UNBORN = "unborn"
"""How the table calls a job that the journal does not know yet."""

Source = State | str
Condition = Callable[[Job, Any], bool]
Effect = Callable[[Job, Any], Iterator[do.Effect]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `target` None stays in the state it came from."""

    trigger: str
    sources: tuple[Source, ...]
    target: State | None = None
    when: tuple[Condition, ...] = ()
    then: tuple[Effect, ...] = ()


IDLE = (W, B)
SENT = (S, Q)
LIVE = (G, R, L)
DONE = (OK, BAD, CUT, SKIP)
ATTEMPTED = (*SENT, *LIVE, P)
ALL = (W, H, S, Q, G, R, L, P, B, *DONE)


# Questions that rows ask. Each is a plain predicate over the job and the event.


def was_retired(job: Job, _: Event) -> bool:
    """The recipe had dropped it."""
    return job.retired


def is_pending(job: Job, _: Event) -> bool:
    """Something was asked that waits for the attempt."""
    return job.pending is not None


def pends(*verbs: Verb) -> Condition:
    """Ask whether one of these verbs is pending."""

    def pending(job: Job, _: Event) -> bool:
        return job.pending in verbs

    pending.__name__ = f"pending_{'_or_'.join(verbs)}"
    return pending


def has_gate(job: Job, _: Event) -> bool:
    """A gate stands before the run."""
    return bool(job.spec.gate)


def is_temporary(_: Job, event: Any) -> bool:
    """The refusal may pass by itself."""
    return bool(event.temporary)


def succeeded(_: Job, event: Any) -> bool:
    """The attempt did all its work."""
    return bool(event.ending is EndingClass.SUCCESS)


def is_news(job: Job, event: Any) -> bool:
    """The checkpoint was not known yet; a new watcher finds them all again."""
    return event.iteration not in job.checkpoints


def is_unheard(job: Job, event: Any) -> bool:
    """The log says it for the first time, and not too often; a new watcher reads the whole log again."""
    return happenings.is_news(job, event)


def is_grouped(job: Job, event: Any) -> bool:
    """One of the checkpoints stands in a batch already: none ever stands in two."""
    return any(iteration in event.iterations for iteration in job.batched(event.template))


def is_complete(_: Job, event: Any) -> bool:
    """No other checkpoint belongs to the batch."""
    return bool(event.complete)


def went_astray(job: Job, _: Event) -> bool:
    """It was stopped because it did not continue from where it was to."""
    return bool(job.astray)


def kills_the_hung(job: Job, _: Event) -> bool:
    """The recipe says what to do with a hung attempt."""
    return EndingClass.HUNG in job.spec.retry.when


def remedy_is(*remedies: Remedy) -> Condition:
    """Ask whether the retry policy answers this ending so."""

    def remedied(job: Job, event: Any) -> bool:
        return do.remedy(job, event) in remedies

    remedied.__name__ = f"remedy_is_{'_or_'.join(remedies)}"
    return remedied


def is_newer(job: Job, event: Any) -> bool:
    """The attempt on disk is a later one, or the very one that the journal believes to have never begun."""
    again = event.number == job.attempt and job.unused and job.state not in ATTEMPTED
    return event.number > job.attempt or bool(again and event.begun)


def has_begun(_: Job, event: Any) -> bool:
    """The attempt on disk was claimed."""
    return bool(event.begun)


def was_lost_on_its_way(job: Job, event: Any) -> bool:
    """What the journal believes to be on its way was taken back, and nobody is about to say so."""
    return bool(event.taken_back) and not job.withdrawn


def is_unclear(_: Job, event: Any) -> bool:
    """Nobody can tell whose attempt is on disk."""
    return bool(event.unclear)


def may_retry(job: Job, event: Any) -> bool:
    """The policy wants another attempt and the budget has one."""
    policy, answer = job.spec.retry, do.answer(job, event)
    if answer.remedy not in do.TRY_AGAIN or job.retired or (answer.reduce and not do.reduced_after(job, event)):
        return False
    again = answer.attempts is None or do.failures_after(job, event) <= answer.attempts
    return again and policy.max_attempts > 1 and do.spent_after(job) < policy.max_attempts


def _ask(verb: Verb, sources: tuple[Source, ...], target: State | None, *then: Effect) -> Row:
    return Row(verb.trigger, sources, target, then=then)


def _end_as(verb: Verb, target: State, at_once: tuple[Source, ...]) -> tuple[Row, ...]:
    """Ask for an end: at once where nothing runs, otherwise when the attempt has ended."""
    return (
        _ask(verb, at_once, target, do.drop_ahead),
        _ask(verb, (P,), None, do.pend),
        _ask(verb, SENT, None, do.pend, do.withdraw),
        _ask(verb, LIVE, P, do.pend, do.drop_ahead, do.stop),
    )


TABLE: tuple[Row, ...] = (
    #   trigger             from           to    when                     then
    # Birth and retirement: planning says what there is.
    Row("planned", (UNBORN,), W, then=(do.appear_for_job,)),
    Row("planned", (CUT,), W, (was_retired,), (do.unretire, do.refresh)),
    Row("planned", ALL, None, (was_retired,), (do.unretire,)),
    Row("planned", ALL, None),
    Row("appeared", (UNBORN,), W, then=(do.appear_for_job,)),
    Row("retired", (W, H, B), CUT, then=(do.retire, do.drop_ahead)),
    Row("retired", (*SENT, *LIVE, P, *DONE), None, then=(do.retire, do.drop_ahead)),
    # What the journal has lost, and the disk still knows: the newest attempt is the job's.
    Row("attempt_found", ALL, G, (is_newer, has_begun, has_gate), (do.take_up, do.record_start)),
    Row("attempt_found", ALL, R, (is_newer, has_begun), (do.take_up, do.record_start)),
    Row("attempt_found", ALL, S, (is_newer,), (do.take_up, do.submit_found)),
    Row("attempt_found", SENT, W, (was_lost_on_its_way,), (do.use_up,)),
    Row("attempt_found", IDLE, H, (is_unclear,), (do.drop_ahead,)),
    Row("attempt_found", ALL, None, (), (do.use_up,)),
    # Setting out.
    Row("conditions_met", (W,), S, then=(do.open_attempt,)),
    Row("conditions_died", (W,), SKIP),
    Row("backoff_elapsed", (B,), S, then=(do.open_attempt,)),
    Row("submitted", (S,), Q, (is_pending,), (do.record_id, do.withdraw)),
    Row("submitted", (S,), Q, (), (do.record_id,)),
    Row("submitted", (W, H, B, *DONE), None, then=(do.withdraw,)),
    Row("submit_deferred", (S,), None, then=(do.say_why,)),
    Row("submit_lost", (S,), None, then=(do.try_again_later, do.say_why)),
    Row("submit_refused", SENT, H, (pends(Verb.HOLD),), (do.settle,)),
    Row("submit_refused", SENT, CUT, (pends(Verb.CANCEL),), (do.settle,)),
    Row("submit_refused", SENT, OK, (pends(Verb.SUCCEED),), (do.settle,)),
    Row("submit_refused", SENT, BAD, (pends(Verb.FAIL),), (do.settle,)),
    Row("submit_refused", SENT, CUT, (was_retired,)),
    Row("submit_refused", SENT, B, (is_temporary,), (do.try_again_later,)),
    Row("submit_refused", SENT, BAD),
    # Running.
    Row("started", SENT, P, (is_pending,), (do.record_start, do.stop)),
    Row("started", SENT, G, (has_gate,), (do.record_start, do.queue_ahead)),
    Row("started", SENT, R, (), (do.record_start, do.queue_ahead)),
    Row("started", (W, H, B, *DONE), None, then=(do.stop,)),
    Row("gate_passed", (G,), R),
    Row("gate_failed", (G,), None),
    Row("progressed", (L,), R),
    Row("went_astray", LIVE, P, (), (do.drop_ahead, do.note_astray, do.stop)),
    Row("stalled", (R,), P, (kills_the_hung,), (do.drop_ahead, do.note_hung, do.stop)),
    Row("stalled", (R,), L),
    Row("checkpoint_saved", (L,), R, (is_news,), (do.appear_for_checkpoint, do.record_checkpoint)),
    Row("checkpoint_saved", ALL, None, then=(do.appear_for_checkpoint, do.record_checkpoint)),
    # A batch gets its job once it is complete, or once its parent is over; until then it grows.
    Row("checkpoints_gathered", ALL, None, (is_grouped,)),
    Row("checkpoints_gathered", ALL, None, (is_complete,), (do.appear_for_batch,)),
    Row("checkpoints_gathered", DONE, None, (), (do.appear_for_batch,)),
    Row("checkpoints_gathered", ALL, None),
    # What the recipe waits for under `events:`; what it wants done is owed until it is done.
    Row("log_matched", ALL, None, (is_unheard,), (happenings.note_match,)),
    Row("log_matched", ALL, None),
    Row("answered", ALL, None, (), (happenings.note_answer,)),
    # Ending. What a person asked for comes before what the policy says; finished work stays finished.
    Row("ended", SENT, CUT, (pends(Verb.CANCEL),), (do.record_ending, do.settle)),
    Row("ended", SENT, OK, (pends(Verb.SUCCEED),), (do.record_ending, do.settle)),
    Row("ended", SENT, BAD, (pends(Verb.FAIL),), (do.record_ending, do.settle)),
    Row("ended", (*SENT, *LIVE), OK, (succeeded,), (do.drop_ahead, do.record_ending, do.drop_wish)),
    Row("ended", (*SENT, *LIVE), H, (pends(Verb.HOLD),), (do.drop_ahead, do.record_ending, do.settle)),
    Row("ended", (*SENT, *LIVE), W, (do.was_taken_back,), (do.record_ending,)),  # and that wish taken back since
    Row("ended", (P,), CUT, (pends(Verb.CANCEL),), (do.record_ending, do.settle)),
    Row("ended", (P,), S, (pends(Verb.RESTART),), (do.record_ending, do.start_over, do.open_attempt)),
    Row("ended", (P,), BAD, (went_astray,), (do.record_ending, do.drop_wish)),
    Row("ended", (P,), BAD, (pends(Verb.FAIL),), (do.record_ending, do.settle)),
    Row("ended", (P,), OK, (pends(Verb.SUCCEED),), (do.record_ending, do.settle)),
    Row("ended", (P,), OK, (succeeded,), (do.record_ending, do.drop_wish)),
    Row("ended", (P,), H, (pends(Verb.HOLD, Verb.SAVE),), (do.record_ending, do.settle)),
    Row("ended", SENT, B, (do.never_began,), (do.try_again_later,)),
    Row("ended", ATTEMPTED, H, (remedy_is(Remedy.HOLD),), (do.drop_ahead, do.record_ending)),
    Row("ended", ATTEMPTED, CUT, (remedy_is(Remedy.CANCEL),), (do.drop_ahead, do.record_ending)),
    Row("ended", ATTEMPTED, B, (may_retry,), (do.back_off, do.avoid_suspects, do.reduce, do.record_ending)),
    Row("ended", ATTEMPTED, BAD, (), (do.drop_ahead, do.avoid_suspects, do.say_why_not_again, do.record_ending)),
    # What people ask by dropping a marker. A verb without a row for a state is refused there.
    _ask(Verb.HOLD, IDLE, H, do.drop_ahead),
    _ask(Verb.HOLD, (*LIVE, P), None, do.pend, do.drop_ahead),
    _ask(Verb.HOLD, SENT, None, do.pend, do.withdraw),
    _ask(Verb.RELEASE, (H,), W),
    _ask(Verb.RELEASE, (*SENT, *LIVE), None, do.take_back_hold),
    _ask(Verb.START, (*IDLE, H), S, do.open_attempt),
    _ask(Verb.SAVE, LIVE, P, do.pend, do.drop_ahead, do.save_and_stop),
    _ask(Verb.RESTART, LIVE, P, do.pend, do.drop_ahead, happenings.change_params, do.stop),
    _ask(Verb.RESTART, DONE, W, do.start_over, do.refresh, happenings.change_params),
    _ask(Verb.RETRY, (BAD, CUT, SKIP), W, do.refresh),
    *_end_as(Verb.CANCEL, CUT, (*IDLE, H)),
    *_end_as(Verb.SUCCEED, OK, (*IDLE, H, BAD, CUT, SKIP)),
    *_end_as(Verb.FAIL, BAD, (*IDLE, H, OK, CUT, SKIP)),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What `step` came to: the job as it is now, the move to journal, and what to do about it.

    `transition` is None where the event changes nothing worth keeping; `refusal` says why there is no row.
    """

    job: Job
    transition: Transition | None = None
    actions: tuple[Action, ...] = ()
    refusal: str | None = None


@dataclass(slots=True)
class _Cursor:
    """What `transitions` moves: thrown away after each step."""

    state: str
    job: Job
    event: Event
    row: Row | None = None


def _cursor(data: EventData) -> _Cursor:
    cursor = data.model
    if not isinstance(cursor, _Cursor):
        raise TypeError(f"the table moves cursors, not {cursor!r}")
    return cursor


def _condition(condition: Condition) -> Callable[[EventData], bool]:
    return lambda data: condition(_cursor(data).job, _cursor(data).event)


def _note(row: Row) -> Callable[[EventData], None]:
    def note(data: EventData) -> None:
        _cursor(data).row = row

    return note


def machine(rows: tuple[Row, ...] = TABLE, kind: type[Machine] = Machine) -> Machine:
    """Build the interpreter of the table; it holds no model, so nothing is registered per job."""
    states = [UNBORN, *(str(state) for state in ALL)]
    built = kind(model=None, states=states, initial=None, auto_transitions=False, send_event=True)
    for row in rows:
        built.add_transition(
            row.trigger,
            [str(source) for source in row.sources],
            None if row.target is None else str(row.target),
            conditions=[_condition(condition) for condition in row.when],
            before=_note(row),
        )
    return built


MACHINE = machine()


def step(job: Job, event: Event) -> Decision:
    """Decide what an event means for a job. Pure: the same job and event always come to the same decision."""
    if event.attempt is not None and event.attempt != job.attempt:
        return Decision(job, refusal=f"it speaks of attempt {event.attempt}; the newest is {job.attempt}")
    row = _row_for(job, event)
    if row is None:
        return Decision(job, refusal=_why_refused(job, event))
    target = row.target or job.state
    if target is None:
        raise AssertionError(f"{row.trigger} leaves an unborn job unborn")
    entered = () if target is job.state else happenings.note_state(job, target)
    changes, actions = _run(job, chain(*(then(job, event) for then in row.then), entered))
    if target is job.state and not changes and not actions and not isinstance(event, Requested):
        return Decision(job)
    transition = _transition(job, event, target, changes, actions)
    return Decision(fold(job, transition), transition, actions)


def _row_for(job: Job, event: Event) -> Row | None:
    cursor = _Cursor(str(job.state or UNBORN), job, event)
    try:
        MACHINE.events[event.trigger].trigger(cursor)
    except MachineError:
        return None
    return cursor.row


def _run(job: Job, effects: Iterable[do.Effect]) -> tuple[dict[str, Any], tuple[Action, ...]]:
    changes: dict[str, Any] = {}
    actions: list[Action] = []
    for effect in effects:
        if isinstance(effect, Mapping):
            changes |= effect
        else:
            actions.append(effect)
    return {k: v for k, v in changes.items() if getattr(job, k) != v}, tuple(actions)


def _transition(
    job: Job, event: Event, target: State, changes: dict[str, Any], actions: tuple[Action, ...]
) -> Transition:
    evidence = event.evidence()
    if target is not job.state:
        changes.setdefault("reason", _reason(event))
        if changes["reason"] == job.reason:
            del changes["reason"]
    return Transition(
        at=event.at,
        study=job.spec.study,
        job=job.id,
        attempt=changes.pop("attempt", job.attempt),
        trigger=event.trigger,
        source=job.state,
        target=target,
        evidence=evidence,
        changes=changes,
        actions=tuple(str(action) for action in actions),
    )


def _reason(event: Event) -> str:
    said = str(event.evidence().get("reason") or "")
    if not isinstance(event, Requested):
        return said
    return f"{event.verb}: {said}" if said else f"{event.verb} was asked"


def accepted(state: State) -> tuple[Verb, ...]:
    """List the verbs that a marker may ask in this state."""
    return tuple(verb for verb in Verb if any(row.trigger == verb.trigger and state in row.sources for row in TABLE))


_INSTEAD: Mapping[tuple[Verb, State], str] = {
    **{(Verb.RESTART, state): "start" for state in IDLE},
    (Verb.RESTART, H): "release",
    (Verb.RETRY, OK): "restart",
}


def _why_refused(job: Job, event: Event) -> str:
    state = str(job.state or UNBORN)
    if not isinstance(event, Requested) or job.state is None:
        return f"{event.trigger} means nothing to a job that is {state}"
    verbs = ", ".join(accepted(job.state))
    instead = _INSTEAD.get((event.verb, job.state))
    hint = f" (you may want {instead})" if instead else ""
    return f"a job that is {state} takes no {event.verb}{hint}; it takes: {verbs}"


def owed(job: Job, known: Container[str]) -> Iterator[Action]:
    """List what a job's state still asks of the shell; a new watcher does it again, and each is safe to repeat.

    `known` holds the ids of the study's jobs that have been born.
    """
    if job.state is S:
        yield SubmitJob(job=job.id, attempt=job.attempt)
    if job.state in SENT and job.pending is not None and job.withdrawn:
        yield WithdrawJob(job=job.id, attempt=job.attempt)
    if job.dropped:
        yield DropAhead(job=job.id, attempt=job.attempt, ahead=job.dropped)
    if job.ahead and job.state in LIVE:
        yield QueueAhead(job=job.id, attempt=job.attempt)
    yield from happenings.answers(job.id, job.due)
    if job.state is P:
        yield StopJob(job=job.id, attempt=job.attempt, save=job.pending is Verb.SAVE)
    for iteration in (None, *job.checkpoints) if job.spec.children else ():
        yield from (action for action in do.children_of(job, iteration) if action.job not in known)
    yield from (action for action in do.batches_of(job, job.batches) if action.job not in known)
