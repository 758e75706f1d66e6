"""Judges what all_reduce_perf and its kin print (nccl-tests, rccl-tests): is this a network to train on?

Text in, a verdict out. Rule 1: what cannot be judged fails; no number is guessed from a broken line.
Rule 2: the bandwidth is that of the largest size, the lower of the placements. The footer's average is over
all sizes, from the smallest up; it only shows whether a row was lost.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain

from autoexp.nccl import document, script, table
from autoexp.nccl.found import Log, Run

_AGREEMENT = 0.01
"""How far the footer's average may be from the rows', as a share of it."""
_ROUNDING_GBPS = 0.005
"""Rows are printed with two decimals."""
_LONGEST_CAUSE = 300
_UNCLEAR = "; which host failed first cannot be told"
_STATUS_TIMEOUT = 4
"""nccl-tests' own exit status for a timeout (-T)."""


class Code(IntEnum):
    """Why a gate passes or fails; also its exit status."""

    PASS = 0
    UNREADABLE = 44
    """Missing, torn or contradictory output."""
    WRONG_DATA = 45
    SLOW = 46
    TIMEOUT = 47
    TOPOLOGY = 48
    """Not the ranks or hosts asked for, or several programs that know nothing of each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate's output comes to."""

    code: Code
    cause: str
    threshold_gbps: float
    busbw_gbps: float | None = None
    ranks: int | None = None
    suspects: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the shape that `gate --json` and gate.json have."""
        return {
            "verdict": "pass" if self.code is Code.PASS else "fail",
            "code": int(self.code),
            "cause": self.cause,
            "busbw_gbps": self.busbw_gbps,
            "threshold_gbps": self.threshold_gbps,
            "ranks": self.ranks,
            "suspects": list(self.suspects),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the gate asks of the output."""

    threshold_gbps: float
    ranks: int | None = None
    hosts: int | None = None
    status: int = 0
    """The program's exit status."""
    timed_out: bool = False
    """The program had to be ended."""
    excerpt: bool = False
    """Rows may be missing on purpose: an output without a header is no torn one."""


def read(text: str) -> Log:
    """Read a program's output, or the JSON it can write."""
    log, text = Log(), text.lstrip("\ufeff")
    if text.lstrip().startswith("{"):
        document.read(log, text)
    else:
        table.read(log, text)
        script.read(log, text)
    return log


def judge(log: Log, asked: Asked) -> Verdict:
    """Return the first thing that is wrong with what a program printed, or that it passes."""
    code, cause = next(_findings(log, asked), (Code.PASS, "fast enough"))
    if code is not Code.PASS and log.reports.is_unclear(asked.hosts):
        cause = f"{cause[: _LONGEST_CAUSE - len(_UNCLEAR)]}{_UNCLEAR}"
    busbw = [run.busbw_gbps for run in log.runs]
    known = code is not Code.UNREADABLE and all(map(math.isfinite, busbw))
    ranks = {log.ranks(run) for run in log.runs}
    return Verdict(
        code=code,
        cause=cause[:_LONGEST_CAUSE],
        threshold_gbps=asked.threshold_gbps,
        busbw_gbps=min(busbw, default=None) if known else None,
        ranks=ranks.pop() if len(ranks) == 1 else None,
        suspects=log.reports.suspects(asked.hosts),
    )


def _findings(log: Log, asked: Asked) -> Iterator[tuple[Code, str]]:
    """Yield what is wrong: what explains the rest comes first."""
    if asked.timed_out or log.timeouts or asked.status == _STATUS_TIMEOUT:
        yield Code.TIMEOUT, (log.timeouts or ["it did not end in time"])[0]
    for line in log.too_few_gpus:
        yield Code.TOPOLOGY, line
    yield from chain.from_iterable(map(_clashes, log.runs))
    yield from chain.from_iterable(map(_wrong_data, log.runs))
    for line in log.time_limits:
        if not log.broken and not any(run.rows for run in log.runs):
            yield Code.TIMEOUT, f"not one size was measured when the job's time was up: {line}"
    for line in (*log.errors, *log.broken):
        yield Code.UNREADABLE, line
    if not log.runs:
        yield Code.UNREADABLE, f"no table of bandwidths was printed (exit status {asked.status})"
    yield from chain.from_iterable(_gaps(run, excerpt=asked.excerpt) for run in log.runs)
    yield from chain.from_iterable(_misfits(run, log, asked) for run in log.runs)
    yield from chain.from_iterable(_slowness(run, asked.threshold_gbps) for run in log.runs)
    yield from chain.from_iterable(_parts(run, log) for run in log.runs)
    if asked.status:
        yield Code.UNREADABLE, f"the table is in order, but the exit status is {asked.status}"


