"""One thing done to many items by all processors: writing a study's many small files is work for the kernel."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
FEWEST = 1000
"""How many items are worth another process."""


def spread(work: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Do something to each item, several at a time where there are many; it may be done to one twice.

    Raises:
        Exception: what `work` raises.
    """
    processes = min(len(os.sched_getaffinity(0)), len(items) // FEWEST)
    if processes < 2 or threading.active_count() > 1:  # a fork takes along one thread, and the locks of all  # noqa: PLR2004
        _do(work, items)
        return
    parts = [items[first::processes] for first in range(processes)]
    others = [(part, _fork(work, part)) for part in parts[1:]]
    try:
        _do(work, parts[0])
    finally:
        left = [part for part, child in others if not _has_done(child)]
    for part in left:  # done again here, where what goes wrong is told
        _do(work, part)


def _has_done(child: int | None) -> bool:
    """Wait for a copy; say whether it has done its part, as far as anybody can know."""
    try:
        return child is not None and os.waitpid(child, 0)[1] == 0
    except ChildProcessError:  # whoever started us lets nobody wait for children: it has ended, somehow
        return False


def _do(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    for item in items:
        work(item)


def _fork(work: Callable[[Item], object], items: Sequence[Item]) -> int | None:
    """Start a copy of this process that does nothing else, and tells by its exit code whether all was done.

    None if there may be no more processes.
    """
    try:
        child = os.fork()
    except OSError:
        return None
    if child:
        return child
    code = 1
    try:
        _do(work, items)
        code = 0
    finally:
        os._exit(code)
