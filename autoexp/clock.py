"""Time for decisions: it never jumps, however the wall clock is set, and it counts while a machine sleeps."""

import time

_WALL_AT_START = time.time()
_BOOT_AT_START = time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> float:
    """Return seconds since the epoch, by the wall clock of our start and the steady clock since."""
    return _WALL_AT_START + time.clock_gettime(time.CLOCK_BOOTTIME) - _BOOT_AT_START
