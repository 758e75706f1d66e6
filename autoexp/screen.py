"""A terminal that shows lines, of which only those are written that have changed: it may be at the end of a slow line.

It needs no more than a cursor that can be placed. Nothing of the terminal's settings is changed, so nothing is left
behind, however we end; the last picture stays.
"""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from autoexp.overview import Size

USUAL = Size(80, 24)
MOST_TYPED = 4096


@dataclass(slots=True)
class Screen:
    """Standard output, as a screen to draw on; standard input wakes it up."""

    output: int
    encoding: str
    _size: Size | None = None
    """What it had room for when it was drawn on; None to draw all of it anew."""
    _lines: list[str] = field(default_factory=list)
    _is_open: bool = True
    """Whether somebody may type something."""

    def __enter__(self) -> Self:
        self._write("\n" * (self.size().lines - 1))  # what is there scrolls away, and is not lost
        signal.signal(signal.SIGCONT, lambda *_: self.spoil())
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        self._write(f"\x1b[{len(self._lines) + 1};1H\x1b[J")

    def size(self) -> Size:
        """Say what it has room for now."""
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self.output)
            return Size(columns, lines) if columns > 0 and lines > 0 else USUAL
        return USUAL

    @property
    def room(self) -> Size:
        """What may be drawn: a column less, for terminals differ in what the last does, and a line for the cursor."""
        columns, lines = self.size()
        return Size(columns - 1, lines - 1)

    @property
    def is_spoiled(self) -> bool:
        """Whether something else may stand on it than what was drawn."""
        return self._size != self.size()

    def spoil(self) -> None:
        """Draw all of it anew next time."""
        self._size = None

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, in one write."""
        size = self.size()
        before = self._lines if size == self._size else []
        written = "" if size == self._size else "\x1b[H\x1b[2J"
        for number in range(max(len(lines), len(before))):
            new = lines[number] if number < len(lines) else ""
            if new != (before[number] if number < len(before) else ""):
                written += f"\x1b[{number + 1};1H\x1b[K{new}"
        self._size, self._lines = size, list(lines)
        if written:
            self._write(f"{written}\x1b[{size.lines};1H")

    def wait(self, seconds: float) -> bool:
        """Let time pass; False once whoever looks on has closed the input (Ctrl-D). Enter draws all of it anew."""
        watched = [sys.stdin.fileno()] if self._is_open and _is_ours() else []
        if select.select(watched, [], [], seconds)[0]:
            self.spoil()
            self._is_open = bool(os.read(watched[0], MOST_TYPED))
            return self._is_open or not os.isatty(watched[0])
        return True

    def _write(self, text: str) -> None:
        data = text.encode(self.encoding, "replace")
        while data:
            data = data[os.write(self.output, data) :]


def _is_ours() -> bool:
    """Say whether what is typed is for us: in the background it is not, and who reads it then is stopped."""
    if sys.stdin is None or sys.stdin.closed:
        return False
    try:
        return not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # the terminal is gone
        return False
