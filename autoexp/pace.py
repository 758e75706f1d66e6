"""How often a scheduler may be asked: soon where something is expected, rarely where nothing is, never too often."""

from dataclasses import dataclass

SHORTEST_S = 15.0
"""How often the scheduler is asked while its answer is needed soon."""
LONGEST_S = 900.0
"""How often it is asked while nothing happens."""
LONGEST_SILENT_S = 600.0
"""How often it is asked while it does not answer."""
SLOWER = 1.5
BURST = 8
"""How many questions may follow each other that quickly."""
REFILL_S = 72.0
"""How long it takes until another one may: with the burst that makes fewer than sixty in any hour."""


@dataclass(slots=True)
class Pace:
    """When the next question is due."""

    floor_s: float = 0.0
    """What a site asks for: never more often than this."""
    asked_at: float = float("-inf")
    _pause_s: float = SHORTEST_S
    _allowance: float = BURST
    _filled_at: float = float("-inf")

    def due_at(self) -> float:
        """Say when the next question may be asked."""
        scarce = max(1.0 - self._allowance, 0.0) * max(REFILL_S, self.floor_s)
        return self.asked_at + max(self._pause_s, self.floor_s, scarce)

    def soonest_at(self) -> float:
        """Say when it might be asked if somebody needed the answer badly."""
        return self.asked_at + max(SHORTEST_S, self.floor_s)

    def asked(self, now: float) -> None:
        """Take note of a question."""
        refilled = (now - self._filled_at) / max(REFILL_S, self.floor_s)
        self._allowance = max(min(self._allowance + refilled, BURST) - 1, 0)
        self.asked_at = self._filled_at = now

    def hurry(self) -> None:
        """Something is expected."""
        self._pause_s = SHORTEST_S

    def relax(self) -> None:
        """Nothing is expected."""
        self._pause_s = min(self._pause_s * SLOWER, LONGEST_S)

    def despair(self) -> None:
        """It did not answer."""
        self._pause_s = min(self._pause_s * 2, max(LONGEST_SILENT_S, self._pause_s))
