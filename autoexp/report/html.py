"""report.html: one page that needs nothing else. Pure text.

Rule 1: whatever comes from a study is escaped. Only drawings, which we made, go in as they are.
Rule 2: it reads the same in the light, in the dark, on a phone and on paper.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from autoexp.model import JSON, State
from autoexp.report import colors
from autoexp.report.spelling import LEFT, MISSING, Column, Kind, Table, spell

SCHEMES = f"""
:root {{ color-scheme: light dark; {colors.declarations(colors.LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {colors.declarations(colors.DARK)} }} }}
"""
STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 3rem; max-width: 88rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 1.2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; }
header p, figcaption, .caption { color: var(--muted); }
header p { margin: 0 0 0.7rem; }
.headlines { margin: 0; padding-left: 1.1rem; }
.headlines li { margin: 0.15rem 0; overflow-wrap: anywhere; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 68rem; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
figcaption, .caption { font-size: 0.85rem; max-width: 60rem; margin: 0.4rem 0 0; }
.narrow { display: none !important; }
.scroll + .scroll { margin-top: 0.8rem; }
.scroll { width: fit-content; max-width: 100%; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: 0.8rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.34rem 0.5rem; text-align: right; vertical-align: top; border-top: 1px solid var(--line); }
th { border-top: 0; font-weight: 600; vertical-align: bottom; color: var(--muted); line-height: 1.25; }
th span { display: inline-block; max-width: 4.8rem; }
td { white-space: nowrap; }
.words { text-align: left; }
tr.notes td { text-align: left; white-space: normal; border-top: 0; padding-top: 0; color: var(--muted); }
tr.notes div { position: sticky; left: 0.6rem; width: fit-content; max-width: min(60rem, 100vw - 3.5rem);
  padding-left: 1.25em; overflow-wrap: anywhere; }
th[scope=row] { border-top: 1px solid var(--line); font-weight: 500; color: var(--ink); vertical-align: top;
  line-height: inherit; min-width: 12rem; padding-left: 1.75em; text-indent: -1.25em; position: sticky;
  left: 0; background: var(--paper); }
tbody tr:not(.notes):hover > * { background: color-mix(in srgb, var(--line) 35%, var(--paper)); }
.missing { color: var(--muted); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.best { font-weight: 700; }
.swatch { display: inline-block; text-indent: 0; width: 0.7em; height: 0.7em; border-radius: 2px; margin-right: 0.55em;
  vertical-align: -0.02em; }
.swatch.cooldown { border-radius: 0; transform: rotate(45deg) scale(0.85); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; font-size: 0.85rem; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { font-size: 14px; }
  .wide { display: none !important; }
  .narrow { display: block !important; }
  th[scope=row] { overflow-wrap: anywhere; min-width: 9.5rem; max-width: 9.5rem; box-shadow: 1px 0 0 var(--line); }
  td.words { white-space: normal; }
  th, td { padding: 0.3rem 0.45rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.4rem; }
}
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { padding: 0; max-width: none; font-size: 9pt; }
  .scroll { overflow: visible; border: 0; width: auto; break-inside: avoid; }
  figure svg { max-width: 215mm; }
  figcaption, .caption { font-size: 8pt; }
  table { font-size: 7pt; width: 100%; }
  th, td { padding: 2pt 4pt; white-space: normal; }
  th[scope=row] { position: static; min-width: 6rem; overflow-wrap: anywhere; }
  tr.notes div { max-width: none; }
  tr, figure { break-inside: avoid; }
  tr.notes { break-before: avoid; }
  h2 { break-after: avoid; }
  .swatch, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

TONES: Mapping[str, str] = {
    State.SUCCEEDED: "good",
    **dict.fromkeys((State.FAILED, State.STALLED, State.SKIPPED, State.CANCELLED), "bad"),
}
"""How a state is coloured; its word says the same."""
LOWEST = ("held_out_loss", "loss_after")
"""Columns whose lowest value is marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing for the page: for screens of some width, and for phones."""

    title: str
    wide: str
    narrow: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything the page shows."""

    title: str
    subtitle: str
    headlines: Sequence[str]
    sections: Sequence[Figure | Table]
    facts: Mapping[str, str]
    """Where it comes from."""
    swatches: Mapping[str, tuple[str, bool]]
    """Each job's colour in the drawings, and whether it is a cooldown."""


