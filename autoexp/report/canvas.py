"""What the report's plots are drawn on: by matplotlib, which is imported only here and in them, when asked.

Rule 1: nothing global is touched: no pyplot, and settings hold only while a figure is drawn.
Rule 2: every text is plain text; a `$` in a name begins no formula.
Rule 3: the same results give the same bytes, so that a report can be compared with another.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from autoexp.report import colors
from autoexp.report.colors import LIGHT
from autoexp.report.spelling import tick

HOW_TO_GET = 'pip install "autoexp[page]"'
"""What to type where matplotlib is missing."""
DPI = 200
MOST_ROWS = 60
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


class Drawing(Protocol):
    """What can be drawn for wide and for narrow screens."""

    def figure(self, *, narrow: bool) -> Any:
        """Draw it."""

    def caption(self) -> str:
        """Say what there is to see."""


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


@contextmanager
def settings() -> Iterator[None]:
    """Draw by our settings, whatever the user's own are.

    Raises:
        ImportError: matplotlib is not installed, or cannot be loaded.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, and optional

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def plot(name: str, drawing: Drawing) -> Plot:
    """Draw one plot in all its forms; `settings` must hold."""
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


def handle(*, color: int | None = None, hollow: bool = False, bad: bool = False, **style: Any) -> Any:
    """Make a legend's sample line."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - as above

    shade = LIGHT["bad" if bad else "muted" if color is None else colors.family(color)]
    face = LIGHT["paper"] if hollow else shade
    return Line2D([], [], color=shade, markerfacecolor=face, **style)


def paper(size: tuple[float, float], columns: int = 1) -> tuple[Any, Any]:
    """Begin a figure; return it and its axes, several of them in a row."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot() if columns == 1 else figure.subplots(1, columns)


def say_nothing(figure: Any, axes: Any, why: str) -> Any:
    """Say why there is nothing to see."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=LIGHT["muted"])
    axes.set(xticks=[], yticks=[])
    return figure


def in_rows(labels: Sequence[str], draw: Callable[[Any, int], None], xlabel: str, right: float, *, narrow: bool) -> Any:
    """Draw one row a run, as many as there is room for; `draw` is given the axes and the row's place."""
    shown = labels[:MOST_ROWS]
    figure, axes = paper((4.0 if narrow else 9.0, 0.9 + 0.24 * max(len(shown), 3)))
    axes.set(xlabel=xlabel)
    for place in range(len(shown)):
        draw(axes, place)
    axes.set_yticks(range(len(shown)), shown, color=LIGHT["ink"])
    axes.tick_params(axis="y", length=0, labelsize=7 if narrow else 9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * right)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4 if narrow else 8)
    axes.xaxis.set_major_formatter(lambda value, _: tick(value))
    return figure


def left_out(number: int) -> str:
    """Say that not all rows are shown."""
    return f" The first {MOST_ROWS} of {number} runs are shown." if number > MOST_ROWS else ""
