"""How values and tables are written: for people (Markdown, a terminal) and for programs (CSV, JSON). Pure text.

People get rounded numbers, and `-` for what is missing; programs get every digit, and an empty field or null.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Any

from autoexp.model import JSON
from autoexp.naming import label

MISSING = "-"
HALF = "_half"
GAP = "  "
OUT_OF = "train_iters"
MOST_DECIMALS = 12
SHORTEST_NAME = 24
"""A job's name is not cut below this in a narrow terminal."""
_PREFIXES = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3))


class Kind(StrEnum):
    """What a column holds, which decides how it is spelled and aligned."""

    TEXT = auto()
    AXIS = auto()
    """A sweep axis: any value."""
    WHOLE = auto()
    PROGRESS = auto()
    """An iteration, out of the row's `train_iters`."""
    COUNT = auto()
    """A large number: 3 digits and a prefix."""
    LOSS = auto()
    DIFFERENCE = auto()
    PERPLEXITY = auto()
    SCORE = auto()
    FLAG = auto()
    NOTES = auto()
    INTERVAL = auto()
    """A mean, and how far off it may be: the row has that by the column's key and `HALF`."""


LEFT = frozenset({Kind.TEXT, Kind.FLAG, Kind.NOTES})
"""Kinds that are words; the others are numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its key in files, its title for people."""

    key: str
    title: str
    kind: Kind = Kind.TEXT
    short: str = ""
    """Its title in a terminal; a column without one is left out there."""
    rank: int = 0
    """Where a terminal is narrow, columns of a high rank go first; those of rank 0 stay."""
    files_only: bool = False
    """It is for programs; people have it from other columns."""
    below: bool = False
    """On a page it stands in a second table under the first: paper is not wide enough for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, JSON], ...] = ()
    caption: str = ""
    """How to read it."""

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns for people."""
        return tuple(column for column in self.columns if not column.files_only)


def without_empty(table: Table) -> Table:
    """Leave columns that no row has a value for to the files; a table without rows stays as it is."""
    filled = {key for row in table.rows for key, value in row.items() if value is not None}
    shown = (c if c.key in filled or c.kind is Kind.NOTES else replace(c, files_only=True) for c in table.columns)
    return replace(table, columns=tuple(shown)) if table.rows else table


# Values.


def count(value: float) -> str:
    """Spell a large number with three digits: 524k, 2.10B."""
    for prefix, scale in _PREFIXES:
        if abs(value) >= 0.9995 * scale:
            return f"{_three_digits(value / scale)}{prefix}"
    return str(value) if isinstance(value, int) else _three_digits(value)


def interval(value: float, half: float) -> str:
    """Spell a mean with what it may be off, to two digits of that: 5.187 ± 0.013, 14.2k ± 1.1k."""
    prefix, scale = next(((p, s) for p, s in _PREFIXES if abs(value) >= s and half >= s / 1000), ("", 1.0))
    value, half = value / scale, half / scale
    decimals = min(max(0, 1 - math.floor(math.log10(half))), MOST_DECIMALS) if half else 4
    return f"{value:.{decimals}f}{prefix} ± {half:.{decimals}f}{prefix}"


def tick(value: float) -> str:
    """Spell a round number on an axis: 50M, 2.5k."""
    for prefix, scale in _PREFIXES:
        if abs(value) >= scale:
            return f"{value / scale:g}{prefix}"
    return f"{value:g}"


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    whole_digits = math.floor(math.log10(abs(value) * 1.0005)) + 1
    return f"{value:.{max(0, 3 - whole_digits)}f}"


def axis(value: JSON) -> str:
    """Spell a sweep axis' value; a round number as a recipe would have it: 100M."""
    if isinstance(value, int) and not isinstance(value, bool):
        for prefix, scale in _PREFIXES:
            tenths, rest = divmod(value * 10, int(scale))
            if tenths >= 10 and rest == 0:  # noqa: PLR2004 - at least one of the unit
                return f"{tenths / 10:g}{prefix}" if tenths < 10_000 else str(value)  # noqa: PLR2004 - `g` is exact
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else label(value)


