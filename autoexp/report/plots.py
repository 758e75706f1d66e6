"""The report's plots: loss against tokens, speed, and how a study scales."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.report import canvas, colors, curves, scalingplots
from autoexp.report.canvas import Drawing, Plot
from autoexp.report.colors import LIGHT
from autoexp.report.curves import Bar, Curve, Mark
from autoexp.report.results import Results
from autoexp.report.spelling import count, tick

MOST_NAMES = 16
"""Families that the legend names."""


def draw(results: Results) -> list[Plot]:
    """Draw the plots; those of scaling where there is something to compare.

    Raises:
        ImportError: matplotlib is not installed, or cannot be loaded.
    """
    lines, held_out = curves.loss_curves(results), list(curves.marks(results))
    limits = curves.loss_limits(lines, held_out)
    drawings: dict[str, Drawing] = {
        "loss": _Loss(lines, held_out, limits, curves.family_labels(results)),
        "throughput": _Speed(curves.bars(results)),
        **scalingplots.drawings(results),
    }
    with canvas.settings():
        return [canvas.plot(name, drawing) for name, drawing in drawings.items()]


# Loss against tokens.


@dataclass(frozen=True, slots=True)
class _Loss:
    """Training loss as lines, held-out loss as marks."""

    curves: list[Curve]
    marks: list[Mark]
    limits: tuple[float, float] | None
    names: list[str]

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        figure, axes = canvas.paper((4.0, 5.2) if narrow else (9.0, 4.6))
        axes.set(xlabel="training tokens", ylabel="loss (nats per token)")
        axes.xaxis.set_major_formatter(lambda value, _: tick(value))
        if self.limits is None:
            return canvas.say_nothing(figure, axes, "no run has reported a loss yet")
        for curve in sorted(self.curves, key=lambda curve: curve.is_cooldown):
            _draw_curve(axes, curve)
        for mark in self.marks:
            _draw_mark(axes, mark)
        axes.set_ylim(*self.limits)
        axes.set_xlim(left=0)
        handles, labels = self._legend()
        place = "outside lower center" if narrow else "outside right upper"
        figure.legend(handles, labels, loc=place, ncols=2 if narrow else 1, handlelength=2.4)
        return figure

    def caption(self) -> str:
        """Say what there is to see."""
        parts = ["Lines are training losses as the logs report them"]
        if any(curve.smooth for curve in self.curves):
            parts.append("smoothed, with the reports themselves thin behind them")
        said = f"{', '.join(parts)}; cooldowns leave their parent at the branch point (dot)." if self.curves else ""
        cut = any(y is not None and self.limits and y > self.limits[1] for c in self.curves for y in c.line)
        more = " The steep first steps are cut off above." if cut else ""
        repeats = " There are more families than colours: colours repeat." if len(self.names) > colors.FAMILIES else ""
        return f"{said}{more}{repeats}".strip()

    def _legend(self) -> tuple[list[Any], list[str]]:
        entries = [
            (canvas.handle(color=number, linewidth=3), name) for number, name in enumerate(self.names[:MOST_NAMES])
        ]
        if len(self.names) > MOST_NAMES:
            entries.append((canvas.handle(linewidth=0), f"and {len(self.names) - MOST_NAMES} more"))
        entries.append((canvas.handle(linewidth=0), ""))
        entries += [(canvas.handle(**style), name) for name, style in self._styles()]
        if any(curve.diverged for curve in self.curves):
            entries.append(
                (canvas.handle(bad=True, marker="X", markersize=7, linestyle="none"), "not a number from here")
            )
        return [handle for handle, _ in entries], [name for _, name in entries]

    def _styles(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """List the kinds of lines and marks there are."""
        kinds = {curve.is_cooldown for curve in self.curves}
        marked = {mark.is_cooldown for mark in self.marks}
        if kinds | marked == {False}:
            yield from [("training", {"linewidth": 1.6})] if kinds else []
            yield from [("held-out", MARKS[False])] if marked else []
            return
        yield from [("pretraining", {"linewidth": 1.6})] if False in kinds else []
        yield from [("cooldown", COOLDOWN)] if True in kinds else []
        yield from [("held-out, pretraining", MARKS[False])] if False in marked else []
        yield from [("held-out, cooldown", MARKS[True])] if True in marked else []


COOLDOWN: Mapping[str, Any] = {"linewidth": 1.8, "linestyle": (0, (2.6, 1.1))}
MARKS: Mapping[bool, Mapping[str, Any]] = {
    False: {"marker": "o", "markersize": 4.5, "markeredgewidth": 1.2, "linestyle": "none", "hollow": True},
    True: {"marker": "D", "markersize": 5.5, "markeredgewidth": 0.8, "linestyle": "none"},
}


def _draw_curve(axes: Any, curve: Curve) -> None:
    shade = LIGHT[colors.family(curve.family)]
    start = [curve.start] if curve.start else []
    if curve.smooth:
        axes.plot(curve.tokens, _gaps(curve.raw), color=shade, linewidth=0.6, alpha=0.3)
    x = [x for x, _ in start] + list(curve.tokens)
    y = [y for _, y in start] + _gaps(curve.line)
    style = COOLDOWN if curve.is_cooldown else {"linewidth": 1.4}
    axes.plot(x, y, color=shade, **style)
    if curve.start:
        axes.plot(*curve.start, "o", color=shade, markersize=4, zorder=7)
    if curve.diverged:
        end = max((x, y) for x, y in zip(curve.tokens, curve.line, strict=True) if y is not None)
        axes.plot(*end, "X", color=LIGHT["bad"], markersize=7, zorder=5)


def _gaps(values: tuple[float | None, ...]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _draw_mark(axes: Any, mark: Mark) -> None:
    shade = LIGHT[colors.family(mark.family)]
    style = {name: value for name, value in MARKS[mark.is_cooldown].items() if name != "hollow"}
    hollow = MARKS[mark.is_cooldown].get("hollow", False)
    paper = LIGHT["paper"]
    face, edge = (paper, shade) if hollow else (shade, paper)
    axes.plot(mark.tokens, mark.loss, **style, markerfacecolor=face, markeredgecolor=edge, zorder=6)


# Speed.


@dataclass(frozen=True, slots=True)
class _Speed:
    """Tokens per second, one bar a run."""

    bars: list[Bar]

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""
        xlabel = "tokens per second (median)"
        if not self.bars:
            figure, axes = canvas.paper((4.0 if narrow else 9.0, 1.62))
            axes.set(xlabel=xlabel)
            return canvas.say_nothing(figure, axes, "no run has reported its speed yet")
        right = max(bar.high for bar in self.bars[: canvas.MOST_ROWS])
        labels = [bar.label for bar in self.bars]
        return canvas.in_rows(labels, self._draw, xlabel, right, narrow=narrow)

    def _draw(self, axes: Any, place: int) -> None:
        _draw_bar(axes, place, self.bars[place])

    def caption(self) -> str:
        """Say what there is to see."""
        if not self.bars:
            return ""
        left = canvas.left_out(len(self.bars))
        return f"Bars are medians of the whole job's speed; whiskers hold the middle 80 % of its reports.{left}"


def _draw_bar(axes: Any, place: int, bar: Bar) -> None:
    axes.barh(place, bar.median, height=0.62, color=LIGHT[colors.family(bar.family)])
    spread = [("paper", 3.0), ("ink", 1.2)] if bar.low < bar.high else []
    for color, width in spread:  # a light edge tells it from a dark bar
        axes.plot((bar.low, bar.high), (place, place), color=LIGHT[color], linewidth=width)
    axes.annotate(
        count(bar.median), (bar.high, place), (5, 0), textcoords="offset points", va="center", color=LIGHT["muted"]
    )
