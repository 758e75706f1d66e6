"""Lists of nodes as batch schedulers write them, such as `jwb[0034-0035,0041],login1`. Pure text."""

import re
from collections.abc import Iterator
from itertools import islice

_NO_NODES = ("", "(null)", "None assigned", "None")
MOST = 10_000
"""How many nodes are spelled out: no machine has more, and what programs write may have no end."""
_LONGEST, _DIGITS = 1 << 18, 18
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_GROUP = re.compile(r"([^,\[]*)(?:\[([^\[\]]*)\])?([^,]*)(?:,|$)")


def spelled_out(text: str) -> Iterator[str]:
    """List the nodes of a list; what names none, such as `None assigned`, is left out."""
    if text in _NO_NODES:
        return
    yield from (name for name in islice(_names(text[:_LONGEST]), MOST) if _NODE.fullmatch(name))


def _names(text: str) -> Iterator[str]:
    for head, ranges, tail in (found.groups() for found in _GROUP.finditer(text) if found[0]):
        for number in _numbers(ranges) if ranges else [""]:
            yield f"{head}{number}{tail}"


def _numbers(ranges: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not last) and len(part) <= 2 * _DIGITS:
            for number in range(int(first), int(last or first) + 1):
                yield f"{number:0{len(first)}d}"
