"""The plots of how a study scales: throughput and efficiency against devices, memory by rank, the steps' times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.report import canvas, colors, lines
from autoexp.report.canvas import Drawing
from autoexp.report.colors import LIGHT
from autoexp.report.lines import Line, Points, Spread
from autoexp.report.results import Results
from autoexp.report.spelling import count, tick

MOST_LINES = 16
"""Ladders in one plot."""
LOWEST = 16
"""A whisker ends at this part of its value."""
WHISKERS = "Points are means of repeats; whiskers hold the true mean in 95 of 100 cases."
IDEAL: Mapping[str, Any] = {"linewidth": 1.0, "linestyle": (0, (1.5, 1.5))}


def drawings(results: Results) -> dict[str, Drawing]:
    """Choose what there is to see, by names."""
    found = lines.lines(results)
    memory, steps = lines.memory(results), lines.steps(results)
    chosen: dict[str, Drawing] = {}
    if found:
        left = f" The first {MOST_LINES} of {len(found)} ladders are shown." if len(found) > MOST_LINES else ""
        chosen["scaling"] = Throughput(found[:MOST_LINES], lines.unit(results), left)
        chosen["efficiency"] = Efficiency(found[:MOST_LINES], left)
    if memory:
        chosen["memory"] = Memory(memory)
    if steps:
        chosen["steps"] = Steps(steps)
    return chosen


@dataclass(frozen=True, slots=True)
class Throughput:
    """What all devices do in a second, with equal steps and with doublings."""

    lines: list[Line]
    unit: str
    left: str = ""
    """What is said of those that are not shown."""

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        figure, (plain, doubled) = canvas.paper((4.4, 3.6) if narrow else (9.0, 3.9), columns=2)
        for axes in (plain, doubled):
            for line in self.lines:
                _draw_line(axes, line, line.rates, line.rate_halves)
                axes.plot(
                    *zip(*line.others, strict=True), ".", color=_shade(line), markersize=4
                ) if line.others else None
                ends = [line.rates[0][0], line.rates[-1][0]]
                axes.plot(ends, [line.ideal(end) for end in ends], color=LIGHT["muted"], **IDEAL)
            axes.set(xlabel="devices")
            axes.yaxis.set_major_formatter(lambda value, _: tick(value))
        plain.set(ylabel=self.unit)
        plain.set_xlim(left=0)
        plain.set_ylim(bottom=0)
        doubled.set_xscale("log", base=2)
        doubled.set_yscale("log", base=2)
        _tick_devices(plain, self.lines, apart=1 / 16)
        _tick_devices(doubled, self.lines)
        doubled.yaxis.set_major_formatter(lambda value, _: count(value))
        _legend(figure, self.lines, "ideal", narrow=narrow)
        return figure

    def caption(self) -> str:
        """Say what there is to see."""
        others = (
            " Lines join the fastest of each number; points are the others."
            if any(x.others for x in self.lines)
            else ""
        )
        return (
            "The same on linear axes and on axes of doublings; dotted is what each device would have to go on doing as "
            f"the fewest do.{others}{_said_of_repeats(self.lines)}{self.left}"
        )


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The efficiency of the scaling table."""

    lines: list[Line]
    left: str = ""

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        figure, axes = canvas.paper((4.0, 3.6) if narrow else (9.0, 3.4))
        for line in self.lines:
            _draw_line(axes, line, line.efficiencies, line.efficiency_halves)
        axes.axhline(1.0, color=LIGHT["muted"], **IDEAL)
        axes.set(xlabel="devices", ylabel="efficiency")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.08 * max(1.0, *(value for line in self.lines for _, value in line.efficiencies)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        _tick_devices(axes, self.lines)
        _legend(figure, self.lines, "perfect", narrow=narrow)
        return figure

    def caption(self) -> str:
        """Say what there is to see."""
        said = "Operations a second that each device does, over what the fewest devices do."
        return f"{said}{_said_of_repeats(self.lines)}{self.left}"


def _shade(drawn: Line | Spread) -> str:
    return LIGHT[colors.family(drawn.family)]


def _draw_line(axes: Any, line: Line, points: Points, halves: Mapping[int, float]) -> None:
    """Draw a line, with whiskers where runs were repeated; none goes below nothing, which doublings cannot show."""
    axes.plot(*zip(*points, strict=True), "o-", color=_shade(line), linewidth=1.5, markersize=4.5)
    for devices, value in points:
        half = halves.get(devices, 0.0)
        low, high = max(value - half, value / LOWEST), value + half
        axes.plot(
            (devices, devices), (low, high), "_-", color=_shade(line), linewidth=1.0, markersize=6
        ) if half else None


def _said_of_repeats(drawn: list[Line]) -> str:
    repeated = any(line.rate_halves for line in drawn)
    return f" {WHISKERS}" if repeated else ""


def _tick_devices(axes: Any, drawn: list[Line], apart: float = 0.0) -> None:
    """Mark the numbers of devices that there are; `apart` is how close two may be, in parts of the axis."""
    numbers = sorted({devices for line in drawn for devices, _ in line.rates}, reverse=True)
    kept: list[int] = []
    for number in numbers:
        if not kept or kept[-1] - number >= apart * numbers[0]:
            kept.append(number)
    axes.set_xticks(kept, [str(number) for number in kept])
    axes.minorticks_off()


def _legend(figure: Any, drawn: list[Line], ideal: str, *, narrow: bool) -> None:
    handles = [canvas.handle(color=line.family, linewidth=1.5, marker="o", markersize=4.5) for line in drawn]
    place = "outside lower center" if narrow else "outside right upper"
    labels = [*(line.label for line in drawn), ideal]
    figure.legend([*handles, canvas.handle(**IDEAL)], labels, loc=place, ncols=2 if narrow else 1)


@dataclass(frozen=True, slots=True)
class Memory:
    """The most that each process took."""

    spreads: list[Spread]

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        right = max(max(each.values) for each in self.spreads[: canvas.MOST_ROWS])
        labels = [each.label for each in self.spreads]
        return canvas.in_rows(labels, self._draw, "peak memory of each rank (GiB)", right, narrow=narrow)

    def _draw(self, axes: Any, place: int) -> None:
        """Draw a thin bar a rank, the first on top."""
        each = self.spreads[place]
        height = 0.72 / len(each.values)
        tops = [place - 0.36 + height * rank for rank in range(len(each.values))]
        gap = 0.15 * height if len(each.values) <= 8 else 0  # noqa: PLR2004 - more are too thin for gaps
        axes.barh(tops, each.values, height=height - gap, align="edge", color=_shade(each))
        axes.annotate(
            count(max(each.values)),
            (max(each.values), place),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=LIGHT["muted"],
        )

    def caption(self) -> str:
        """Say what there is to see."""
        return f"One bar a rank, the first on top; the number is the most of any.{canvas.left_out(len(self.spreads))}"


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps took."""

    spreads: list[Spread]

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        right = max(each.box[-1] for each in self.spreads[: canvas.MOST_ROWS])
        labels = [each.label for each in self.spreads]
        return canvas.in_rows(labels, self._draw, "seconds a step", right, narrow=narrow)

    def _draw(self, axes: Any, place: int) -> None:
        each = self.spreads[place]
        low, first, middle, third, high = each.box
        axes.plot((low, high), (place, place), color=_shade(each), linewidth=1.2)
        axes.barh(place, third - first, left=first, height=0.5, color=_shade(each))
        for color, width in (("paper", 3.4), ("ink", 1.6)):  # a light edge tells it from a dark box
            axes.plot((middle, middle), (place - 0.32, place + 0.32), color=LIGHT[color], linewidth=width)

    def caption(self) -> str:
        """Say what there is to see."""
        return (
            "Boxes hold the middle half of the steps, the lines beside them nine tenths; the bar across is the median. "
            f"Steps at the start of an attempt are left out.{canvas.left_out(len(self.spreads))}"
        )
