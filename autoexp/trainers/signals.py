"""The signals by which a training is asked to save and end: SIGTERM, and SIGUSR2 ahead of a time limit."""

import signal
from types import FrameType


class Signals:
    """Remembers whether the process was asked to stop."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
