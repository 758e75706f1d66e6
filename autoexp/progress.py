"""progress.json: how far running jobs have come, and what the watcher cannot do. For people to read; moves nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp.files import write_json
from autoexp.snapshot import Snapshot

SHORTEST_INTERVAL_S = 1.0


@dataclass(slots=True)
class Progress:
    """What progress.json says next; written at most once a second, and only when something changed."""

    path: Path
    observer: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """What could not be looked at or done, by job, study or root."""
    told: Callable[[str, str], None] = lambda _name, _what: None
    """Hears of every new problem."""
    _changed: bool = True
    _written_at: float = 0.0

    def saw(self, name: str, seen: Snapshot) -> None:
        """Note how far a job's running attempt has come."""
        log = seen.log
        told: dict[str, Any] = {
            "iteration": log.iteration,
            "train_iters": log.train_iters,
            "loss": log.loss,
            "tflops": log.tflops,
            "seconds_per_iteration": log.seconds_per_iteration,
            "unsettled": sorted(seen.unsettled) or None,
            "scheduler": (seen.said.words or None) if seen.said else None,
            "waits": (seen.said.waits or None) if seen.said else None,
        }
        entry = {key: value for key, value in told.items() if value is not None}
        if entry and entry != self.jobs.get(name):
            self.jobs[name] = entry
            self._changed = True

    def watched_by(self, observer: str) -> None:
        """Note how changes are noticed; that changes when a limit is reached."""
        self._changed |= observer != self.observer
        self.observer = observer

    def over(self, name: str) -> None:
        """Forget a job's attempt."""
        self._changed |= self.jobs.pop(name, None) is not None

    def problem(self, name: str, what: str | None) -> None:
        """Note what cannot be done about a job, a study or the root; None when it can be again."""
        if what != self.problems.get(name):
            self._changed = True
            if what is None:
                del self.problems[name]
            else:
                self.problems[name] = what
                self.told(name, what)

    def write(self, now: float, *, at_once: bool = False) -> None:
        """Write what changed, if the last time was long enough ago."""
        if self._changed and (at_once or now - self._written_at >= SHORTEST_INTERVAL_S):
            self._changed, self._written_at = False, now
            data = {"v": 1, "at": now, "observer": self.observer, "jobs": self.jobs, "problems": self.problems}
            write_json(self.path, data, durable=False)

    def due_in_s(self, now: float) -> float | None:
        """Say when `write` has something to do; None if it has nothing."""
        return max(self._written_at + SHORTEST_INTERVAL_S - now, 0.0) if self._changed else None
