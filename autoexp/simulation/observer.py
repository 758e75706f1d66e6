"""Notifications in virtual time: some come late, twice, or never."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from autoexp.polling import Folder
from autoexp.simulation.timeline import Timeline
from autoexp.watch import Hint

LOST, LATE, TWICE = 0.1, 0.2, 0.1
"""How often a notification fails to come, or does so later, or a second time."""
LATEST_S = 600.0


@dataclass(slots=True)
class SimulatedObserver:
    """Waiting for hints is what lets virtual time pass."""

    timeline: Timeline
    chance: Random
    name: str = "simulated"
    _watched: dict[str, Hint] = field(default_factory=dict)
    _hints: dict[Hint, None] = field(default_factory=dict)

    def add(self, folder: Folder, hint: Hint) -> None:
        """Watch a directory."""
        path = os.fspath(folder)
        if path not in self._watched and os.path.isdir(path):  # noqa: PTH112 - a Path for each look is slow
            self._watched[path] = hint

    def remove(self, folder: Folder) -> None:
        """Watch a directory no longer."""
        self._watched.pop(os.fspath(folder), None)

    def happened(self, folder: Path) -> None:
        """Something appeared in a directory."""
        hint, drawn = self._watched.get(str(folder)), self.chance.random()
        if hint is None or drawn < LOST:
            return
        late = drawn < LOST + LATE
        if not late:
            self._hints[hint] = None
        if late or drawn > 1 - TWICE:
            self.timeline.after(self.chance.uniform(0, LATEST_S), lambda: self._hints.update({hint: None}))

    def wait(self, timeout_s: float) -> set[Hint]:
        """Let time pass until there is a hint, or the timeout is over."""
        until = self.timeline.now + timeout_s
        while not self._hints and self.timeline.now < until:
            self.timeline.step(until)
        hints, self._hints = self._hints, {}
        return set(hints)

    def close(self) -> None:
        """Forget everything: who watches next, watches anew."""
        self._watched.clear()
        self._hints.clear()
