"""Where else a job's curves are: what it wrote for TensorBoard, and its runs of Weights & Biases."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from autoexp.files import read_regular

PLACES = ("", "*/", "attempts/*/")
"""Where trainers write below a job's folder; not in checkpoints, which may have many files."""
READ_BYTES = 1 << 18
"""The client tells a run's address at its beginning."""
RUN = re.compile(rb"wandb:.*?View run.*? at:? +(?:\x1b\[[\d;]*m)*(https?://[^\s\x1b\"'<>]+)")


def commands(folder: Path) -> Iterator[str]:
    """Spell what shows or sends what a job wrote."""
    events = {path.parent for place in PLACES for path in folder.glob(f"{place}events.out.tfevents.*")}
    if events:
        yield f"tensorboard --logdir {shlex.quote(str(folder if len(events) > 1 else events.pop()))}"
    for run in sorted(path for place in PLACES for path in folder.glob(f"{place}wandb/offline-run-*")):
        yield f"wandb sync {shlex.quote(str(run))}"


def links(log: Path) -> list[str]:
    """List the addresses of runs that an attempt's log tells of."""
    try:
        text = read_regular(log, READ_BYTES)
    except OSError:  # there is none, and the page says so where the log would be
        return []
    return [*dict.fromkeys(found.decode(errors="replace") for found in RUN.findall(text))]
