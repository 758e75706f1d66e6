"""What GPUs did while a job ran, as nvidia-smi wrote it down beside it (the hook gpu_monitor). Any of its CSV will do.

Rule 1: columns are known by their titles, so other fields, another order and units in the cells or not are all one.
Rule 2: a value that is not there (`[N/A]`), and a line that is torn, count for nothing.
Rule 3: a GPU is asked how busy it was while it held at least half of the most that it ever held: before and after that
no training was loaded.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from autoexp.files import open_regular
from autoexp.report.numbers import finite

PATTERN = "gpus*.csv"
MIB = 1 << 20
_NAMES = ("uuid", "index")
"""What tells the GPUs of a node apart, the best first."""
_LOADED = 0.5


@dataclass(slots=True)
class Gpu:
    """The samples of one."""

    used: list[float] = field(default_factory=list)
    """MiB."""
    busy: list[float | None] = field(default_factory=list)
    """Per cent."""

    @property
    def busy_percent(self) -> float | None:
        """How busy it was while a training was loaded."""
        loaded = _LOADED * max(self.used, default=0.0)
        pairs = zip(self.busy, self.used, strict=True)
        told = [busy for busy, used in pairs if used >= loaded and busy is not None]
        return fmean(told) if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What all of a job's GPUs come to."""

    busy_percent: float | None = None
    """The mean over them."""
    peak_bytes: tuple[int, ...] = ()
    """The most that was in use of each, by anybody, as often as it was looked at."""


def read_gpus(job_dir: Path) -> Gpus:
    """Read the samples of all attempts; what cannot be read is not there."""
    found: dict[tuple[str, str], Gpu] = {}
    for path in sorted(job_dir.glob(f"attempts/*/{PATTERN}")):
        for row in _rows(path):
            name = next((row[name] for name in _NAMES if row.get(name)), "")
            used = _number(row.get("memory.used"))
            if used is not None:
                gpu = found.setdefault((path.name, name), Gpu())
                gpu.used.append(used)
                gpu.busy.append(_number(row.get("utilization.gpu")))
    told = [gpu.busy_percent for gpu in found.values() if gpu.busy_percent is not None]
    peaks = tuple(round(max(gpu.used)) * MIB for gpu in found.values())
    return Gpus(busy_percent=fmean(told) if told else None, peak_bytes=peaks if any(peaks) else ())


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    try:
        with open_regular(path) as file:
            text = file.read().decode(errors="replace")
    except OSError:
        return
    titles: list[str] = []
    whole, _, _torn = text.rpartition("\n")
    for cells in csv.reader(whole.replace("\0", "").splitlines(), skipinitialspace=True, quoting=csv.QUOTE_NONE):
        if cells and cells[0] == "timestamp":  # one for each time that it was started
            titles = [title.partition(" [")[0] for title in cells]
        elif len(cells) == len(titles):
            yield dict(zip(titles, cells, strict=True))


def _number(cell: str | None) -> float | None:
    """Read a cell: `97 %`, `41805 MiB`, `97`; None for `[N/A]` and the like."""
    try:
        number = finite(float((cell or "").partition(" ")[0]))
    except ValueError:
        return None
    return number if number is not None and number >= 0 else None
