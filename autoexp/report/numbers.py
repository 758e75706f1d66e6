"""Numbers as files hold them: read if they are what they should be, None otherwise. Pure.

A damaged file can hold numbers that no training comes to; sums of them would be infinite, so they are none too.
"""

from collections.abc import Sequence
from statistics import median

LARGEST = 1e30
LARGEST_WHOLE = 10**15
SHORTEST_S = 1e-9


def finite(value: object) -> float | None:
    """Read a finite number of a possible size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None


def whole(value: object) -> int | None:
    """Read a positive whole number of a possible size, however an argument spells it."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    number = finite(value)
    return int(number) if number is not None and 0 < number <= LARGEST_WHOLE and number.is_integer() else None


def duration_s(value: object) -> float | None:
    """Read a duration that something can be divided by."""
    number = finite(value)
    return number if number is not None and number >= SHORTEST_S else None


def middle(values: Sequence[float]) -> float | None:
    """Return the median, if there are any values."""
    return median(values) if values else None
