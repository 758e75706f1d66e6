"""What is on its way to jobs: events, each with the job it is for, in the order in which they count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoexp.events import Ended, Event, Requested
from autoexp.model import JobSpec
from autoexp.registry import Key


@dataclass(frozen=True, slots=True)
class Fact:
    """An event on its way to a job."""

    key: Key
    event: Event
    spec: JobSpec | None = None
    """The job itself, if the event is its birth."""


def as_dropped(facts: Sequence[Fact]) -> list[Fact]:
    """Put the requests to each job in the order in which their markers were dropped, its own and its study's.

    What was asked once its attempt had said how it ended comes behind that: finished work stays finished.
    """
    asked: dict[Key, list[tuple[int, int, Fact]]] = {}
    for number, fact in enumerate(facts):
        if (dropped := _dropped_ns(fact)) is not None:
            asked.setdefault(fact.key, []).append((dropped, number, fact))
    turns = {key: iter(sorted(waiting, key=lambda each: each[:2])) for key, waiting in asked.items()}
    ordered = [fact if _dropped_ns(fact) is None else next(turns[fact.key])[2] for fact in facts]
    ended = {fact.key: fact.event.ctime_ns for fact in facts if isinstance(fact.event, Ended)}
    return sorted(ordered, key=lambda fact: (_dropped_ns(fact) or 0) > (ended.get(fact.key) or math.inf))


def _dropped_ns(fact: Fact) -> int | None:
    """Say when the marker was dropped that a fact tells of; None if it tells of none."""
    return fact.event.ctime_ns if isinstance(fact.event, Requested) and fact.event.ctime_ns else None
