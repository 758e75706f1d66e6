"""Time for decisions: it never jumps, however the wall clock is set, and it counts while a machine sleeps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WALL_AT_START = time.time()
_BOOT_AT_START = time.clock_gettime(time.CLOCK_BOOTTIME)


def _real() -> float:
    return _WALL_AT_START + time.clock_gettime(time.CLOCK_BOOTTIME) - _BOOT_AT_START


_source: Callable[[], float] = _real


def now() -> float:
    """Return seconds since the epoch, by the wall clock of our start and the steady clock since.

    They are whole microseconds, as the journal writes them: what is read back is what was decided on.
    """
    return round(_source(), 6)


@contextmanager
def simulated(source: Callable[[], float]) -> Iterator[None]:
    """Take the time from somewhere else for a while."""
    global _source  # noqa: PLW0603 - there is one clock
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before
