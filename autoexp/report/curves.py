"""What the plots show, as numbers: loss curves over tokens, where cooldowns leave their parents, speeds. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, quantiles

from autoexp.naming import safe
from autoexp.report import spelling
from autoexp.report.results import Results, Run

MOST_POINTS = 400
"""More on one line cannot be told apart, and make the page heavy."""
NOISY = 0.25
"""A curve is noisy if it turns round at more than this share of its points."""
FEWEST_NOISY = 16
"""Fewer points show their course anyhow."""
BEND = 8
"""Smoothing reaches no further than one part in so many of a point's distance from the beginning."""
STEEP_SHARE = 0.1
"""The first part of a training, where the loss falls too steeply to be of interest."""
LONGEST_LABEL = 34

Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run's training loss over tokens; None where a report has no finite loss."""

    job: str
    family: int
    """Which family it belongs to, counted from 0."""
    is_cooldown: bool
    tokens: tuple[int, ...]
    raw: tuple[Value, ...]
    smooth: tuple[Value, ...] | None
    """None where the raw curve is smooth enough."""
    start: tuple[int, float] | None = None
    """Where it leaves its parent's curve."""

    @property
    def line(self) -> tuple[Value, ...]:
        """The curve to look at."""
        return self.smooth or self.raw

    @property
    def diverged(self) -> bool:
        """Its last report has no finite loss."""
        return bool(self.raw) and self.raw[-1] is None

    def at(self, tokens: int) -> float | None:
        """Read the curve between its points."""
        known = [(x, y) for x, y in zip(self.tokens, self.line, strict=True) if y is not None]
        for (x0, y0), (x1, y1) in pairwise(known):
            if x0 <= tokens <= x1:
                return y0 + (y1 - y0) * (tokens - x0) / (x1 - x0)
        return known[-1][1] if known and tokens > known[-1][0] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A held-out loss."""

    family: int
    is_cooldown: bool
    tokens: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One run's speed in tokens per second: its median, and the middle 80 % of its reports."""

    label: str
    family: int
    median: float
    low: float
    high: float


def loss_curves(results: Results) -> list[Curve]:
    """Draw every run that has reported a loss and whose tokens can be counted."""
    families = results.families()
    made: dict[str, Curve] = {}
    for run in sorted(results.runs, key=lambda run: run.branch is not None):  # parents first
        tokens = [run.tokens(point.iteration) for point in run.series]
        if any(point.loss is not None for point in run.series) and None not in tokens:
            made[run.job] = _curve(run, families.index(run.family), made)
    return list(made.values())


def _curve(run: Run, family: int, made: dict[str, Curve]) -> Curve:
    raw = [point.loss for point in run.series]
    kept = thinned(len(raw))
    spacing = (run.series[-1].iteration - run.series[0].iteration) / (len(raw) - 1) if len(raw) > 1 else 1.0
    ages = [point.iteration / spacing for point in run.series]
    parent = made.get(run.branch.parent) if run.branch else None
    at = run.tokens(run.branch.iteration) if run.branch else None
    level = parent.at(at) if parent and at is not None else None
    return Curve(
        job=run.job,
        family=family,
        is_cooldown=run.branch is not None,
        tokens=tuple(run.tokens(run.series[i].iteration) or 0 for i in kept),
        raw=tuple(raw[i] for i in kept),
        smooth=tuple(smoothed(raw, kept, ages)) if is_noisy(raw) else None,
        start=(at, level) if at is not None and level is not None else None,
    )


def is_noisy(values: Sequence[Value]) -> bool:
    """Say whether a curve turns round so often that its course is hard to see."""
    known = [value for value in values if value is not None]
    steps = [b - a for a, b in pairwise(known) if b != a]
    turns = sum((a < 0) != (b < 0) for a, b in pairwise(steps))
    return len(known) >= FEWEST_NOISY and turns > NOISY * len(steps)


def smoothed(values: Sequence[Value], kept: Iterable[int], ages: Sequence[float]) -> list[Value]:
    """Read a noisy curve at some of its points: each from the line that fits it and its neighbours best.

    A line, and not an average, because at the ends all neighbours are on one side. `ages` are the points' distances
    from the beginning of the training, in points: near the beginning, where curves bend, only near ones count.
    """
    reach = round(math.sqrt(len(values)) / 2)
    return [_fitted(values, i, max(1, min(reach, int(ages[i] / BEND)))) for i in kept]


