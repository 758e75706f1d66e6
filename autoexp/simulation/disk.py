"""A network file system: what a node writes is on the server at once, and seen from elsewhere a while later.

One job's writes become visible in their order.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from autoexp.simulation.timeline import Timeline


@dataclass(slots=True)
class Disk:
    """Files on their way from the nodes to the watcher."""

    timeline: Timeline
    tell: Callable[[Path], None]
    """Called with the folder in which something became visible."""
    slowest_s: float
    """How long a file may stay invisible."""
    _hidden: set[Path] = field(default_factory=set)
    _visible_at: dict[Path, float] = field(default_factory=dict)
    """When the last write below a job's directory becomes visible."""

    def create(self, path: Path, text: str) -> bool:
        """Create a file exclusively, which the server decides; say whether it was not there."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        os.write(descriptor, text.encode())
        os.close(descriptor)
        self.tell(path.parent)
        return True

    def put(self, home: Path, path: Path, data: bytes, chance: Random) -> None:
        """Write a file of the job at `home`, whole."""
        self._later(home, path, lambda: _put(path, data, self.timeline.now), chance)

    def append(self, home: Path, path: Path, text: str, chance: Random) -> None:
        """Write on to a file of the job at `home`."""
        self._later(home, path, lambda: _append(path, text, self.timeline.now), chance)

    def exists(self, path: Path) -> bool:
        """Say whether the server has a file, visible or not."""
        return path in self._hidden or path.exists()

    def _later(self, home: Path, path: Path, write: Callable[[], None], chance: Random) -> None:
        slow = chance.random() < 0.3  # noqa: PLR2004 - most writes are seen soon
        at = self.timeline.now + chance.uniform(0, self.slowest_s if slow else 1.0)
        at = self._visible_at[home] = max(at, self._visible_at.get(home, at))
        self._hidden.add(path)

        def appear() -> None:
            self._hidden.discard(path)
            write()
            self.tell(path.parent)

        self.timeline.after(at - self.timeline.now, appear)


def _put(path: Path, data: bytes, now: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    os.utime(draft, (now, now))
    draft.replace(path)


def _append(path: Path, text: str, now: float) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
    os.utime(path, (now, now))
