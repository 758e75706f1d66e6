"""What a recipe waits for under `events:`: when it counts, and what is owed until it is answered. Pure.

Like `effects`, these are what the rows of `lifecycle.TABLE` do.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoexp.actions import AnswerEvent
from autoexp.effects import Effect
from autoexp.model import JSON, Job, Rule, State


def is_news(job: Job, event: Any) -> bool:
    """Say whether a line of the log is news, and its event may happen once more."""
    rule, before = rule_of(job, event.event), job.matched.get(event.event, {})
    if rule is None or times(job, event.event) >= rule.limit:
        return False
    is_same_log = (before.get("attempt"), before.get("inode")) == (event.attempt, event.inode)
    return not is_same_log or event.offset > int(str(before["offset"]))


def rule_of(job: Job, name: str) -> Rule | None:
    """Find an event among those that the job's recipe waits for."""
    return next((rule for rule in job.spec.events if rule.name == name), None)


def times(job: Job, name: str) -> int:
    """Count how often an event has happened."""
    return int(str(job.matched.get(name, {}).get("times", 0)))


def note_match(job: Job, event: Any) -> Iterator[Effect]:
    """Remember that the log said it, and what is owed for that."""
    place = {"attempt": event.attempt, "inode": event.inode, "offset": event.offset}
    yield from _noted(job, {event.event: {**event.groups, "line": event.line}}, place)


def note_state(job: Job, target: State) -> Iterator[Effect]:
    """Remember that the job came into a state that its recipe waits for, and what is owed for that."""
    waiting = (rule for rule in job.spec.events if rule.state == target and rule.came_from in ("", job.state))
    found = {rule.name: {"line": f"it is {target}"} for rule in waiting if times(job, rule.name) < rule.limit}
    yield from _noted(job, found, {})


def _noted(job: Job, found: Mapping[str, Mapping[str, JSON]], place: Mapping[str, JSON]) -> Iterator[Effect]:
    """Remember events, each with what was seen, all at once: one change of a field replaces another."""
    owed = [
        {"iteration": job.iteration, **said, "event": name, "attempt": job.attempt, "number": times(job, name) + 1}
        for name, said in found.items()
    ]
    if owed:
        counted = {str(each["event"]): {"times": each["number"], **place} for each in owed}
        yield {"matched": {**job.matched, **counted}, "due": (*job.due, *owed)}
        yield from answers(job.id, owed)


def note_answer(job: Job, event: Any) -> Iterator[Effect]:
    """Forget what was owed: it is done."""
    left = tuple(owed for owed in job.due if (owed["event"], owed["number"]) != (event.event, event.number))
    if left != job.due:
        yield {"due": left}


def answers(job: str, due: Iterable[Mapping[str, JSON]]) -> Iterator[AnswerEvent]:
    """List what is owed for what happened to a job."""
    for owed in due:
        yield AnswerEvent(job=job, event=str(owed["event"]), number=int(str(owed["number"])))


def change_params(job: Job, event: Any) -> Iterator[Effect]:
    """Give the attempts to come other values than the plan's."""
    if event.params:
        yield {"reduced": {**job.reduced, **event.params}}