def _clashes(run: Run) -> Iterator[tuple[Code, str]]:
    """Find several programs that printed into one log, each with a rank 0, and programs that ran in groups."""
    if run.headers > 1 or len(run.ranks) != len(set(run.ranks)):
        yield (
            Code.TOPOLOGY,
            "several programs ran side by side, not one over all ranks: is it built without MPI?",
        )
    if len(run.groups) > 1:
        yield (
            Code.TOPOLOGY,
            f"{len(run.groups)} groups ran side by side (NCCL_TESTS_SPLIT), and only the first is reported",
        )


def _wrong_data(run: Run) -> Iterator[tuple[Code, str]]:
    for row in run.rows:
        if row.wrong != 0:
            yield Code.WRONG_DATA, f"{row.wrong:g} elements of {row.size_bytes} bytes came out wrong"
    if any(count > 0 for count in run.out_of_bounds):
        yield Code.WRONG_DATA, f"{max(run.out_of_bounds):g} values are out of bounds"


def _gaps(run: Run, *, excerpt: bool) -> Iterator[tuple[Code, str]]:
    """Find what a whole output has and this lacks."""
    if not run.headers and not excerpt:
        yield Code.UNREADABLE, "the beginning is missing: no line says what is to be measured"
    if sorted(run.ranks) != list(range(len(run.ranks))) or len(run.ranks) % run.per_process:
        yield Code.UNREADABLE, "lines of the list of ranks are missing"
    footers = (len(run.out_of_bounds), len(run.averages))
    if not run.halves or footers != (int(run.has_footer), int(run.has_footer)):
        yield Code.UNREADABLE, "the output is torn: it has no rows, or no footer"
        return
    values = [half.busbw_gbps for half in run.halves]
    yield from _miscounts(run)
    if not all(math.isfinite(value) and value >= 0 for value in (*values, *run.averages)):
        yield Code.UNREADABLE, "a bandwidth is negative, or not a finite number"
    elif run.headers or (run.has_heading and not run.is_thinned()):
        yield from _disagreements(_mean(values), run.averages)


def _miscounts(run: Run) -> Iterator[tuple[Code, str]]:
    """Find sizes that are missing, and rows of which nobody has said that they would be there."""
    count = run.sweep.count() if run.sweep else len(run.sizes)
    rows, cycles = len(run.rows), -(-len(run.rows) // max(count, 1))
    if rows != cycles * count or len(run.sizes) > count:
        yield Code.UNREADABLE, f"{count} sizes were to be measured, {rows} rows of {len(run.sizes)} sizes are there"
    for row in run.repeated():
        yield Code.UNREADABLE, f"the row of {row.size_bytes} bytes is there twice: {row.text}"
    for row in run.misplaced():
        yield Code.UNREADABLE, f"it is not the turn of {row.size_bytes} bytes: {row.text}"
    if run.is_open:
        yield Code.UNREADABLE, "the output is torn: it says that a test begins, and not that it is concluded"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(value / len(values) for value in values)  # a sum of absurd numbers would overflow


def _disagreements(mean: float, averages: Sequence[float]) -> Iterator[tuple[Code, str]]:
    for average in averages:
        if not math.isclose(mean, average, rel_tol=_AGREEMENT, abs_tol=_ROUNDING_GBPS):
            yield Code.UNREADABLE, f"rows average {mean:.4g} GB/s, the footer says {average:g}: rows are lost"


def _misfits(run: Run, log: Log, asked: Asked) -> Iterator[tuple[Code, str]]:
    ranks, hosts = log.ranks(run), log.hosts(run)
    if (asked.hosts and not hosts) or (asked.ranks and not ranks):
        yield Code.UNREADABLE, "the list of ranks and hosts is missing"
    elif ranks == 1:
        yield Code.TOPOLOGY, "a single rank ran, and had nobody to talk to"
    elif asked.ranks and ranks != asked.ranks:
        yield Code.TOPOLOGY, f"{ranks} ranks ran, {asked.ranks} were asked for"
    elif asked.hosts and len(hosts) != asked.hosts:
        yield Code.TOPOLOGY, f"{len(hosts)} hosts ran, {asked.hosts} were asked for"


def _slowness(run: Run, threshold_gbps: float) -> Iterator[tuple[Code, str]]:
    if not run.busbw_gbps >= threshold_gbps:
        yield Code.SLOW, f"{run.busbw_gbps:g} GB/s at the largest size, below {threshold_gbps:g}"
    if run.below_own_minimum:
        yield Code.SLOW, "the tool's own minimum (NCCL_TESTS_MIN_BW) is not reached on average"


def _parts(run: Run, log: Log) -> Iterator[tuple[Code, str]]:
    """Find measurements of fewer ranks than are there."""
    ranks, (low, high) = log.ranks(run), run.implied_ranks()
    if ranks is not None and not low <= ranks <= high:
        yield Code.TOPOLOGY, f"the bandwidths are of {low:.0f} ranks, not of {ranks}: a part of them measured"