def render(page: Page) -> str:
    """Write the page."""
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(page.title)}</title>",
        f"<style>{SCHEMES}{STYLE}</style>",
        "</head>",
        "<body>",
        f"<header><h1>{escape(page.title)}</h1><p>{escape(page.subtitle)}</p></header>",
        '<ul class="headlines">',
        *(f"<li>{escape(line)}</li>" for line in page.headlines),
        "</ul>",
        *(_section(section, page.swatches) for section in page.sections),
        "<section><h2>Where this comes from</h2>",
        _facts(page.facts),
        "</section>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _section(section: Figure | Table, swatches: Mapping[str, tuple[str, bool]]) -> str:
    body = _figure(section) if isinstance(section, Figure) else _table(section, swatches)
    return f"<section><h2>{escape(section.title)}</h2>\n{body}\n</section>"


def _figure(figure: Figure) -> str:
    title = escape(figure.title)
    return (
        f'<figure><div class="wide" role="img" aria-label="{title}">{figure.wide}</div>\n'
        f'<div class="narrow" role="img" aria-label="{title}">{figure.narrow}</div>\n'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _table(table: Table, swatches: Mapping[str, tuple[str, bool]]) -> str:
    columns = [column for column in table.shown if column.kind is not Kind.NOTES]
    first, below = [c for c in columns if not c.below], [c for c in columns if c.below]
    parts = [_grid(table, first, swatches, has_notes=True)]
    if below:
        parts.append(_grid(table, [*columns[:1], *below], swatches, has_notes=False))
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return "\n".join(parts) + caption


def _grid(table: Table, columns: Sequence[Column], swatches: Mapping[str, tuple[str, bool]], *, has_notes: bool) -> str:
    head = "".join(
        f'<th scope="col"{_classes(_words(column))}><span>{escape(column.title)}</span></th>' for column in columns
    )
    best = {key: _lowest(table.rows, key) for key in LOWEST}
    body = "\n".join(
        f"<tr>{_row(columns, row, best, swatches)}</tr>{_notes(table, row, len(columns)) if has_notes else ''}"
        for row in table.rows
    )
    return (
        '<div class="scroll" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _notes(table: Table, row: Mapping[str, JSON], width: int) -> str:
    """Write a row's notes below it, where they have room."""
    said = "; ".join(spell(c, row) for c in table.shown if c.kind is Kind.NOTES and row.get(c.key))
    return f'\n<tr class="notes"><td colspan="{width}"><div>{escape(said)}</div></td></tr>' if said else ""


def _lowest(rows: Iterable[Mapping[str, JSON]], key: str) -> float | None:
    return min((value for row in rows if isinstance(value := row.get(key), float)), default=None)


def _row(
    columns: Sequence[Column],
    row: Mapping[str, JSON],
    best: Mapping[str, float | None],
    swatches: Mapping[str, tuple[str, bool]],
) -> str:
    first, *rest = columns
    name = str(row.get(first.key))
    color, is_cooldown = swatches.get(name, ("", False))
    shape = "swatch cooldown" if is_cooldown else "swatch"
    swatch = f'<span class="{shape}" style="background: var(--{color})"></span>' if color else ""
    cells = (_cell(column, row, is_best=_is_best(column, row, best)) for column in rest)
    return f'<th scope="row" class="words">{swatch}{escape(name)}</th>' + "".join(cells)


def _is_best(column: Column, row: Mapping[str, JSON], best: Mapping[str, float | None]) -> bool:
    lowest = best.get(column.key)
    return lowest is not None and row.get(column.key) == lowest


def _cell(column: Column, row: Mapping[str, JSON], *, is_best: bool) -> str:
    value = row.get(column.key)
    if value is None:
        return f"<td{_classes(_words(column), 'missing')}>{MISSING}</td>"
    return f"<td{_classes(_words(column), _tone(column, value), 'best' if is_best else '')}>{_text(column, row)}</td>"


def _text(column: Column, row: Mapping[str, JSON]) -> str:
    return escape(spell(column, row))


def _words(column: Column) -> str:
    return "words" if column.kind in LEFT else ""


def _tone(column: Column, value: JSON) -> str:
    if column.kind is Kind.FLAG:
        return "good" if value else "bad"
    return TONES.get(str(value), "") if column.key == "state" else ""


def _classes(*names: str) -> str:
    given = " ".join(filter(None, names))
    return f' class="{given}"' if given else ""


def _facts(facts: Mapping[str, str]) -> str:
    pairs = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>\n{pairs}\n</dl>"
