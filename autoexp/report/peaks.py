"""How much memory a training took, as its metrics.jsonl says (`trainers.metrics`)."""

import json
from collections.abc import Iterator
from pathlib import Path

from autoexp.files import open_regular
from autoexp.model import JSON

FILE = "metrics.jsonl"
TAIL_BYTES = 1 << 16
"""Its last lines say what the peaks came to: peaks only grow."""


def read_peaks(job_dir: Path) -> tuple[int, ...]:
    """Return the most bytes that each process ever held; nothing where nobody wrote that down."""
    return next((peaks for said in _steps_from_the_end(job_dir / FILE) if (peaks := _peaks(said))), ())


def _steps_from_the_end(path: Path) -> Iterator[JSON]:
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:  # its metrics are for who wants them: a run without is none the worse
        return
    for line in reversed(lines):
        try:
            yield json.loads(line)
        except ValueError:  # torn, or cut by the tail's start
            continue


def _peaks(said: JSON) -> tuple[int, ...]:
    listed = said.get("peak_allocated_bytes") if isinstance(said, dict) else None
    wholes = listed if isinstance(listed, list) else []
    return tuple(peak for peak in wholes if isinstance(peak, int) and not isinstance(peak, bool) and peak >= 0)
