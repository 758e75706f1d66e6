"""What keeps restarts fast while a root is watched: snapshot.json now and then, files of a bounded size, sealed ones.

All of it is done between moves, in short steps; what fails is told, and tried again. None of it is ever needed.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autoexp import recall, sealing
from autoexp.errors import AlreadyWatched, AutoexpError, TakenOver
from autoexp.journal import Journal, Mark
from autoexp.lease import Lease

SEGMENT_BYTES = 16 << 20
"""A longer file is ended, and another one begun."""
SNAPSHOT_MOVES = 10_000
"""How many moves a restart may have to read."""
SLICE_S = 0.03
"""How long sealing may keep the engine waiting."""
PATIENCE_S = 60.0
"""How long after a failure it is tried again."""


@dataclass(slots=True)
class Upkeep:
    """The upkeep of a journal that is being written."""

    journal: Journal
    var: Path
    lease: Lease
    saved: Mark | None = None
    """The place that snapshot.json is of."""
    problem: str | None = None
    """What could not be done."""
    _sealing: Iterator[None] | None = field(init=False)
    """What is left to seal; None if nothing is."""
    _again_at: float = -math.inf

    def __post_init__(self) -> None:
        self._sealing = self._left_to_seal()

    def tend(self, now: float) -> str | None:
        """Do what is due, for a moment; return what could not be done.

        Raises:
            TakenOver: another watcher has begun the journal's next file.
        """
        if now >= self._again_at:
            self._try(self._step, now)
        return self.problem

    def due_in_s(self, now: float) -> float:
        """Say when `tend` has something to do that no move leads to."""
        return math.inf if self._sealing is None else max(self._again_at - now, 0.0)

    def close(self, now: float) -> str | None:
        """Write snapshot.json a last time, if there is anything new; return why that could not be done."""
        if self.saved is None or self.journal.seq != self.saved.seq:
            self._try(self._save, now)
        return self.problem

    def _try(self, deed: Callable[[float], None], now: float) -> None:
        try:
            deed(now)
        except AlreadyWatched:
            raise
        except (AutoexpError, OSError) as error:
            self.problem, self._again_at = str(error), now + PATIENCE_S
            self._sealing = self._left_to_seal()
        else:
            self.problem = None if self._sealing is None else self.problem

    def _step(self, now: float) -> None:
        mark = self.journal.mark
        if mark is not None and mark.length >= SEGMENT_BYTES:
            self._begin_next(now)
            self._save(now)
        elif mark is not None and mark.seq - (self.saved.seq if self.saved else 0) >= self._moves_between():
            self._save(now)
        self._seal()

    def _begin_next(self, now: float) -> None:
        try:
            self.journal.begin_next(now)
        except FileExistsError as error:
            why = f"{error}, so somebody else watches the root"
            raise TakenOver("the journal is no longer ours to write", why=why, fix="leave it to that one") from error
        self.lease.name_epoch(self.journal.epoch, self.journal.path)
        self._sealing = self._left_to_seal()

    def _save(self, _: float) -> None:
        if self.journal.mark is not None:
            recall.save(self.var, self.journal.mark, self.journal.standings)
            self.saved = self.journal.mark

    def _moves_between(self) -> int:
        """Return how many moves are worth a snapshot: writing it must stay cheap beside them."""
        return max(SNAPSHOT_MOVES, self.journal.standings.count())

    def _left_to_seal(self) -> Iterator[None]:
        kept = self.saved.epoch if self.saved else None
        return sealing.seal(recall.folder_of(self.var), self.journal.epoch, kept)

    def _seal(self) -> None:
        until = time.monotonic() + SLICE_S
        while self._sealing is not None and time.monotonic() < until:
            if next(self._sealing, self) is self:
                self._sealing = None
