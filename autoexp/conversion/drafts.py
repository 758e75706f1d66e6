"""A folder that appears whole: made under another name beside its own, by one process at a time.

That name says who makes it, and its time changes while they live. Another one waits for the result; or, once the maker
is gone, takes over what is done, by a rename that only one can make.
"""

import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from itertools import count
from pathlib import Path

from autoexp import files, hosts

BEAT_S = 5.0
EXPIRY_S = 60.0
"""How long the draft of another host, or container, stays as it is until we take its maker for dead, on our clock."""
POLL_S = 0.2
PARTS = 6
"""Of a draft's name: what it is to be, then boot, PID namespace, process, its start, and a number."""
_NEVER = 0
"""When a process began that is not there."""
_numbers = count()


@contextmanager
def draft(target: Path, is_made: Callable[[], bool]) -> Iterator[Path | None]:
    """Give a folder to make `target` in, with what a dead one has done; None once another one has made it.

    What is killed or interrupted, or finds the disk full, leaves what it has done; what fails otherwise leaves nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = _take(target, is_made)
    if folder is None:
        yield None
        return
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, ended), daemon=True)
    beating.start()
    try:
        yield folder
    except BaseException as end:
        if isinstance(end, OSError | KeyboardInterrupt) and not isinstance(end, FileNotFoundError):
            _leave(folder, target)
        else:  # what it is made of is gone, or wrong
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        ended.set()
        beating.join()


def appear(folder: Path, target: Path) -> None:
    """Give a finished folder its name, unless another one has it by now."""
    files.sync_directory(folder)
    try:
        folder.rename(target)  # which replaces an empty folder
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
        shutil.rmtree(folder)
    files.sync_directory(target.parent)


def _take(target: Path, is_made: Callable[[], bool]) -> Path | None:
    """Take over a draft whose maker is gone, or begin one; wait while a maker lives."""
    seen: dict[Path, tuple[int, float]] = {}
    while not is_made():
        left = _drafts(target)
        if not any(_lives(folder, seen) for folder in left):
            own = _begin(target, left)
            if not any(_lives(folder, seen) for folder in _drafts(target) if folder != own):
                return own
            _step_back(own, target)  # two began at once: neither goes on, and they do not come back at once
        time.sleep(POLL_S * random.SystemRandom().uniform(1, 2))
    return None


def _drafts(target: Path) -> list[Path]:
    return sorted(filter(_is_draft, target.parent.glob(f".{escape(target.name)}.~*.partial")))


def _begin(target: Path, left: list[Path]) -> Path:
    """Make a draft of our own out of what was left behind, or a new one."""
    own = _draft(target, hosts.this_process().start_time)
    for folder in left:
        with suppress(FileNotFoundError):  # another one was quicker
            return folder.rename(own)
    own.mkdir()
    return own


def _step_back(own: Path, target: Path) -> None:
    try:
        own.rmdir()
    except OSError:  # there is something in it that somebody has done
        _leave(own, target)


def _leave(folder: Path, target: Path) -> None:
    """Leave a draft to whoever comes next, as one of ours that is gone."""
    with suppress(FileNotFoundError):  # it has its name by now
        folder.rename(_draft(target, began=_NEVER))


def _draft(target: Path, began: int) -> Path:
    """Name a draft by its maker: this boot, how that counts processes, our number in it, and when we began."""
    us = hosts.this_process()
    maker = "~".join(("", us.boot_id, us.pid_namespace.strip("pid:[]"), str(us.pid), str(began)))
    return target.with_name(f".{target.name}.{maker}~{next(_numbers)}.partial")


def _beat(folder: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        with suppress(FileNotFoundError):  # it has its name by now
            os.utime(folder)


def _is_draft(folder: Path) -> bool:
    """Say whether a name is one that `_draft` has given; others are let alone."""
    parts = folder.name.removesuffix(".partial").split("~")
    return len(parts) >= PARTS and all(part.isdecimal() for part in parts[-3:])


def _lives(folder: Path, seen: dict[Path, tuple[int, float]]) -> bool:
    """Say whether a draft's maker may live: by its process here, by the folder's time elsewhere."""
    boot, namespace, pid, start = folder.name.split("~")[-5:-1]
    ours = hosts.this_process()
    if boot == ours.boot_id and namespace in ours.pid_namespace:
        return str(hosts.start_time(int(pid))) == start
    return _changes(folder, seen)


def _changes(folder: Path, seen: dict[Path, tuple[int, float]]) -> bool:
    now = time.monotonic()
    try:
        changed = folder.stat().st_mtime_ns
    except FileNotFoundError:
        return True  # somebody gave it another name just now
    if seen.get(folder, (None,))[0] != changed:
        seen[folder] = (changed, now)
    return now - seen[folder][1] < EXPIRY_S
