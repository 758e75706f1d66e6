"""Judges what all_reduce_perf and its kin print (nccl-tests, rccl-tests): is this a network to train on?

Text in, a verdict out. Rule 1: what cannot be judged fails; no number is guessed from a broken line.
Rule 2: the bandwidth is that of the largest size, the lower of the placements. The footer's average is over
all sizes, from the smallest up; it only shows whether a row was lost.
Rule 3: columns are found from the left, by the table's own heading: what is appended differs by version.

Grammar: https://github.com/NVIDIA/nccl-tests (src/common.cu, src/util.cu), https://github.com/ROCm/rccl-tests.
Launchers put labels before the lines, and NCCL_DEBUG puts lines of its own between them.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")

_AGREEMENT = 0.01
"""How far the footer's average may be from the rows', as a share of it."""
_ROUNDING_GBPS = 0.005
"""Rows are printed with two decimals."""
_LONGEST_CAUSE = 300
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
class Row:
    """One size of a table; a placement that was not run has no entry."""

    size_bytes: int
    busbw_gbps: tuple[float, ...]
    wrong: float
    """How many elements came out wrong in all; 0 where they were not checked."""


@dataclass(slots=True, kw_only=True)
class Test:
    """What one run of a program printed."""

    headers: int = 0
    sizes: int = 0
    """How many rows the header announces; 0 when it does not say."""
    ranks: list[int] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    out_of_bounds: list[float] = field(default_factory=list)
    averages: list[float] = field(default_factory=list)
    reduced: bool = False
    """The tool left the largest sizes out, for want of memory."""
    below_own_minimum: bool = False
    """The tool itself found the average below NCCL_TESTS_MIN_BW."""

    @property
    def busbw_gbps(self) -> float:
        """The lowest bandwidth at the largest size; not a number where there is none."""
        largest = max((row.size_bytes for row in self.rows), default=0)
        return min((b for row in self.rows if row.size_bytes == largest for b in row.busbw_gbps), default=math.nan)


@dataclass(slots=True, kw_only=True)
class Log:
    """Everything that was found in the output, test by test."""

    tests: list[Test] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Lines that begin like a row or a footer, and are none."""
    errors: list[str] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)
    too_few_gpus: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    """The hosts that errors and timeouts name."""
    communicators: set[int] = field(default_factory=set)
    """How many ranks NCCL's own lines say."""


# Reading.

_LABEL = re.compile(r"^\s*(?:\d+:\s|(?:[A-Z][a-z]{2} [^\[\]]{0,28})?\[[^\[\]\s]*\](?:<std(?:out|err)>)?:\s?)+")
"""`0: ` of srun -l, `[1,0]<stdout>:` of mpirun, with a date or without, `[default0]:` of torchrun."""

_DEVICE = re.compile(r"#\s+Rank\s+(\d{1,9})\s+(?:Group\s+\d+\s+)?Pid\s+\d+\s+on\s+(\S+)\s+device\s", re.ASCII)
_ROW = re.compile(r"\d{1,18}\s+\d{1,18}\s+[a-z]", re.ASCII)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|nan|inf)", re.ASCII)
_SIZES = re.compile(r"minBytes (\d{1,18}) maxBytes (\d{1,18}) step: (\d{1,18})\((factor|bytes)\)", re.ASCII)
_BOUNDS = re.compile(r"# Out of bounds values : (\d+) (?:OK|FAILED)", re.ASCII)
_AVERAGE = re.compile(r"# Avg bus bandwidth\s+: (\S+)(?: (OK|FAILED))?", re.ASCII)
_TROUBLE = re.compile(r"(?:(\S+?)(?: pid \d+)?: )?Test (?:(timeout)|(?:NCCL |CUDA )?failure)\b|# error:", re.ASCII)
_RANKS = re.compile(r" NCCL INFO .*\bnranks (\d{1,9})\b", re.ASCII)

_COLUMNS = ("size", "count", "type", "redop", "root", *("time", "algbw", "busbw", "#wrong") * 2)
"""The table's columns since its first version, for a log that lost its heading."""


def read(text: str) -> Log:
    """Read a program's output, or the JSON it can write (-J, since nccl-tests 2.17.3)."""
    if text.lstrip().startswith("{"):
        return _read_json(text)
    log, columns = Log(), list(_COLUMNS)
    for line in text.splitlines():
        bare = _LABEL.sub("", line).strip()
        if bare.startswith("#") and bare.split()[1:3] == ["size", "count"]:
            columns = bare.split()[1:]
        elif bare.startswith("#"):
            _read_comment(log, bare)
        elif _ROW.match(bare):
            _keep(log.broken, bare, _current(log).rows, _read_row(bare.split(), columns))
        _read_trouble(log, bare)
    return log


def _keep(broken: list[str], line: str, found: list[T], value: T | None) -> None:
    if value is None:
        broken.append(line)
    else:
        found.append(value)


