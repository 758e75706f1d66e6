"""Markers: files by which people steer. They are read here, and answered by moving them to taken/ or refused/.

A marker is named by its verb and may hold a reason. Whatever else lies in a markers/ folder is refused with the
reason, never deleted: what cannot be a marker is moved aside beside its answer.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoexp.files import read_json, write_atomically
from autoexp.journal import stamp
from autoexp.model import Verb

TAKEN, REFUSED = "taken", "refused"
LARGEST_BYTES = 4096
"""More than a reason needs; a larger file is no marker."""
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One entry of a markers/ folder."""

    path: Path
    verb: Verb | None = None
    reason: str = ""
    inode: int = 0
    ctime_ns: int = 0
    problem: str = ""
    """Why it cannot be obeyed, whatever the job's state."""

    @property
    def identity(self) -> tuple[int, int]:
        """Which file it is: a marker is obeyed once."""
        return self.inode, self.ctime_ns


def scan(folder: Path) -> list[Marker]:
    """List what lies in a markers/ folder, oldest first; drafts (`.x`, `x~`, `x.tmp`) are left alone.

    Raises:
        OSError: it cannot be read, or is a symlink: what lies elsewhere is none of ours to move.
    """
    _refuse_link(folder)
    try:
        with os.scandir(folder) as entries:
            found = [_read(Path(entry.path)) for entry in entries if _is_candidate(entry.name)]
    except FileNotFoundError:
        return []
    return sorted((marker for marker in found if marker is not None), key=lambda m: (m.ctime_ns, m.path.name))


def answer(marker: Marker, verdict: str, content: Mapping[str, Any], at: float) -> None:
    """Move a marker to `taken` or `refused`, as a JSON file that says what came of it.

    The answer is there before the marker goes, so that none is lost; `finish` knows it again by what it says.
    """
    folder = marker.path.parent / verdict
    _refuse_link(folder)
    folder.mkdir(exist_ok=True)
    which = {"inode": marker.inode, "ctime_ns": marker.ctime_ns}
    said = {"at": stamp(at), "marker": marker.path.name, **which, **({"said": marker.reason} if marker.reason else {})}
    path = _place_of(folder, marker)
    write_atomically(path, json.dumps({**said, **content}, indent=1) + "\n", durable=False)
    _take_away(marker, path)


def finish(marker: Marker) -> bool:
    """Take a marker away that was answered already, by a watcher that was killed just then; say whether it was."""
    for verdict in (TAKEN, REFUSED):
        path = _place_of(marker.path.parent / verdict, marker)
        if path.exists():
            _take_away(marker, path)
            return True
    return False


def drop(folder: Path, verb: Verb, reason: str = "") -> Path:
    """Put a marker into a markers/ folder, whole at once."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / verb
    write_atomically(path, reason, durable=False)
    return path


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "it is a symlink", str(folder))


def _is_candidate(name: str) -> bool:
    return name not in (TAKEN, REFUSED) and not (name.startswith(".") or name.endswith(("~", ".tmp")))


def _read(path: Path) -> Marker | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    marker = Marker(path=path, inode=status.st_ino, ctime_ns=status.st_ctime_ns)
    problem = _problem(path, status)
    if problem:
        return replace(marker, problem=problem)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return replace(marker, problem=f"it cannot be read: {error.strerror}")
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(LARGEST_BYTES).decode(errors="replace").strip()
    return replace(marker, verb=Verb(path.name), reason=text)


def _problem(path: Path, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_ISLNK: "a symlink", stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a FIFO"}
        kind = next((name for test, name in kinds.items() if test(status.st_mode)), "no regular file")
        return f"it is {kind}; a marker is a plain file, made by touch"
    if path.name not in set(Verb):
        return f"{path.name!r} is no verb; there are {', '.join(Verb)}"
    if status.st_size > LARGEST_BYTES:
        return f"it has {status.st_size} bytes; a marker holds nothing, or a short reason"
    return ""


def _tame(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:LONGEST_NAME]


def _place_of(folder: Path, marker: Marker) -> Path:
    """Return where a marker's answer stands, or is to stand; it is named by when the marker was dropped."""
    dropped = stamp(marker.ctime_ns / 1e9).replace(":", "").replace("-", "")
    places = (folder / f"{name}.json" for name in _variants(f"{dropped}-{_tame(marker.path.name)}"))
    return next(path for path in places if not path.exists() or _answers(path, marker))


def _answers(path: Path, marker: Marker) -> bool:
    said = read_json(path) or {}
    return (said.get("inode"), said.get("ctime_ns")) == marker.identity


def _variants(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}.{number}"
        number += 1


def _take_away(marker: Marker, answered: Path) -> None:
    """Remove a marker from where it was dropped; what is none is kept beside its answer."""
    if marker.problem:
        _move(marker.path, answered.with_suffix(""))
    elif _is_still_there(marker):
        marker.path.unlink(missing_ok=True)


def _is_still_there(marker: Marker) -> bool:
    """Say whether the path still names this marker, and not another one that was dropped in its place since."""
    try:
        return marker.path.lstat().st_ino == marker.inode
    except FileNotFoundError:
        return False


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except FileNotFoundError:
        return
