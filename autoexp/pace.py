"""How often a scheduler may be asked: soon where something is expected, rarely where nothing is, never too often."""

from dataclasses import dataclass

SHORTEST_S = 15.0
"""How often the scheduler is asked while its answer is needed soon, unless the machine file says otherwise."""
LONGEST_S = 900.0
"""How often it is asked while nothing happens."""
LONGEST_SILENT_S = 600.0
"""How often it is asked while it does not answer."""
SLOWER = 1.5
BURST = 4
"""How many questions may follow each other that quickly."""
SPARING = 4.8
"""How many of the shortest pauses it takes until another one may: 72 s usually, fewer than sixty questions an hour."""
SPARING_S = 72.0
"""The longest that it takes, unless the shortest pause is longer."""


@dataclass(slots=True)
class Pace:
    """When the next question is due."""

    shortest_s: float = SHORTEST_S
    longest_s: float = LONGEST_S
    asked_at: float = float("-inf")
    _pause_s: float = 0.0
    _allowance: float = BURST

    def __post_init__(self) -> None:
        self.hurry()

    @property
    def _refill_s(self) -> float:
        return max(self.shortest_s, min(self.shortest_s * SPARING, SPARING_S))

    def due_at(self) -> float:
        """Say when the next question may be asked."""
        return max(self.asked_at + self._pause_s, self.soonest_at())

    def soonest_at(self) -> float:
        """Say when it might be asked if somebody needed the answer badly."""
        return self.asked_at + max(self.shortest_s, (1.0 - self._allowance) * self._refill_s)

    def keep_up_with(self, remembers_s: float) -> None:
        """Ask so often that two answers have whatever ended, of a scheduler that soon forgets it."""
        self.longest_s = min(LONGEST_S, remembers_s / 3)

    def asked(self, now: float) -> None:
        """Take note of a question."""
        refilled = (now - self.asked_at) / self._refill_s
        self._allowance = max(min(self._allowance + refilled, BURST) - 1.0, 0.0)
        self.asked_at = now

    def hurry(self) -> None:
        """Something is expected."""
        self._pause_s = self.shortest_s

    def relax(self) -> None:
        """Nothing is expected."""
        self._pause_s = min(self._pause_s * SLOWER, max(self.longest_s, self.shortest_s))

    def despair(self) -> None:
        """It did not answer."""
        self._pause_s = max(min(self._pause_s * 2, LONGEST_SILENT_S), self._pause_s)
