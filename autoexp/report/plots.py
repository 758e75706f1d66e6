"""The report's plots: loss against tokens, and speed. Drawn by matplotlib, which is imported only here, when asked.

Rule 1: nothing global is touched: no pyplot, and settings hold only while a figure is drawn.
Rule 2: every text is plain text; a `$` in a name begins no formula.
Rule 3: the same results give the same bytes, so that a report can be compared with another.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.report import colors, curves
from autoexp.report.colors import LIGHT
from autoexp.report.curves import Bar, Curve, Mark
from autoexp.report.results import Results
from autoexp.report.spelling import count, tick

HOW_TO_GET = 'pip install "autoexp[page]"'
"""What to type where matplotlib is missing."""
DPI = 200
MOST_BARS = 60
MOST_NAMES = 16
"""Families that the legend names."""
SETTINGS: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "figure.facecolor": LIGHT["paper"],
    "axes.facecolor": LIGHT["paper"],
    "savefig.facecolor": LIGHT["paper"],
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot in all its forms."""

    name: str
    png: bytes
    svg: str
    inline: str
    """For the page: no outside resources, colours as CSS variables."""
    narrow: str
    """The same for a phone."""
    caption: str


def draw(results: Results) -> list[Plot]:
    """Draw the plots.

    Raises:
        ImportError: matplotlib is not installed, or cannot be loaded.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, and optional

    lines, held_out = curves.loss_curves(results), list(curves.marks(results))
    limits = curves.loss_limits(lines, held_out)
    loss = _Loss(lines, held_out, limits, curves.family_labels(results))
    speed = _Speed(curves.bars(results))
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own settings are
        mpl.rcParams.update(SETTINGS)
        return [_plot("loss", loss), _plot("throughput", speed)]


def _plot(name: str, drawing: "_Loss | _Speed") -> Plot:
    wide = drawing.figure(narrow=False)
    narrow = drawing.figure(narrow=True)
    svg = _svg(wide, name)
    return Plot(
        name=name,
        png=_saved(wide, format="png", dpi=DPI, metadata={"Software": None}),
        svg=svg,
        inline=_inline(svg, f"{name}-wide"),
        narrow=_inline(_svg(narrow, name), f"{name}-narrow"),
        caption=drawing.caption(),
    )


def _saved(figure: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, **options)
    return file.getvalue()


def _svg(figure: Any, salt: str) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - as above

    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt}):
        return _saved(figure, format="svg", metadata=nothing).decode()


_ID = re.compile(r'(\bid="|href="#|url\(#)')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def _inline(svg: str, prefix: str) -> str:
    """Make a drawing part of a page: no prolog, the page's size and colours, ids of its own."""
    body = _METADATA.sub("", svg[svg.index("<svg") :])
    head, _, rest = body.partition(">")
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    body = _ID.sub(rf"\g<1>{prefix}-", f"{head}>{rest}")
    return colors.with_variables(body).strip()


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
        figure, axes = _paper((4.0, 5.2) if narrow else (9.0, 4.6))
        axes.set(xlabel="training tokens", ylabel="loss (nats per token)")
        axes.xaxis.set_major_formatter(lambda value, _: tick(value))
        if self.limits is None:
            return _say_nothing(figure, axes, "no run has reported a loss yet")
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
        entries = [(_handle(color=number, linewidth=3), name) for number, name in enumerate(self.names[:MOST_NAMES])]
        if len(self.names) > MOST_NAMES:
            entries.append((_handle(linewidth=0), f"and {len(self.names) - MOST_NAMES} more"))
        entries.append((_handle(linewidth=0), ""))
        entries += [(_handle(**style), name) for name, style in self._styles()]
        if any(curve.diverged for curve in self.curves):
            entries.append((_handle(bad=True, marker="X", markersize=7, linestyle="none"), "not a number from here"))
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


def _handle(*, color: int | None = None, hollow: bool = False, bad: bool = False, **style: Any) -> Any:
    """Make a legend's sample line."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - as above

    shade = LIGHT["bad" if bad else "muted" if color is None else colors.family(color)]
    face = LIGHT["paper"] if hollow else shade
    return Line2D([], [], color=shade, markerfacecolor=face, **style)


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
        shown = self.bars[:MOST_BARS]
        height = 0.9 + 0.24 * max(len(shown), 3)
        figure, axes = _paper((4.0 if narrow else 9.0, height))
        axes.set(xlabel="tokens per second (median)")
        if not shown:
            return _say_nothing(figure, axes, "no run has reported its speed yet")
        for place, bar in enumerate(shown):
            _draw_bar(axes, place, bar)
        axes.set_yticks(range(len(shown)), [bar.label for bar in shown], color=LIGHT["ink"])
        axes.tick_params(axis="y", length=0, labelsize=7 if narrow else 9)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 1.12 * max(bar.high for bar in shown))
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=4 if narrow else 8)
        axes.xaxis.set_major_formatter(lambda value, _: tick(value))
        return figure

    def caption(self) -> str:
        """Say what there is to see."""
        if not self.bars:
            return ""
        left = f" The first {MOST_BARS} of {len(self.bars)} runs are shown." if len(self.bars) > MOST_BARS else ""
        return f"Bars are medians of the whole job's speed; whiskers hold the middle 80 % of its reports.{left}"


def _draw_bar(axes: Any, place: int, bar: Bar) -> None:
    axes.barh(place, bar.median, height=0.62, color=LIGHT[colors.family(bar.family)])
    spread = [("paper", 3.0), ("ink", 1.2)] if bar.low < bar.high else []
    for color, width in spread:  # a light edge tells it from a dark bar
        axes.plot((bar.low, bar.high), (place, place), color=LIGHT[color], linewidth=width)
    axes.annotate(
        count(bar.median), (bar.high, place), (5, 0), textcoords="offset points", va="center", color=LIGHT["muted"]
    )


def _paper(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _say_nothing(figure: Any, axes: Any, why: str) -> Any:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=LIGHT["muted"])
    axes.set(xticks=[], yticks=[])
    return figure
