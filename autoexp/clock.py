"""Time for decisions: it never jumps, however the wall clock is set, and it counts while a machine sleeps."""

import time

_WALL_AT_START = time.time()
_BOOT_AT_START = time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> float:
    """Return seconds since the epoch, by the wall clock of our start and the steady clock since.

    They are whole microseconds, as the journal writes them: what is read back is what was decided on.
    """
    return round(_WALL_AT_START + time.clock_gettime(time.CLOCK_BOOTTIME) - _BOOT_AT_START, 6)
