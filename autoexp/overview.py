"""What fits on one screen: who watches, each study by stage, and the jobs, what needs a person first. Pure.

Lines are never wider than the screen, nor more than it has; what does not fit is counted.
"""

import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, NamedTuple

from autoexp.model import OVER, State
from autoexp.status import COLORS, ORDER

BAR = 24
MOST_PROBLEMS = 3
UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
CUT = "~"
"""Stands for what is left out of a text; every terminal has it."""
BEGUN = (State.RUNNING, State.GATING, State.STOPPING, State.STALLED)
NEED = {str(state): number for number, state in enumerate(ORDER)}


class Size(NamedTuple):
    """What a screen has room for."""

    columns: int
    lines: int


def picture(
    head: Mapping[str, Any], jobs: Collection[Mapping[str, Any]], now: float, size: Size, *, colors: bool = False
) -> list[str]:
    """Draw all of it; `head` and `jobs` are as the live page has them, with `at`, when a job came into its state."""
    top = [
        *_watcher(head),
        *_limited([f"problem: {name}: {what}" for name, what in head["problems"].items()], "problems"),
    ]
    room = max(size.lines - len(top), 0)
    middle = _studies(head["studies"], jobs, room // 2, now if head["watcher"] else None)
    bottom = _jobs(jobs, now, Size(size.columns, room - len(middle)), colors=colors, several=len(head["studies"]) > 1)
    plain = [cut(text, size.columns) for text in (*top, *middle)]
    return [*plain, *bottom][: size.lines]


def _watcher(head: Mapping[str, Any]) -> Iterable[str]:
    if head["error"]:
        yield f"cannot be read: {head['error']}"
    if watcher := head["watcher"]:
        yield f"{head['root']}  watched by pid {watcher['pid']} on {watcher['host']}"
    else:
        yield f"no watcher; start one: autoexp watch {shlex.quote(head['root'])}"


def _limited(lines: list[str], what: str, most: int = MOST_PROBLEMS) -> list[str]:
    """Keep as many lines as there is room for, the last of which counts the rest."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"and {len(lines) - most + 1} more {what}"] if most > 0 else []


def _studies(
    heads: Sequence[Mapping[str, Any]], jobs: Iterable[Mapping[str, Any]], room: int, now: float | None
) -> list[str]:
    """Sum each study up: in a line, and where there is room for it with more for its budget, its end and each stage."""
    states: dict[str, Counter[str]] = {head["study"]: Counter() for head in heads}
    stages: dict[tuple[str, str], Counter[str]] = {}
    for job in jobs:
        states[job["study"]][job["state"]] += 1
        stages.setdefault((job["study"], job["stage"]), Counter())[job["state"]] += 1
    if not heads:
        return ["no studies; plan one: autoexp plan RECIPE"]
    names = sorted(states, key=lambda name: (sum(states[name][state] for state in OVER) == states[name].total(), name))
    short = [f"{name}: {in_words(states[name])}" for name in names]
    width = max((len(stage) for _, stage in stages), default=0)
    drawn = {head["study"]: _drawn(head, stages, width, now) for head in heads}
    whole = [line for text, name in zip(short, names, strict=True) for line in (text, *drawn[name])]
    return whole if len(whole) <= room else _limited(short, "studies", room)


def _drawn(
    head: Mapping[str, Any], stages: Mapping[tuple[str, str], Counter[str]], width: int, now: float | None
) -> Iterable[str]:
    if head["budget"]:
        yield f"  GPU hours: {head['budget']}"
    if now is not None and head["done_at"] is not None:
        yield f"  done in about {_span(head['done_at'] - now)} at this pace"
    for stage in head["stages"]:
        if counts := stages.get((head["study"], stage)):
            over, running = (sum(counts[state] for state in group) for group in (OVER, BEGUN))
            done = BAR * over // counts.total()
            bar = f"[{'#' * done}{'-' * (BAR - done)}]"
            yield f"  {stage:<{width}}  {bar} {over}/{counts.total()}" + (f"  {running} running" if running else "")


def in_words(counts: Mapping[str, int]) -> str:
    """Count jobs by state, what needs a person first."""
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts.get(state)) or "no jobs"


def _jobs(jobs: Collection[Mapping[str, Any]], now: float, size: Size, *, colors: bool, several: bool) -> Iterable[str]:
    fit = len(jobs) if len(jobs) <= size.lines else max(size.lines - 1, 0)
    shown = nsmallest(fit, jobs, key=lambda job: (NEED[job["state"]], job["study"], job["job"]))
    names = [f"{job['study']}/{job['job']}" if several else job["job"] for job in shown]
    widths = _widths(names, shown, size.columns)
    for name, job in zip(names, shown, strict=True):
        cells = (job["state"], cut(name, widths[1], middle=True), cut(job["progress"], widths[2]), _age(job, now))
        text = "  ".join(pad(cell, width) for cell, width in zip(cells, widths, strict=True))
        text = cut(f"{text}  {job['reason']}".rstrip(), size.columns)
        code = COLORS.get(State(job["state"])) if colors else None
        yield f"\x1b[{code}m{text[: len(job['state'])]}\x1b[0m{text[len(job['state']) :]}" if code else text
    if len(shown) < len(jobs):
        rest = Counter(job["state"] for job in jobs) - Counter(job["state"] for job in shown)
        yield cut(_rest(rest), size.columns)


def _rest(counts: Mapping[str, int]) -> str:
    first, *others = (f"{counts[state]} more {state}" for state in ORDER if counts.get(state))
    return f"and {', '.join((first, *others))}"


def _widths(names: Sequence[str], jobs: Sequence[Mapping[str, Any]], columns: int) -> tuple[int, int, int, int]:
    """Say how wide state, name, progress and age are, so that a third of the screen is left for the reason."""
    state = max((len(job["state"]) for job in jobs), default=0)
    progress = min(max((width_of(job["progress"]) for job in jobs), default=0), columns // 4)
    name = min(max(map(width_of, names), default=0), max(columns * 2 // 3 - state - progress - 9, 8))
    return state, name, progress, 3


def _age(job: Mapping[str, Any], now: float) -> str:
    """Say how long a job has been in its state, roughly: what changes by itself is written again and again."""
    return "" if job["at"] is None else _span(now - job["at"])


def _span(length_s: float) -> str:
    """Spell a duration in its largest unit."""
    seconds = int(max(length_s, 0))
    seconds = seconds if seconds >= 60 else seconds // 10 * 10  # noqa: PLR2004 - of a minute, tens of seconds
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return f"{seconds // size}{unit}"


def width_of(text: str) -> int:
    """Say how many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, width: int) -> str:
    """Fill a text up with spaces."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int, *, middle: bool = False) -> str:
    """Make a text fit: its end goes, or its middle, for names differ at their end; what cannot be shown is a `?`."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    if width_of(text) <= width:
        return text
    end = _fitting(text[::-1], (width - 1) // 2)[::-1] if middle else ""
    return (_fitting(text, width - 1 - width_of(end)) + CUT + end) if width > 0 else ""


def _fitting(text: str, width: int) -> str:
    """Return as much of a text's beginning as fits."""
    taken = 0
    for place, character in enumerate(text):
        taken += _columns(character)
        if taken > width:
            return text[:place]
    return text
