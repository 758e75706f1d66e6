"""Reads what the PyTorch benchmarks of https://github.com/stas00/ml-engineering (network/benchmarks) print.

Newer ones print a table of payloads, older ones two lines for one payload. They check no results, list no ranks or
hosts, and have no footer. GBps is 10^9 bytes a second, GiB (and their KB, MB, GB in a table) a power of 1024.
"""

import re
from collections.abc import Sequence

from autoexp.nccl.found import Half, Log, Row, Run
from autoexp.nccl.table import bare, number

_TABLE = re.compile(r"The average bandwidth .*\bover (\d{1,9}) ranks\b", re.ASCII)
_SINGLE = re.compile(
    r"The average bandwidth of \w+ with a ([\d.]{1,20})GB payload \(\d+ trials, (\d{1,9}) ranks\):", re.ASCII
)
_HEADING = re.compile(r"\| payload +\|(.*)\|", re.ASCII)
_ROW = re.compile(r"\| +(\d{1,18})([KMGTPE]?)i?B +\|(.*)\|", re.ASCII)
_RATE = re.compile(r"(algbw|busbw): (\S+) GBps \(\S+ Gbps\)", re.ASCII)
_UNITS = " KMGTPE"


def read(log: Log, text: str) -> None:
    """Add what the text holds of such outputs."""
    columns: Sequence[str] = ()
    rates: dict[str, float | None] = {}
    for line in map(bare, text.splitlines()):
        if said := _TABLE.match(line):
            _begin(log, int(said[1]))
        elif single := _SINGLE.match(line):
            rates = {"bytes": (number(single[1]) or 0.0) * 1e9}
            _begin(log, int(single[2]))
        elif heading := _HEADING.match(line):
            columns = [cell.strip() for cell in heading[1].split("|")]
            if not log.runs or log.current().rows:
                _begin(log, None)
        elif rate := _RATE.match(line):
            rates[rate[1]] = number(rate[2])
            if len(rates) == len(("bytes", "algbw", "busbw")):
                _add(log, line, int(rates["bytes"] or 0), rates)
        elif line.startswith("| ") and columns and not line.startswith("| --"):
            _read_row(log, line, columns)


def _begin(log: Log, ranks: int | None) -> None:
    log.runs.append(Run(headers=int(ranks is not None), said_ranks=ranks, has_footer=False))


def _read_row(log: Log, line: str, columns: Sequence[str]) -> None:
    row = _ROW.fullmatch(line)
    cells = [cell.strip() for cell in row[3].split("|")] if row else []
    if row is None or len(cells) != len(columns):
        log.broken.append(line)
        return
    rates = {
        name: number(cell.removesuffix("GBps")) for name, cell in zip(columns, cells, strict=True) if "GBps" in cell
    }
    _add(log, line, int(row[1]) << 10 * _UNITS.index(row[2] or " "), rates)


def _add(log: Log, line: str, size_bytes: int, rates: dict[str, float | None]) -> None:
    algbw, busbw = rates.get("algbw"), rates.get("busbw")
    if algbw is None or busbw is None:
        log.broken.append(line)
    else:
        log.current().rows.append(Row(size_bytes=size_bytes, halves=(Half(algbw_gbps=algbw, busbw_gbps=busbw),)))
