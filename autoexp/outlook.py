"""When a study will be done, as far as its present pace tells. Pure.

Rule 1: trainings that run take as long as they say themselves. Of the others of their stage as many end in a day as
have ended in a day so far, counted from the first that did until now: a stage that stands still gets no nearer.
Rule 2: the stages go on beside each other, so the slowest of them counts; jobs that are yet to appear do not.
Rule 3: who needs a person is left out. Where a stage with jobs left has ended fewer than three, nothing is said.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from autoexp.journal import unstamp
from autoexp.model import OVER, State

ENOUGH = 3
"""So many ends of a stage tell its pace."""
STUCK = frozenset({State.HELD, State.STALLED})


def done_at(rows: Iterable[Mapping[str, Any]], now: float) -> float | None:
    """Say when the last of a study's jobs will end, in seconds since the epoch; None if nobody can tell, or all have.

    `rows` are the lines of its jobs, as `status --json` has them, with `left_s` of trainings that run, in seconds.
    """
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        stages.setdefault(row["stage"], []).append(row)
    left = {name: [row for row in each if row["state"] not in OVER | STUCK] for name, each in stages.items()}
    found = [_left_s(stages[name], open_, now) for name, open_ in left.items() if open_]
    told = [each for each in found if each is not None]
    return now + max(told) if told and len(told) == len(found) else None


def _left_s(rows: Iterable[Mapping[str, Any]], left: list[Mapping[str, Any]], now: float) -> float | None:
    """Say how long one stage takes for what is left of it."""
    told = [row["left_s"] for row in left if row.get("left_s") is not None]
    others = len(left) - len(told)
    longest = max(told, default=0.0)
    if not others:
        return longest
    ends = [unstamp(row["since"]) for row in rows if row["state"] == State.SUCCEEDED and row["since"]]
    span_s = now - min(ends, default=now)
    if len(ends) < ENOUGH or span_s <= 0:
        return None
    return max(longest, others * span_s / (len(ends) - 1))
