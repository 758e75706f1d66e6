"""Virtual time: what is to happen, and when."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class Timeline:
    """Events in the order of their times; those of the same time, in the order in which they were planned."""

    now: float
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Plan an event."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._numbers), event))

    def step(self, until: float) -> None:
        """Go on to the next event and let it happen, or to `until` if that comes first."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until)
            return
        self.now, _, event = heapq.heappop(self._events)
        event()

    def advance(self, until: float) -> None:
        """Let everything happen up to a time."""
        while self.now < until:
            self.step(until)
