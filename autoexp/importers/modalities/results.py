"""The results that sweeps of Modalities leave behind: `<time>_<sweep>/<ranks>/<configuration>_<time>/`."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autoexp.errors import AutoexpError
from autoexp.importers.modalities.sweep import distinct

_TIME = r"\d{4}-\d\d-\d\d__\d\d-\d\d-\d\d"
_SWEEP = re.compile(rf"{_TIME}_[0-9a-f]+")
_RUN = re.compile(rf"([0-9a-f]+)_({_TIME})")


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration at one world size, its newest try."""

    file: Path
    world: int
    config: str
    """Its hash."""
    time: str

    def values(self) -> Mapping[str, Any]:
        """Read what was swept; nothing if the configuration cannot be read."""
        try:
            found = yaml.safe_load(self.file.read_text(encoding="utf-8"))["sweep"]
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
            return {}
        return found if isinstance(found, Mapping) else {}

    def said(self) -> str:
        """Say how far it came, and what ended it as far as it told."""
        folder = self.file.parent
        errors = sorted({kind for log in folder.rglob("error_logs_*.log") if (kind := _kind(log))})
        steps = [record.get("num_train_steps_done") for record in _records(folder / "evaluation_results.jsonl")]
        last = max((step for step in steps if isinstance(step, int)), default=0)
        ended = f", then {', '.join(errors)}" if errors else ""
        return f"step {last}{ended}" if last or errors else "no step"


@dataclass(frozen=True, slots=True)
class Results:
    """The runs of one sweep."""

    runs: tuple[Run, ...]
    others: int
    """How many other sweeps the folder holds."""

    @property
    def file(self) -> Path:
        """A configuration to begin from."""
        return self.runs[-1].file

    def worlds(self) -> list[int]:
        """List the world sizes."""
        return sorted({run.world for run in self.runs})

    def sweep(self) -> Any:
        """Put the runs' values together as the sweep they are of: mappings may be the alternatives themselves."""
        values = _different([found for run in self.runs if (found := run.values())])
        if not values:
            return {}
        deep = _joined(values)
        return deep if _count(deep) == len(values) else _joined(values, deep=False)

    def told(self) -> Iterator[str]:
        """Say what was run, and what came of it."""
        if self.others:
            yield f"{self.others} older sweeps there are left out; give one's own folder to import it"
        made, ran = _count(self.sweep()), len({run.config for run in self.runs})
        if made != ran:
            yield f"{ran} configurations are there, and the recipe's sweep comes to {made}: all that may be combined"
        for world in self.worlds():
            counts = Counter(run.said() for run in self.runs if run.world == world)
            ends = "; ".join(f"{count} came to {end}" for end, count in sorted(counts.items()))
            yield f"world {world}: {sum(counts.values())} configurations: {ends}"


def read(folder: Path) -> Results:
    """Find the newest sweep's runs in a folder of sweeps, or those of a sweep's own folder.

    Raises:
        AutoexpError: there are none.
    """
    own = folder.absolute()
    sweeps = [own] if _SWEEP.fullmatch(own.name) else sorted(p for p in own.glob("*") if _SWEEP.fullmatch(p.name))
    newest = {(run.world, run.config): run for sweep in sweeps[-1:] for run in sorted(_runs(sweep), key=_by_time)}
    if not newest:
        why = "it has no folder such as 2026-05-01__12-00-00_0123456789abcdef/2/89abcdef01234567_2026-05-01__12-00-00"
        raise AutoexpError(f"{folder} holds no results of Modalities'", why=why, fix="name its folder of experiments")
    return Results(tuple(newest.values()), len(sweeps) - 1)


def _by_time(run: Run) -> tuple[str, int, str]:
    return run.time, run.world, run.config


def _runs(sweep: Path) -> Iterator[Run]:
    """List all tries; whatever else lies there is left alone."""
    for file in sweep.glob("*/*/*.yaml"):
        found = _RUN.fullmatch(file.parent.name)
        if found and file.parent.parent.name.isdecimal():
            yield Run(file, int(file.parent.parent.name), found[1], found[2])


def _joined(values: list[Any], *, deep: bool = True) -> Any:
    """Join configurations to a sweep: mappings of the same keys key by key, all else to alternatives."""
    alike = all(isinstance(value, Mapping) and value.keys() == values[0].keys() for value in values)
    if alike and values[0]:
        return {key: _joined([value[key] for value in values]) if deep else _apart(values, key) for key in values[0]}
    return _different(values)


def _apart(values: list[Any], key: str) -> list[Any]:
    return _different([value[key] for value in values])


def _different(values: list[Any]) -> list[Any]:
    found = distinct(values)
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _count(swept: Any) -> int:
    """Count what a sweep comes to."""
    return math.prod(map(_count, swept.values())) if isinstance(swept, Mapping) else len(swept)


def _records(file: Path) -> Iterator[Mapping[str, Any]]:
    """Read results line by line; a torn line, or another one, is no record."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, Mapping) and record.get("dataloader_tag") == "train":
            yield record


def _kind(log: Path) -> str:
    """Name the exception that a rank ended with; an unreadable log of a run that was killed over it names none."""
    try:
        return str(json.loads(log.read_text(encoding="utf-8"))["error"]["type"])
    except (OSError, ValueError, KeyError, TypeError):
        return "an error whose log is torn"
