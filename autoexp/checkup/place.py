"""Checks of the experiments folder: whether it can be written to, what it lies on, its clock, and who watches it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from autoexp import crontab, lease, mounts
from autoexp.checkup import Check, Finding, Patient, fail, ok, warn
from autoexp.errors import AutoexpError
from autoexp.journal import from_line, unstamp
from autoexp.recall import folder_of
from autoexp.segments import segment_files

GIB = 1 << 30
LITTLE_BYTES = GIB
FEW_FILES = 10_000
SKEW_S = 2.0
"""How far ahead of our clock a file's time may be."""
LATE_S = 30.0
"""How far a file's time may be from that of the line that was written to it."""
_TAIL_BYTES = 1 << 16


def folder(patient: Patient) -> Iterator[Finding]:
    """Look whether studies can be written to the root."""
    root = patient.root
    there = f"{root}" if root.is_dir() else f"{root} is not there yet; a plan makes it"
    yield _writable("root", root, there, "--root DIR")


def runtime(patient: Patient) -> Iterator[Finding]:
    """Look whether the journal can be written."""
    var = lease.var_of(patient.root)
    yield _writable("var", var, str(var), "--var DIR, or AUTOEXP_VAR")


def _writable(what: str, path: Path, there: str, other: str) -> Finding:
    place = _nearest(path)
    if not place.is_dir():
        return fail(what, f"{place} is a file", f"choose a folder: {other}")
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return fail(what, f"{place} lies on a file system that is read-only here", f"choose another: {other}")
    if not os.access(place, os.W_OK | os.X_OK):
        return fail(what, f"{place} may not be written to", f"see to its permissions, or choose another: {other}")
    return ok(what, there)


def _nearest(path: Path) -> Path:
    """Return a path, or what there is of the way to it."""
    return next(place for place in (path, *path.parents) if place.exists())


def room(patient: Patient) -> Iterator[Finding]:
    """Look how much room there is."""
    place = _nearest(patient.root)
    found = os.statvfs(place)
    free, files = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None
    said = f"{free / GIB:.1f} GiB free" + ("" if files is None else f", {files} more files")
    if free == 0 or files == 0:
        yield fail("room", f"{said} on the file system of {place}", "make room, or choose another: --root DIR")
    elif free < LITTLE_BYTES or (files is not None and files < FEW_FILES):
        yield warn("room", f"only {said} on the file system of {place}", "make room before jobs fail by it")
    else:
        yield ok("room", said)


def file_system(patient: Patient) -> Iterator[Finding]:
    """Look what the root lies on, and whether the observer sees what happens there."""
    kind, observer = mounts.kind_of(_nearest(patient.root)), patient.machine.observer
    if observer == "inotify" and kind not in mounts.WATCHED:
        why = f"{kind}: inotify does not see what other hosts write to it; only sweeps do"
        fix = f"say observer: auto, or poll, in machines/{patient.machine.name}.yaml"
        yield warn("file system", why, fix)
    else:
        chosen = "inotify" if kind in mounts.WATCHED else "poll"
        yield ok("file system", f"{kind}, observer {chosen if observer == 'auto' else observer}")


def clock(patient: Patient) -> Iterator[Finding]:
    """Hold the times that the file system gives to files against ours, and against the journal's."""
    files = segment_files(folder_of(lease.var_of(patient.root)))
    newest = files[max(files)] if files else None
    lease_file = lease.folder_of(patient.root) / "lease.json"
    seen = [path for path in (patient.root, lease_file, newest) if path is not None and path.exists()]
    ahead = max((path.stat().st_mtime - time.time() for path in seen), default=0.0)
    said = None if newest is None or newest.suffix == ".gz" else _last_said(newest)
    apart = 0.0 if newest is None or said is None else abs(newest.stat().st_mtime - said)
    fix = "have this host and the file server set their clocks by NTP"
    if ahead > SKEW_S:
        yield warn("clock", f"files here are {ahead:.0f} s ahead of this host's clock", fix)
    elif apart > LATE_S:
        yield warn("clock", f"the journal's last line and its file's time are {apart:.0f} s apart", fix)
    else:
        yield ok("clock", "files and the journal agree with it" if seen else "nothing to hold against it yet")


def _last_said(path: Path) -> float | None:
    """Return the time of a journal's last whole line; None if it has none."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
        lines = file.read().split(b"\n")
    for line in reversed(lines[:-1]):
        try:
            at = from_line(line).get("at")
        except ValueError:  # the rest of a longer line, or damaged: `autoexp replay --check` tells
            return None
        if isinstance(at, str):
            return unstamp(at)
    return None


def watcher(patient: Patient) -> Iterator[Finding]:
    """Say who watches the root."""
    holder = lease.holder(patient.root)
    if holder and (why := lease.silence(patient.root, holder, time.time())) is not None:
        what, _, fix = why.partition("; ")
        yield warn("watcher", what, fix)
    elif holder:
        yield ok("watcher", lease.named_as(holder))
    elif patient.root.is_dir():
        yield warn("watcher", "nobody watches", f"autoexp watch {patient.root}")
    else:
        yield ok("watcher", "there is nothing to watch yet")


def cron(patient: Patient) -> Iterator[Finding]:
    """Look whether cron would start a watcher where there is none."""
    if not patient.root.is_dir():
        yield ok("cron", "there is nothing to watch yet")
        return
    try:
        table = crontab.read()
    except AutoexpError as error:
        yield warn("cron", f"{error.what}: {error.why}", error.fix)
        return
    if crontab.has_line(table, patient.root.resolve()):
        yield ok("cron", "it keeps this root watched")
    else:
        fix = f"autoexp cron {patient.root} --install"
        yield warn("cron", "no line starts a watcher after a reboot of this host", fix)


CHECKS = (
    Check("root", folder, vital=True),
    Check("var", runtime),
    Check("room", room),
    Check("file system", file_system),
    Check("clock", clock),
    Check("watcher", watcher),
    Check("cron", cron),
)
