"""Alarms: when to look at something again. At most one for each key, the earliest that was asked for."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=tuple[object, ...])


@dataclass(slots=True)
class Alarms(Generic[K]):
    """The alarms that are set; a look that finds its alarm still needed sets it anew."""

    _when: dict[K, float] = field(default_factory=dict)
    _queue: list[tuple[float, K]] = field(default_factory=list)
    """Every time that was ever set and is not over; what `_when` does not say any more is void."""

    def set(self, key: K, when: float) -> None:
        """Ring for this key at this time, unless it will ring before."""
        if when < self._when.get(key, float("inf")):
            self._when[key] = when
            heapq.heappush(self._queue, (when, key))

    def due(self, now: float) -> Iterator[K]:
        """Yield the keys whose time has come, each once."""
        while self._queue and self._queue[0][0] <= now:
            when, key = heapq.heappop(self._queue)
            if self._when.get(key) == when:
                del self._when[key]
                yield key

    def next_at(self) -> float | None:
        """Say when the next one rings, or would if it were not void; None without any."""
        return self._queue[0][0] if self._queue else None
