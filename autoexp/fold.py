"""What a journaled move makes of a job; the journal folded over the plan is where every job stands."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autoexp.model import EndingClass, Job, JobSpec, State, Transition, Verb

_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "pending": Verb,
    "ending": EndingClass,
    "checkpoints": tuple,
    "due": tuple,
    "batches": lambda batches: {name: tuple(map(tuple, listed)) for name, listed in batches.items()},
}


def fold(job: Job, transition: Transition) -> Job:
    """Apply a journaled move to a job. Replay trusts it, so a later change of the table rewrites no history."""
    changes = _decoded(transition.changes)
    if transition.target is not transition.source:
        changes["since"] = transition.at
    return replace(job, state=transition.target, attempt=transition.attempt, **changes)


def folded(spec: JobSpec, state: str, attempt: int, since: float, fields: Mapping[str, Any]) -> Job:
    """Make the job whose moves come to this: the last of its states and attempts, and every field's last value."""
    return Job(spec=spec, state=State(state), attempt=attempt, since=since, **_decoded(fields))


def _decoded(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _DECODE[name](value) if name in _DECODE and value is not None else value for name, value in fields.items()
    }