def _current(log: Log) -> Test:
    if not log.tests:
        log.tests.append(Test())
    return log.tests[-1]


def _begin(log: Log) -> Test:
    """Return the test that a heading belongs to: a new one, once the last has given results."""
    if _current(log).rows or _current(log).averages:
        log.tests.append(Test())
    return log.tests[-1]


def _read_comment(log: Log, line: str) -> None:
    if line.startswith("# nThread "):
        test = _begin(log)
        test.headers += 1
        test.sizes = _announced(line)
    elif line.startswith("# Collective test starting"):
        _begin(log)
    elif line.startswith("# Reducing maxBytes"):
        _current(log).reduced = True
    elif device := _DEVICE.match(line):
        _current(log).ranks.append(int(device[1]))
        _current(log).hosts.add(device[2])
    elif line.startswith("# Out of bounds values"):
        bounds = _BOUNDS.fullmatch(line)
        _keep(log.broken, line, _current(log).out_of_bounds, _number(bounds[1]) if bounds else None)
    elif line.startswith("# Avg bus bandwidth"):
        average = _AVERAGE.fullmatch(line)
        _keep(log.broken, line, _current(log).averages, _number(average[1]) if average else None)
        _current(log).below_own_minimum |= bool(average and average[2] == "FAILED")


def _announced(header: str) -> int:
    """Count the sizes from minBytes to maxBytes, by a factor or by a number of bytes."""
    limits = _SIZES.search(header)
    if limits is None:
        return 0
    size, last, step = int(limits[1]), int(limits[2]), int(limits[3])
    if limits[4] == "bytes":
        return (last - size) // step + 1 if step else 1
    count = 1
    while step > 1 and 0 < size * step <= last:
        size, count = size * step, count + 1
    return count


def _read_row(words: Sequence[str], columns: Sequence[str]) -> Row | None:
    """Read a row by its table's columns; words beyond them (a date, with -S) are let be."""
    if len(words) < len(columns):
        return None
    placements = [i for i, column in enumerate(columns) if column == "busbw"]
    wrongs = [words[i] for i, column in enumerate(columns) if column == "#wrong"]
    busbw = [_number(words[i]) for i in placements if words[i] != "N/A"]
    wrong = [_number(word) for word in wrongs if word != "N/A"]
    if not busbw or None in busbw or None in wrong:
        return None
    return Row(
        size_bytes=int(words[0]),
        busbw_gbps=tuple(value for value in busbw if value is not None),
        wrong=sum(value for value in wrong if value is not None),
    )


def _number(word: str) -> float | None:
    return float(word) if _NUMBER.fullmatch(word) else None


def _read_trouble(log: Log, line: str) -> None:
    if trouble := _TROUBLE.search(line):
        (log.timeouts if trouble[2] else log.errors).append(line)
        if trouble[1]:
            log.suspects.append(trouble[1])
    elif line.startswith("Invalid number of GPUs"):
        log.too_few_gpus.append(line)
    elif ranks := _RANKS.search(line):
        log.communicators.add(int(ranks[1]))


def _read_json(text: str) -> Log:
    """Read the JSON of version 3: booleans are strings, "nan" is one too, and a bare inf makes it invalid."""
    try:
        value = json.loads(text)
        devices = value["config"]["devices"]
        test = Test(
            headers=1,
            ranks=[int(device["rank"]) for device in devices],
            hosts={str(device["hostname"]) for device in devices},
            rows=[_json_row(result) for result in value["results"]],
            out_of_bounds=[float(value["out_of_bounds"]["count"])],
            averages=[float(value["average_bus_bandwidth"]["bandwidth"])],
            below_own_minimum=value["average_bus_bandwidth"].get("okay") == "false",
        )
        return Log(tests=[test], errors=[str(error) for error in value.get("errors", []) if error])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return Log(broken=[f"JSON that is cut or of another version: {type(error).__name__} {error}"])


def _json_row(result: Mapping[str, Any]) -> Row:
    halves = [half for half in (result.get("out_of_place"), result.get("in_place")) if isinstance(half, dict)]
    wrong = [half["nwrong"] for half in halves if half["nwrong"] not in {None, "N/A"}]
    return Row(
        size_bytes=int(result["size"]),
        busbw_gbps=tuple(float(half["bus_bw"]) for half in halves),
        wrong=sum(map(float, wrong)),
    )


# Judging.


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


def judge(text: str, asked: Asked) -> Verdict:
    """Return the first thing that is wrong with a program's output, or that it passes."""
    log = read(text)
    code, cause = next((finding for finding in _findings(log, asked)), (Code.PASS, "fast enough"))
    busbw = min((test.busbw_gbps for test in log.tests), default=math.nan)
    ranks = {len(set(test.ranks)) for test in log.tests if test.ranks} or log.communicators
    return Verdict(
        code=code,
        cause=cause[:_LONGEST_CAUSE],
        threshold_gbps=asked.threshold_gbps,
        busbw_gbps=busbw if math.isfinite(busbw) and code is not Code.UNREADABLE else None,
        ranks=ranks.pop() if len(ranks) == 1 else None,
        suspects=tuple(dict.fromkeys(log.suspects)),
    )


