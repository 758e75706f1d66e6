"""What a journaled move makes of a job; the journal folded over the plan is where every job stands."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autoexp.model import EndingClass, Job, Transition, Verb

_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "pending": Verb,
    "ending": EndingClass,
    "checkpoints": tuple,
}


def fold(job: Job, transition: Transition) -> Job:
    """Apply a journaled move to a job. Replay trusts it, so a later change of the table rewrites no history."""
    changes: dict[str, Any] = {
        name: _DECODE[name](value) if name in _DECODE and value is not None else value
        for name, value in transition.changes.items()
    }
    if transition.target is not transition.source:
        changes["since"] = transition.at
    return replace(job, state=transition.target, attempt=transition.attempt, **changes)
