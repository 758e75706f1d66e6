"""Programs that conditions ask: run beside the watcher, one at a time for each question, and never waited for."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from autoexp import clock
from autoexp.conditions import Question

T = TypeVar("T")
AGAIN_AFTER_S = 30.0
"""How old an answer is when its question is asked again."""
LOOK_S = 0.25
"""How often we look whether one has ended."""


@dataclass(slots=True)
class Inquiries(Generic[T]):
    """What runs, and what it last came to; whoever asked (a `T`) is told once there is news."""

    _running: dict[tuple[T, Question], "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _said: dict[tuple[T, Question], tuple[float, int]] = field(default_factory=dict)

    def answer(self, asker: T, question: Question, folder: Path) -> int | None:
        """Return 1 if the program succeeded last time, 0 if not, None if it has not ended yet; ask it again if need be.

        Raises:
            OSError: it cannot be started.
        """
        key = asker, question
        at, status = self._said.get(key, (float("-inf"), None))
        if key not in self._running and clock.now() - at >= AGAIN_AFTER_S:
            self._running[key] = _start(question, folder)
        return status

    def ended(self) -> Iterator[T]:
        """Take what has ended; yield who asked."""
        for key, process in list(self._running.items()):
            if (code := process.poll()) is not None:
                del self._running[key]
                self._said[key] = clock.now(), int(code == 0)
                yield key[0]

    def due_in_s(self) -> float | None:
        """Say when `ended` is next worth calling."""
        return LOOK_S if self._running else None

    def close(self) -> None:
        """End what runs."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()


def _start(question: Question, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a program that ends in time, whatever becomes of us: coreutils' timeout sees to it."""
    quiet = subprocess.DEVNULL
    words = ("timeout", "--signal=KILL", str(question.timeout_s), *question.words)
    return subprocess.Popen(  # noqa: S603 - the recipe's own program
        words, cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
