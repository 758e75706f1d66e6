"""What a benchmark measured, held against what was wanted, and against what this machine itself needs for the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    measured: float
    unit: str
    wanted: float
    """The limit: an upper one, unless `more_is_better`."""
    floor: float | None = None
    """What the machine needs at least, by the means named."""
    floor_is: str = ""
    more_is_better: bool = False

    @property
    def is_met(self) -> bool:
        """Say whether the limit is kept."""
        return self.measured >= self.wanted if self.more_is_better else self.measured <= self.wanted

    def cells(self) -> tuple[str, ...]:
        """Spell it: what, measured, wanted, the floor, how many times the floor."""
        wanted = f"{'over' if self.more_is_better else 'under'} {_spell(self.wanted)} {self.unit}"
        measured = f"{_spell(self.measured)} {self.unit}{'' if self.is_met else ' MISSED'}"
        if not self.floor:
            return self.what, measured, wanted, self.floor_is, ""
        ratio = self.floor / self.measured if self.more_is_better and self.measured else self.measured / self.floor
        return self.what, measured, wanted, f"{_spell(self.floor)} {self.unit} ({self.floor_is})", f"{ratio:.3g}"


MANY = 1000
HEAD = ("figure", "measured", "wanted", "this machine's floor", "times the floor")


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """Lay figures out as a table of Markdown."""
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if not number:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _spell(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= MANY else f"{number:.3g}"
