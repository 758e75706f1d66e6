"""Quantities as people write them: counts (`100M`), sizes (`4GiB`) and durations (`90s`, `12h`).

The same text means the same everywhere. A bare number is a count, never a duration.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

COUNTS: Mapping[str, int] = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BYTES: Mapping[str, int] = {
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T", "P"), start=1)},
}
SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_NUMBER = r"[+-]?(?:\d[\d_]*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?"
_PART = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


@lru_cache
def parse(text: str) -> int | float:
    """Read any quantity: a count, a size in bytes, or a duration in seconds.

    Raises:
        ValueError: it is none of them; the message names the units.
    """
    text = text.strip()
    if _DURATION.fullmatch(text):
        return _tidy(sum(Fraction(n) * SECONDS[unit] for n, unit in re.findall(r"([\d.]+)([smhd])", text)))
    match = _PART.fullmatch(text)
    scale = None if match is None else {**COUNTS, **BYTES}.get(match[2])
    if match is None or scale is None:
        raise ValueError(
            f"{text!r} is no quantity; write a count (4k, 100M, 2B), a size (500MB, 4GiB) or a duration (90s, 12h)"
        )
    return _tidy(Fraction(match[1].replace("_", "")) * scale)


def duration_s(value: object) -> float:
    """Read a duration.

    Raises:
        ValueError: it is a bare number, or no duration; the message says how to write one.
    """
    if isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        return parse(value)
    raise ValueError(f"{value!r} is no duration; write it with its unit: 90s, 30m, 12h, 2d")


def size_bytes(value: object) -> int:
    """Read a size.

    Raises:
        ValueError: it has no unit of bytes, or is no whole number of them above zero.
    """
    match = _PART.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in BYTES:
        raise ValueError(f"{value!r} is no size; write it with its unit: 500MB, 4GiB ({', '.join(BYTES)})")
    size = parse(match[0])
    if not isinstance(size, int) or size <= 0:
        raise ValueError(f"{value!r} is no whole number of bytes above zero")
    return size


def _tidy(number: Fraction | int) -> int | float:
    return int(number) if number == int(number) else float(number)