def _perplexity(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"  # noqa: PLR2004 - two decimals are too many


def _notes(value: Sequence[str]) -> str:
    return "; ".join(value)


_SPELL: Mapping[Kind, Callable[[Any], str]] = {
    Kind.TEXT: str,
    Kind.AXIS: axis,
    Kind.WHOLE: str,
    Kind.PROGRESS: str,
    Kind.COUNT: count,
    Kind.LOSS: "{:.4f}".format,
    Kind.DIFFERENCE: "{:+.4f}".format,
    Kind.PERPLEXITY: _perplexity,
    Kind.SCORE: "{:.4f}".format,
    Kind.FLAG: lambda value: "yes" if value else "no",
    Kind.NOTES: _notes,
    Kind.INTERVAL: count,
}


def spell(column: Column, row: Mapping[str, JSON]) -> str:
    """Write a value for a person."""
    value = row.get(column.key)
    if value is None:
        return MISSING
    if column.kind is Kind.PROGRESS and row.get(OUT_OF) is not None:
        return f"{value}/{row[OUT_OF]}"
    if column.kind is Kind.INTERVAL and (half := row.get(f"{column.key}{HALF}")) is not None:
        return interval(value, half)  # type: ignore[arg-type]  # they are numbers
    return _SPELL[column.kind](value)


# Tables.


def as_markdown(table: Table) -> str:
    """Write a table as GitHub-flavoured Markdown."""
    columns = table.shown
    lines = [
        [_safe(column.title) for column in columns],
        ["---" if column.kind in LEFT else "---:" for column in columns],
        *([_safe(spell(column, row)) for column in columns] for row in table.rows),
    ]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if table.rows else "none"
    caption = f"\n{table.caption}\n" if table.caption else ""
    return f"## {table.title}\n\n{body}\n{caption}"


def _safe(text: str) -> str:
    """Keep Markdown from reading anything into a text."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{character}" if character in "\\`*|[]~" else character for character in text)


def as_csv(table: Table) -> str:
    """Write a table as CSV, every digit of it."""
    rows = ([_field(column, row.get(column.key)) for column in table.columns] for row in table.rows)
    return "".join(map(_csv_line, (_headers(table), *rows)))


def _csv_line(fields: list[str]) -> str:
    """Write one line; the writer quotes what its own line end has, so it must have both characters."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(fields)
    return file.getvalue().removesuffix("\r\n") + "\n"


def _headers(table: Table) -> list[str]:
    """Name the columns; an axis has its own name, unless another column has that already."""
    taken = {column.key for column in table.columns if column.kind is not Kind.AXIS}
    axes = {column.key: axis_of(column) for column in table.columns if column.kind is Kind.AXIS}
    return [
        column.key if column.key not in axes or axes[column.key] in taken else axes[column.key]
        for column in table.columns
    ]


def _field(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if column.kind in (Kind.FLAG, Kind.NOTES):
        return _SPELL[column.kind](value)
    return value if isinstance(value, str) else json.dumps(value)


AXIS_PREFIX = "values."
"""An axis' column is called so in rows, as no other column is."""


def axis_of(column: Column) -> str:
    """Return the axis that a column shows."""
    return column.key.removeprefix(AXIS_PREFIX)


def as_json(table: Table) -> list[JSON]:
    """Lay a table out as JSON objects, the axes gathered in `values`."""
    return [_object(table, row) for row in table.rows]


def _object(table: Table, row: Mapping[str, JSON]) -> dict[str, JSON]:
    axes = [column for column in table.columns if column.kind is Kind.AXIS]
    values = {axis_of(column): _plain(row[column.key]) for column in axes if column.key in row}
    fields: dict[str, JSON] = {c.key: row.get(c.key) for c in table.columns if c.kind is not Kind.AXIS}
    return {**fields, "values": values} if axes else fields


def _plain(value: JSON) -> JSON:
    """Spell the numbers that JSON has no spelling for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def as_lines(table: Table, width: int = 100) -> list[str]:
    """Lay a table out for a terminal; what does not fit is left to the files, least important first."""
    columns = [column for column in table.shown if column.short]
    while (too_much := max(map(len, _lay_out(columns, table))) - width) > 0:
        dropped = max(columns, key=lambda column: column.rank)
        if not dropped.rank:
            return _lay_out(columns, table, too_much)
        columns.remove(dropped)
    return _lay_out(columns, table)


def _lay_out(columns: Sequence[Column], table: Table, too_much: int = 0) -> list[str]:
    """Pad cells to columns; `too_much` characters are taken out of the first column's middle."""
    lines = [[column.short for column in columns], *([spell(c, row) for c in columns] for row in table.rows)]
    if too_much:
        room = max(max(len(line[0]) for line in lines) - too_much, SHORTEST_NAME)
        lines = [[shorten(first, room), *rest] for first, *rest in lines]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    pads = [str.ljust if column.kind in LEFT else str.rjust for column in columns]
    padded = (GAP.join(pad(c, w) for pad, c, w in zip(pads, line, widths, strict=True)) for line in lines)
    return [line.rstrip() for line in padded]


def shorten(text: str, room: int) -> str:
    """Cut a text's middle out: what tells ids apart is at both ends."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[len(text) - tail :]}"