def _findings(log: Log, asked: Asked) -> Iterator[tuple[Code, str]]:
    """Yield what is wrong: what explains the rest comes first."""
    if asked.timed_out or log.timeouts or asked.status == _STATUS_TIMEOUT:
        yield Code.TIMEOUT, (log.timeouts or ["it did not end in time"])[0]
    for line in log.too_few_gpus:
        yield Code.TOPOLOGY, line
    yield from chain.from_iterable(map(_clashes, log.tests))
    yield from chain.from_iterable(map(_wrong_data, log.tests))
    for line in (*log.errors, *log.broken):
        yield Code.UNREADABLE, line
    if not log.tests:
        yield Code.UNREADABLE, f"no table of bandwidths was printed (exit status {asked.status})"
    yield from chain.from_iterable(_gaps(test, excerpt=asked.excerpt) for test in log.tests)
    yield from chain.from_iterable(_misfits(test, log.communicators, asked) for test in log.tests)
    yield from chain.from_iterable(_slowness(test, asked.threshold_gbps) for test in log.tests)
    if asked.status:
        yield Code.UNREADABLE, f"the table is in order, but the exit status is {asked.status}"


def _clashes(test: Test) -> Iterator[tuple[Code, str]]:
    """Find several programs that printed into one log: each has a rank 0, so none was a part of one run."""
    if test.headers > 1 or len(test.ranks) != len(set(test.ranks)):
        yield (
            Code.TOPOLOGY,
            "several programs ran side by side, not one over all ranks: is it built without MPI?",
        )


def _wrong_data(test: Test) -> Iterator[tuple[Code, str]]:
    for row in test.rows:
        if row.wrong > 0:
            yield Code.WRONG_DATA, f"{row.wrong:g} elements of {row.size_bytes} bytes came out wrong"
    if any(count > 0 for count in test.out_of_bounds):
        yield Code.WRONG_DATA, f"{max(test.out_of_bounds):g} values are out of bounds"


def _gaps(test: Test, *, excerpt: bool) -> Iterator[tuple[Code, str]]:
    """Find what a whole output has and this lacks."""
    whole = test.headers == 1
    if not whole and not excerpt:
        yield Code.UNREADABLE, "the beginning is missing: no line starts with # nThread"
    if sorted(test.ranks) != list(range(len(test.ranks))):
        yield Code.UNREADABLE, "lines of the list of ranks are missing"
    if not test.rows or len(test.out_of_bounds) != 1 or len(test.averages) != 1:
        yield Code.UNREADABLE, "the output is torn: it has no rows, or no footer"
        return
    values = [value for row in test.rows for value in row.busbw_gbps]
    average = test.averages[0]
    if len(test.rows) < test.sizes and not test.reduced:
        yield Code.UNREADABLE, f"{test.sizes} sizes were to be measured, {len(test.rows)} rows are there"
    if not all(math.isfinite(value) and value >= 0 for value in (*values, average, *test.out_of_bounds)):
        yield Code.UNREADABLE, "a bandwidth is not a finite number"
    elif whole and not math.isclose(_mean(values), average, rel_tol=_AGREEMENT, abs_tol=_ROUNDING_GBPS):
        yield (
            Code.UNREADABLE,
            f"rows average {_mean(values):.4g} GB/s, the footer says {average:g}: rows are lost",
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _misfits(test: Test, communicators: set[int], asked: Asked) -> Iterator[tuple[Code, str]]:
    ranks = {len(test.ranks)} if test.ranks else communicators
    if (asked.hosts and not test.hosts) or (asked.ranks and not ranks):
        yield Code.UNREADABLE, "the list of ranks and hosts is missing"
    elif ranks == {1}:
        yield Code.TOPOLOGY, "a single rank ran, and had nobody to talk to"
    elif asked.ranks and ranks != {asked.ranks}:
        yield Code.TOPOLOGY, f"{', '.join(map(str, sorted(ranks)))} ranks ran, {asked.ranks} were asked for"
    elif asked.hosts and len(test.hosts) != asked.hosts:
        yield Code.TOPOLOGY, f"{len(test.hosts)} hosts ran, {asked.hosts} were asked for"


def _slowness(test: Test, threshold_gbps: float) -> Iterator[tuple[Code, str]]:
    if not test.busbw_gbps >= threshold_gbps:
        yield Code.SLOW, f"{test.busbw_gbps:g} GB/s at the largest size, below {threshold_gbps:g}"
    if test.below_own_minimum:
        yield Code.SLOW, "the tool's own minimum (NCCL_TESTS_MIN_BW) is not reached on average"