def _fitted(values: Sequence[Value], i: int, reach: int) -> Value:
    """Fit a line to what is known within reach of a point; a gap stays one."""
    near = range(max(0, i - reach), min(len(values), i + reach + 1))
    known = [(j - i, value) for j in near if (value := values[j]) is not None]
    if values[i] is None or len(known) <= 1:
        return values[i]
    x_mean, y_mean = fmean(x for x, _ in known), fmean(y for _, y in known)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in known) / sum((x - x_mean) ** 2 for x, _ in known)
    return y_mean - slope * x_mean


def thinned(number: int, most: int = MOST_POINTS) -> list[int]:
    """Choose evenly spread indexes, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return [round(i * (number - 1) / (most - 1)) for i in range(most)]


def marks(results: Results) -> Iterator[Mark]:
    """List the held-out losses that runs are compared by."""
    families = results.families()
    for run in results.runs:
        for each in run.evaluations:
            tokens = run.tokens(each.iteration)
            if each.measure == results.measure and each.loss is not None and tokens is not None:
                family = families.index(run.family)
                yield Mark(family=family, is_cooldown=run.branch is not None, tokens=tokens, loss=each.loss)


def loss_limits(curves: Iterable[Curve], held_out: Iterable[Mark]) -> tuple[float, float] | None:
    """Choose the range of losses to show: without the steep first steps, if they would flatten all the rest."""
    shown = [(x, y, c) for c in curves for x, y in zip(c.tokens, c.line, strict=True) if y is not None]
    known = [y for _, y, _ in shown] + [mark.loss for mark in held_out]
    if not known:
        return None
    low, high = min(known), max(known)
    later = [y for x, y, c in shown if c.is_cooldown or x >= STEEP_SHARE * c.tokens[-1]]
    top = max([mark.loss for mark in held_out] + (later or known))
    if top - low < (high - low) / 2:
        high = top
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def bars(results: Results) -> list[Bar]:
    """Measure every run that has reported its speed."""
    families = results.families()
    measured = ((run, run.rates()) for run in results.runs)
    return [_bar(run, rates, families.index(run.family)) for run, rates in measured if rates]


def _bar(run: Run, rates: list[float], family: int) -> Bar:
    tenths = quantiles(rates, n=10, method="inclusive") if len(rates) > 1 else rates
    return Bar(label=run_label(run), family=family, median=median(rates), low=tenths[0], high=tenths[-1])


def run_label(run: Run) -> str:
    """Name a run by its stage and its axes' values, short enough for a plot."""
    words = (run.stage, *(spelling.axis(value) for value in run.values.values())) if run.values else (run.job,)
    return drawable(words, " ")


def family_labels(results: Results) -> list[str]:
    """Name the families by the axes in which their roots differ."""
    roots = [run for name in results.families() if (run := results.run(name))]
    axes = dict.fromkeys(axis for run in roots for axis in run.values)
    differing = [axis for axis in axes if len({_value(run, axis) for run in roots}) > 1] or list(axes)
    labels = [drawable([_pair(run, axis) for axis in differing if axis in run.values], ", ") for run in roots]
    is_unique = all(labels) and len(set(labels)) == len(labels)
    return labels if is_unique else [drawable((run.job,), "") for run in roots]


def _value(run: Run, axis: str) -> str:
    return spelling.axis(run.values[axis]) if axis in run.values else ""


def _pair(run: Run, axis: str) -> str:
    """Leave the axis' name out where its value is a name that speaks for itself."""
    return _value(run, axis) if isinstance(run.values[axis], str) else f"{axis} {_value(run, axis)}"


def drawable(parts: Iterable[str], separator: str) -> str:
    """Join words to a label, of letters that every font has; a legend hides what begins with an underscore."""
    words = (" ".join(safe(word) for word in part.split(" ")) for part in parts)
    return spelling.shorten(separator.join(words).lstrip("_"), LONGEST_LABEL)
