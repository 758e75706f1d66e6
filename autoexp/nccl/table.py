"""Reads the table that nccl-tests and rccl-tests print.

Grammar: https://github.com/NVIDIA/nccl-tests (src/common.cu, src/util.cu), https://github.com/ROCm/rccl-tests.
Launchers put labels before the lines, and NCCL_DEBUG puts lines of its own between them. Columns are found from the
left, by the table's own heading: what is inserted or appended differs by version.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import TypeVar

from autoexp.nccl.found import Half, Log, Row, Run, Sweep

T = TypeVar("T")

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_LABEL = re.compile(
    r"\s*(?:"
    r"\d+:\s"  # 0: of srun -l
    r"|(?:[A-Z][a-z]{2} [^\[\]]{0,28})?\[[^\[\]\s]*\](?:<std(?:out|err)>)?:\s?"  # [1,0]<stdout>: [default0]: [node:3]:
    r"|\[\d+\]\s"  # [0] of MPICH and Intel MPI
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\s"  # kubectl logs --timestamps, and what else keeps time
    r"|[\w.-]+:\s(?=\s*(?:#\s|\d+\s+\d+\s+[a-z]))"  # node001: of pdsh and clush
    r")"
)
"""What launchers put before each line; several may stand in a row."""

_DEVICE = re.compile(
    r"#\s+Rank\s+(\d{1,9})\s+(?:Group\s+(\d{1,9})\s+)?Pid\s+\d+\s+on\s+(\S+)\s+device\s", re.ASCII | re.IGNORECASE
)
_ROW = re.compile(r"\d{1,18}\s+\d{1,18}\s+[a-z]", re.ASCII)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[+-]?\d{1,3})?|nan|inf)", re.ASCII)
_SWEEP = re.compile(r"minBytes (\d{1,18}) maxBytes (\d{1,18}) step: (\d{1,18})\((factor|bytes)\)", re.ASCII)
_PROCESS = re.compile(r"# nThread (\d{1,6}) nGpus (\d{1,6}) ", re.ASCII)
_REDUCED = re.compile(r"# Reducing maxBytes to (\d{1,18}) ", re.ASCII)
_BOUNDS = re.compile(r"# Out of bounds values : (\d{1,18}) (OK|FAILED)", re.ASCII)
_AVERAGE = re.compile(r"# Avg bus bandwidth\s+: (\S+)(?: (OK|FAILED))?", re.ASCII)
_TROUBLE = re.compile(r"\bTest (?:(timeout)|(?:NCCL |CUDA |HIP )?failure)\b|# error:", re.ASCII)
_NCCL = re.compile(r"(\S+?):\d+:\d+ \[\d+\] NCCL ", re.ASCII)
_RANKS = re.compile(r"\bnranks (\d{1,9})\b", re.ASCII)
_TIME_LIMIT = re.compile(r"\*\*\* (?:JOB|STEP) .*DUE TO TIME LIMIT", re.ASCII)

COLUMNS = ("size", "count", "type", "redop", "root", *("time", "algbw", "busbw", "#wrong") * 2)
"""The table's columns since its first version, for a log that lost its heading."""

_LONGEST_LINE = 4096
"""No line of a benchmark is as long; what is must not keep the patterns busy."""
_READ = ("algbw", "busbw", "#wrong", "error")
_TOLERATED = {"half": 1e-2, "bfloat16": 1e-2, "float": 1e-3, "double": 1e-3}
"""How far the sums of old versions, which print the largest error, may be off; of whole numbers none is."""


def bare(line: str) -> str:
    """Take colours and launchers' labels off a line."""
    line, begin = _COLOR.sub("", line[:_LONGEST_LINE]), 0
    while label := _LABEL.match(line, begin):
        begin = label.end()
    return line[begin:].strip()


def number(word: str) -> float | None:
    """Read a number as C prints it; None if it is none."""
    return float(word) if _NUMBER.fullmatch(word) else None


def read(log: Log, text: str) -> None:
    """Add what the text holds of such tables, and of what their programs and NCCL say besides."""
    columns: Sequence[str] = COLUMNS
    for raw in text.splitlines():
        line = bare(raw)
        if line.startswith("#") and line.split()[1:3] == ["size", "count"]:
            columns = line.split()[1:]
            _read_heading(log)
        elif line.startswith("#"):
            _read_comment(log, line)
        elif _ROW.match(line):
            _keep(log.broken, line, log.current().rows, _read_row(line.split(), columns))
        _read_trouble(log, line)
    last = text.rpartition("\n")[2]
    if bare(last).startswith("# Avg bus bandwidth"):  # a line follows it in every version, and half a number is one
        log.broken.append(f"the last line may be cut: {bare(last)}")


