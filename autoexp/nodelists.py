"""Lists of nodes as batch schedulers write them, such as `jwb[0034-0035,0041],login1`. Pure text."""

import re
from collections.abc import Iterator

_NO_NODES = ("", "(null)", "None assigned", "None")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_GROUP = re.compile(r"([^,\[]*)(?:\[([^\]]*)\])?([^,]*)(?:,|$)")


def spelled_out(text: str) -> Iterator[str]:
    """List the nodes of a list; what names none, such as `None assigned`, is left out."""
    if text in _NO_NODES:
        return
    for head, ranges, tail in (found.groups() for found in _GROUP.finditer(text) if found[0]):
        for number in _numbers(ranges) if ranges else [""]:
            name = f"{head}{number}{tail}"
            if _NODE.fullmatch(name):
                yield name


def _numbers(ranges: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            for number in range(int(first), int(last or first) + 1):
                yield f"{number:0{len(first)}d}"
