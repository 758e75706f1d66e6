"""What was found in the output of a bandwidth benchmark, before anybody judges it. Bandwidths are GB/s, 10^9 bytes."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from autoexp.nccl.peers import Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One placement (out of place, or in place) of one size."""

    algbw_gbps: float
    busbw_gbps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One size of a table; a placement that was not run has no half."""

    size_bytes: int
    halves: tuple[Half, ...]
    text: str = ""
    """Its words, where it was printed: two that are equal in all of them are one that was printed twice."""
    wrong: float = 0.0
    """How many elements came out wrong in all; 0 where they were not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The sizes that the tool says it will measure."""

    first_bytes: int
    last_bytes: int
    step: int
    by_factor: bool

    def count(self) -> int:
        """Count them, as the tool's own loop does."""
        if not self.by_factor:
            return (self.last_bytes - self.first_bytes) // self.step + 1 if self.step else 1
        size, count = self.first_bytes, 1
        while self.step > 1 and 0 < size * self.step <= self.last_bytes:
            size, count = size * self.step, count + 1
        return count

    def size(self, index: int) -> int:
        """Return one of them."""
        return self.first_bytes * self.step**index if self.by_factor else self.first_bytes + self.step * index


@dataclass(slots=True, kw_only=True)
class Run:
    """What one run of a program printed."""

    headers: int = 0
    sweep: Sweep | None = None
    has_heading: bool = False
    """Whether the rows' own beginning is there, the names of their columns."""
    per_process: int = 1
    """Ranks of each process: threads times GPUs."""
    ranks: list[int] = field(default_factory=list)
    """The list of devices, rank by rank."""
    groups: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    said_ranks: int | None = None
    """How many ranks it says there are, where it lists none."""
    rows: list[Row] = field(default_factory=list)
    is_open: bool = False
    """It has said that it begins, and not that it is concluded, which newer versions do."""
    has_footer: bool = True
    """Whether a whole output of this program ends with one."""
    out_of_bounds: list[float] = field(default_factory=list)
    averages: list[float] = field(default_factory=list)
    below_own_minimum: bool = False
    """The tool itself found the average below NCCL_TESTS_MIN_BW."""

    @property
    def busbw_gbps(self) -> float:
        """The lowest bandwidth at the largest size; not a number where there is none."""
        largest = max((row.size_bytes for row in self.rows), default=0)
        here = [half.busbw_gbps for row in self.rows if row.size_bytes == largest for half in row.halves]
        return min(here, default=math.nan)

    @property
    def sizes(self) -> list[int]:
        """The sizes that were measured, each once."""
        return list(dict.fromkeys(row.size_bytes for row in self.rows))

    @property
    def halves(self) -> list[Half]:
        """All that was measured."""
        return [half for row in self.rows for half in row.halves]

    def repeated(self) -> list[Row]:
        """List the rows that stand twice in a row, and those that begin a cycle which is the one before, word by word.

        Cycles of one test print all its sizes before the first again; their times differ.
        """
        cycles = [self.rows[begin : begin + len(self.sizes)] for begin in range(0, len(self.rows), len(self.sizes))]
        rows = [after for before, after in pairwise(self.rows) if before == after]
        return rows or [after[0] for before, after in pairwise(cycles) if before == after]

    def misplaced(self) -> list[Row]:
        """List the rows whose size is not the one whose turn it is: it lost a digit, or a row did its place."""
        sizes = sorted(self.sizes)
        due = self.sweep.size if self.sweep else sizes.__getitem__
        return [row for index, row in enumerate(self.rows) if not _fits(row.size_bytes, due(index % len(sizes)))]

    def implied_ranks(self) -> tuple[float, float]:
        """Say between which numbers of ranks the rows' two bandwidths allow.

        For an all-reduce busbw is 2(n-1)/n of algbw, for all-gather and its kin (n-1)/n
        (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md).
        """
        bounds = [_implied(half) for half in self.halves if half.algbw_gbps >= _TELLING_GBPS]
        return max((low for low, _ in bounds), default=1.0), min((high for _, high in bounds), default=math.inf)

    def is_thinned(self) -> bool:
        """Say whether rows were left out between others: the sizes grow neither by one factor nor by one step."""
        sizes = [row.size_bytes for row in self.rows]
        factors = {after / before for before, after in pairwise(sizes) if before}
        steps = {after - before for before, after in pairwise(sizes)}
        return len(factors) > 1 and len(steps) > 1


def _fits(size: int, asked: int) -> bool:
    """Say whether a size is the one asked for; the tool makes it a little smaller, so that it can be shared out."""
    return size <= asked and (2 * size > asked or asked < _SHARED_OUT_BYTES)


_SHARED_OUT_BYTES = 1 << 20
"""Below it, what is cut off may be more than half."""
_TELLING_GBPS = 1.0
"""Below it two decimals say too little about a ratio."""
_ROUNDING_GBPS = 0.006


def _implied(half: Half) -> tuple[float, float]:
    """Bound the ranks by one row, whose numbers are rounded: to two decimals, or four digits."""
    if not math.isfinite(half.algbw_gbps) or not math.isfinite(half.busbw_gbps):
        return 1.0, math.inf
    rounding = _ROUNDING_GBPS * 10 ** max(0, len(str(int(half.algbw_gbps))) - 3)
    low = max(0.0, half.busbw_gbps - rounding) / (half.algbw_gbps + rounding)
    high = (half.busbw_gbps + rounding) / (half.algbw_gbps - rounding)
    whole = 1.0 if high < 1 else 2.0  # only an all-reduce moves as much as there is, or more
    return _ranks_at(low, whole), _ranks_at(high, whole)


def _ranks_at(ratio: float, whole: float) -> float:
    return whole / (whole - ratio) if ratio < whole else math.inf


@dataclass(slots=True, kw_only=True)
class Log:
    """Everything that was found in the output, run by run."""

    runs: list[Run] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Lines that begin like a row or a footer, and are none."""
    errors: list[str] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)
    time_limits: list[str] = field(default_factory=list)
    """Where the scheduler says that it ended the job for want of time."""
    too_few_gpus: list[str] = field(default_factory=list)
    reports: Reports = field(default_factory=Reports)
    """Which hosts say what of themselves and of others."""
    communicators: set[int] = field(default_factory=set)
    """How many ranks NCCL's own lines say."""
    speakers: set[str] = field(default_factory=set)
    """The hosts that NCCL's own lines are from."""

    def current(self) -> Run:
        """Return the run that a line belongs to."""
        if not self.runs:
            self.runs.append(Run())
        return self.runs[-1]

    def begin(self) -> Run:
        """Return the run that a heading belongs to: a new one, once the last has given results."""
        if self.current().rows or self.current().averages:
            self.runs.append(Run())
        return self.runs[-1]

    def ranks(self, run: Run) -> int | None:
        """Count a run's ranks: as listed, as said, as NCCL says, or as the bandwidths' ratio leaves no doubt of."""
        if run.ranks or run.said_ranks:
            return len(set(run.ranks)) or run.said_ranks
        if self.communicators:
            return max(self.communicators)
        low, high = (math.ceil(run.implied_ranks()[0]), run.implied_ranks()[1])
        return low if run.rows and low <= high < low + 1 else None

    def hosts(self, run: Run) -> set[str]:
        """Name a run's hosts: as listed, or those that NCCL's lines are from."""
        return run.hosts or self.speakers