def _keep(broken: list[str], line: str, found: list[T], value: T | None) -> None:
    if value is None:
        broken.append(line)
    else:
        found.append(value)


def _read_comment(log: Log, line: str) -> None:
    if line.startswith("# nThread "):
        _read_header(log.begin(), line)
    elif line.startswith("# nccl-tests version"):
        log.begin()
    elif line.startswith("# Collective test starting"):
        log.begin().is_open = True
    elif line.startswith("# Collective test concluded"):
        log.current().is_open = False
    elif reduced := _REDUCED.match(line):
        _reduce(log.current(), int(reduced[1]))
    elif device := _DEVICE.match(line):
        run = log.current()
        run.ranks.append(int(device[1]))
        run.groups.add(device[2] or "0")
        run.hosts.add(device[3])
    elif line.startswith("# Out of bounds values"):
        bounds = _BOUNDS.fullmatch(line)
        agrees = bounds is not None and (int(bounds[1]) == 0) is (bounds[2] == "OK")
        _keep(log.broken, line, log.current().out_of_bounds, number(bounds[1]) if bounds and agrees else None)
    elif line.startswith("# Avg bus bandwidth"):
        average = _AVERAGE.fullmatch(line)
        _keep(log.broken, line, log.current().averages, number(average[1]) if average else None)
        log.current().below_own_minimum |= bool(average and average[2] == "FAILED")
    elif line.endswith(" FAILED"):  # of a check that only newer versions have
        log.errors.append(line)


def _read_heading(log: Log) -> None:
    """Begin a new run, where an excerpt lacks the lines before it."""
    if log.current().averages:
        log.begin()
    log.current().has_heading = True


def _read_header(run: Run, line: str) -> None:
    run.headers += 1
    if sizes := _SWEEP.search(line):
        first, last, step = (int(sizes[group]) for group in (1, 2, 3))
        run.sweep = Sweep(first_bytes=first, last_bytes=last, step=step, by_factor=sizes[4] == "factor")
    if process := _PROCESS.match(line):
        run.per_process = max(1, int(process[1]) * int(process[2]))


def _reduce(run: Run, last_bytes: int) -> None:
    """Take the largest sizes away that the tool has no memory for; several processes may say so, each for itself."""
    if old := run.sweep:
        least = min(old.last_bytes, last_bytes)
        run.sweep = Sweep(first_bytes=old.first_bytes, last_bytes=least, step=old.step, by_factor=old.by_factor)


def _read_row(words: list[str], columns: Sequence[str]) -> Row | None:
    """Read a row by its table's columns; words beyond them (a date, with -S) are let be."""
    if "redop" in columns[3:4] and words[3:4] and not words[3][0].isalpha():
        words.insert(3, "")  # an all-gather of old versions reduces by nothing, and says nothing
    if len(words) < len(columns):
        return None
    cells = {name: [words[i] for i, column in enumerate(columns) if column == name] for name in _READ}
    values = {name: [number(word.rstrip("*")) for word in cells[name] if word != "N/A"] for name in _READ}
    if None in chain(*values.values()) or not values["busbw"] or len(values["algbw"]) != len(values["busbw"]):
        return None
    algbw, busbw, wrong, errors = ([value or 0.0 for value in values[name]] for name in _READ)
    absurd = sum(not abs(error) <= _TOLERATED.get(words[2], 0.0) for error in errors)  # nor is what is no number
    starred = sum(word.endswith("*") for word in words)  # rccl-tests marks errors beyond its maximum so
    halves = tuple(Half(algbw_gbps=a, busbw_gbps=b) for a, b in zip(algbw, busbw, strict=True))
    return Row(
        size_bytes=int(words[0]), halves=halves, text=" ".join(words), wrong=sum(map(abs, wrong)) or starred or absurd
    )


def _read_trouble(log: Log, line: str) -> None:
    log.reports.take(line)
    if trouble := _TROUBLE.search(line):
        (log.timeouts if trouble[1] else log.errors).append(line)
    elif line.startswith("Invalid number of GPUs"):
        log.too_few_gpus.append(line)
    elif _TIME_LIMIT.search(line):
        log.time_limits.append(line)
    elif speaker := _NCCL.match(line):
        log.speakers.add(speaker[1])
        log.communicators.update(int(count) for count in _RANKS.findall(line))
