"""Figures as training programs print them: numbers, and lines behind colours and launchers' prefixes. Pure text."""

import math
import re
from dataclasses import replace

from autoexp.logs import LogFacts

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PREFIX = re.compile(
    r"\s*(?:\[[^\]\s]{1,40}\](?:<std(?:out|err)>)?:?"
    r"|\d{1,6}:(?!\d)|[\w.-]{1,64}:(?=\s*\[)|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*)\s*"
)
"""Rank, task, host and time, as torchrun, srun -l, mpirun and taggers put them before each line."""
MOST_PREFIXES = 6
LARGEST = 10**18
"""No training takes so many iterations."""


def plain(line: str) -> str:
    """Take colours and cursor movements out of a line."""
    return _ESCAPE.sub("", line) if "\x1b" in line else line


def bare(line: str) -> str:
    """Take what launchers put before a line away too."""
    line = plain(line)
    for _ in range(MOST_PREFIXES):
        found = _PREFIX.match(line)
        if not found:
            break
        line = line[found.end() :]
    return line


def number(text: str | None) -> float | None:
    """Read a finite number, with commas between its thousands or without; None if it is none."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str | None) -> int | None:
    """Read a number of things."""
    value = number(text)
    return None if value is None or abs(value) >= LARGEST else int(value)


def report(facts: LogFacts, iteration: int, *, lr: float | None, loss: float | None) -> LogFacts:
    """Take a report of an iteration into account; a loss that it does not tell leaves the last one known."""
    is_first = facts.first_iteration is None
    return replace(
        facts,
        reports=facts.reports + 1,
        first_iteration=iteration if is_first else facts.first_iteration,
        first_lr=lr if is_first else facts.first_lr,
        iteration=iteration,
        loss=facts.loss if loss is None else loss,
    )
