"""Watching where nothing tells us of changes: each directory is looked at by itself, at a bounded rate.

What changes is looked at sooner, what does not later. A look lists the directory, which network file systems answer
anew where they may answer a stat from a cache, and stats the files in it; what lies in sub-directories costs nothing.
Where there are too many directories for the rate, it is those in which nothing happens that wait longer.
"""

import math
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TypeAlias
from zlib import crc32

Folder: TypeAlias = "str | os.PathLike[str]"
SOONER, LATER = 0.5, 1.5
"""What the time to the next look is multiplied by, after a change and without one."""
LONGEST = 10
"""How many times `poll_s` the longest time between two looks is, unless there are too many directories for that."""
IDLE_SHARE = 0.5
"""How much of the rate may go to directories in which nothing happens."""
MOST_FILES = 200
"""How many files of a directory are looked at; of more, names tell that some came or went."""
BATCH_S = 0.05
"""For so long is looked ahead of the rate, and then rested."""
Seen: TypeAlias = "frozenset[tuple[str, int, int, int]] | None"
"""The entries of a directory: name, inode, and of files size and time of change in ns; None if it cannot be listed."""


@dataclass(slots=True)
class _Place:
    """A directory that is looked at."""

    hint: Hashable
    every_s: float
    due: float
    was_there: bool = False
    seen: Seen = None


class PollingObserver:
    """Looks at the directories in turn; the first look at each is a hint too, for it tells what is there."""

    name = "poll"

    def __init__(
        self,
        poll_s: float,
        most_per_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._poll_s = poll_s
        self._most_per_s = most_per_s
        self._now = now
        self._sleep = sleep
        self._places: dict[str, _Place] = {}
        self._queue: list[tuple[float, str]] = []
        self._rested_at = 0.0
        """From when on the rate allows the next look."""

    def add(self, folder: Folder, hint: Hashable) -> None:
        """Look at a directory from now on. Again is harmless, and so is a missing directory."""
        path = os.fspath(folder)
        if path not in self._places:
            due = self._now() + self._poll_s * crc32(os.fsencode(path)) / 2**32  # not all at the same moment
            self._places[path] = _Place(hint, self._poll_s, due)
            heappush(self._queue, (due, path))

    def remove(self, folder: Folder) -> None:
        """Look at a directory no longer."""
        if self._places.pop(os.fspath(folder), None) is not None and len(self._queue) > 2 * len(self._places) + 100:
            self._queue = [(place.due, path) for path, place in self._places.items()]
            heapify(self._queue)

    def due_in_s(self) -> float:
        """Say when the next look is due."""
        if not self._queue:
            return math.inf
        return max(max(self._queue[0][0], self._rested_at - BATCH_S) - self._now(), 0.0)

    def wait(self, timeout_s: float) -> set[Hashable]:
        """Look at what is due until something has changed, or for `timeout_s`; return the hints of what has."""
        until = self._now() + timeout_s
        while not (found := self._look_at_due()) and (left := until - self._now()) > 0:
            self._sleep(min(self.due_in_s(), left))
        return found

    def close(self) -> None:
        """Nothing to do: nothing is open."""

    def _look_at_due(self) -> set[Hashable]:
        found: set[Hashable] = set()
        now = self._now()
        while self._queue and self._queue[0][0] <= now and self._rested_at <= now + BATCH_S:
            due, path = heappop(self._queue)
            place = self._places.get(path)
            if place is not None and place.due == due:
                found |= self._look(path, place, now)
        return found

    def _look(self, path: str, place: _Place, now: float) -> set[Hashable]:
        seen: Seen = None
        cost = 1
        try:
            seen, files = _entries(path)
            cost += files
        except (FileNotFoundError, NotADirectoryError):
            del self._places[path]  # who wants it looked at when it is there adds it again
            return {place.hint} if place.was_there else set()
        except OSError:  # only by name can be seen what is there: it may have changed
            pass
        self._rested_at = max(self._rested_at, now) + cost / self._most_per_s
        has_changed = seen is None or seen != place.seen
        wanted_s = place.every_s * (SOONER if has_changed else LATER)
        longest_s = max(LONGEST * self._poll_s, len(self._places) / (IDLE_SHARE * self._most_per_s))
        place.every_s = min(max(wanted_s, self._poll_s), longest_s)
        place.was_there, place.seen, place.due = True, seen, now + place.every_s
        heappush(self._queue, (place.due, path))
        return {place.hint} if has_changed else set()


def _entries(path: str) -> tuple[frozenset[tuple[str, int, int, int]], int]:
    """List a directory; say of how many files it was asked what they are like now."""
    asked = 0
    told = set()
    with os.scandir(path) as listed:
        for entry in listed:
            is_file = asked < MOST_FILES and entry.is_file(follow_symlinks=False)
            asked += is_file
            told.add(_told(entry) if is_file else (entry.name, entry.inode(), 0, 0))
    return frozenset(told), asked


def _told(entry: "os.DirEntry[str]") -> tuple[str, int, int, int]:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return entry.name, 0, 0, 0
    return entry.name, found.st_ino, found.st_size, found.st_mtime_ns
