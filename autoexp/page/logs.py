"""The end of a log as text that is safe to show: no control characters, whole lines, and what they point at."""

import os
import re
from pathlib import Path
from typing import Any

from autoexp.files import open_regular
from autoexp.logs import symptom

FIRST_BYTES = 1 << 16
MOST_BYTES = 1 << 18
LONGEST_LINE = 2000
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, moves of the cursor
    r"|[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles and links
    r"|[ -/]*[0-~])?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Return a line without what steers terminals; of what overwrites itself the last is left."""
    shown = _ESCAPES.sub("", text.rstrip("\r")).rpartition("\r")[2]
    return _CONTROLS.sub("", shown)[:LONGEST_LINE]


def read(path: Path, place: int | None) -> dict[str, Any]:
    """Read what a log says after a place in it, or its end.

    Returns:
        `lines` (text, and the class of ending that it points at), `rest` (a line without its end yet), `place` to go
        on from, and `skipped`: whether something before was left out.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return {"lines": [], "rest": "", "place": 0, "skipped": False}
    with file:
        size = os.fstat(file.fileno()).st_size
        most = FIRST_BYTES if place is None else MOST_BYTES
        start = 0 if place is None or place > size else place
        skipped = size - start > most
        if skipped:
            start = size - most
        data = os.pread(file.fileno(), most, start)
    if skipped:  # not from the middle of a line
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    whole, end, rest = data.rpartition(b"\n")
    texts = [plain(line) for line in whole.decode(errors="replace").split("\n")] if end else []
    lines = [(text, symptom(text) or "") for text in texts]
    place = start + len(whole) + len(end)
    return {"lines": lines, "rest": plain(rest.decode(errors="replace")), "place": place, "skipped": skipped}
