"""What stands in the shell scripts around Modalities' sweeps, and nowhere else."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_PREPARES = re.compile(r"prepare_sweep_configs\b[^\n;]*")
_SWEEP = re.compile(r"--sweep_config_path[= ]+[\"']?([^\s\"']+)")
_WORLDS = re.compile(r"--world_sizes[= ]+[\"']?(\d+(?:\s*,\s*\d+)*)")
_GPUS = re.compile(r"--gres=gpu:(?:\w+:)?(\d+)")


@dataclass(frozen=True)
class Scripts:
    """The scripts of a sweep: beside it, above it, and in a folder `scripts` there."""

    file: Path

    @cached_property
    def _found(self) -> Mapping[Path, str]:
        return {path: path.read_text(encoding="utf-8", errors="replace") for path in self._listed()}

    def _listed(self) -> Iterator[Path]:
        here = self.file.absolute().parent
        for kind in ("*.sh", "*.sbatch"):
            for folder in (here, here.parent):
                yield from folder.glob(kind)
                yield from (folder / "scripts").rglob(kind)

    def worlds(self) -> list[int]:
        """List the world sizes that the sweep was prepared for; none if no script tells."""
        for text in self._found.values():
            for command in _PREPARES.findall(text.replace("\\\n", " ")):
                swept, sizes = _SWEEP.search(command), _WORLDS.search(command)
                if swept and sizes and Path(swept[1]).name == self.file.name:
                    return sorted({int(size) for size in sizes[1].split(",")})
        return []

    def gpus_per_node(self) -> int | None:
        """Return how many GPUs a node has; None if no script tells."""
        found = (_GPUS.search(text) for text in self._found.values())
        return next((int(each[1]) for each in found if each), None)

    def workdir(self, relative: list[str]) -> Path | None:
        """Find the folder where relative paths begin: where one of them is; None if that is nowhere."""
        here = self.file.absolute().parent
        folders = (here, here.parent, *(path.parent for path in self._found))
        return next((folder for folder in folders if any((folder / path).exists() for path in relative)), None)


def relative_paths(value: Any, key: str = "") -> Iterator[str]:
    """List the relative paths that a configuration names under keys such as `train_dataset_path`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from relative_paths(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from relative_paths(item, key)
    elif isinstance(value, str) and key.endswith("_path") and "${" not in value and not value.startswith(("/", "~")):
        yield value
