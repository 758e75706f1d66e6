"""One writer a root: who watches it is written in the root itself, so two var folders are still one root.

A dead holder is recognised by its pid, start time and boot. One that cannot be seen (on another host, in another
container) or was suspended is judged by whether its heartbeat changes, on our own clock. A lock file keeps two takers
on one host apart; the journal's exclusive files keep all apart.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Event, Thread
from typing import Any

from autoexp import clock, hosts
from autoexp.errors import AlreadyWatched, AutoexpError, TakenOver
from autoexp.files import LARGEST_JSON_BYTES, is_copy, read_json, read_regular, write_json
from autoexp.hosts import Process
from autoexp.journal import stamp

BEAT_S = 5.0
"""How often a holder changes its heartbeat."""
PATIENCE_S = 3 * BEAT_S
"""How long the heartbeat of a holder that cannot be seen, or is suspended, must stand still before it is replaced."""
MOMENT_S = 5.0
"""How long a watcher may take from locking the root to writing who it is."""


RECORDED: Mapping[str, Any] = {
    **{field.name: field.type for field in fields(Process)},
    "beat": int,
    "nonce": str,
    "since": str,
}
"""What a lease says of its holder."""


def folder_of(root: Path) -> Path:
    """Where a root keeps what is autoexp's own."""
    return root / ".autoexp"


def var_of(root: Path, asked: str | None = None) -> Path:
    """Return the runtime folder of a root: the one it already has, or the one asked for, or var/ beside it.

    Raises:
        AutoexpError: the root already has another one.
    """
    root = root.resolve()
    base = asked or os.environ.get("AUTOEXP_VAR")
    wanted = (Path(base).resolve() if base else root.parent / "var") / root.name
    recorded = _read(folder_of(root) / "root.json")
    if "var" not in recorded or _is_copy(root):
        return wanted
    known = (root / recorded["var"]).resolve()
    if base and known != wanted:
        raise AutoexpError(
            f"{root} keeps its runtime state in {known}, not in {wanted}",
            why="one root has one journal, wherever its watcher runs",
            fix=f"leave out --var and AUTOEXP_VAR, or give {known.parent}",
        )
    return known if known.exists() or not wanted.exists() else wanted


def _is_copy(root: Path) -> bool:
    """Say whether what a root has of ours was copied from another one, whose journal and watcher are not its own."""
    home = _read(folder_of(root) / "root.json").get("root")
    return is_copy(root, home, ".autoexp/root.json")


def holder(root: Path) -> dict[str, Any] | None:
    """Say who watches a root: pid, host and since when; None if nobody does, as far as can be told from here."""
    lease = {} if _is_copy(root) else _read(folder_of(root) / "lease.json")
    if not lease.get("held"):
        return None
    return None if hosts.is_alive(Process.read(lease)) is False else lease


def silence(root: Path, found: Mapping[str, Any], now: float) -> str | None:
    """Say what is wrong with a holder that shows no sign of life; None if it does."""
    if hosts.is_alive(Process.read(found)) and hosts.is_suspended(found["pid"]):
        return f"the watcher is suspended; let it go on: kill -CONT {found['pid']}, or: autoexp watch {root}"
    quiet_s = now - (folder_of(root) / "lease.json").stat().st_mtime
    if quiet_s < 4 * PATIENCE_S:
        return None
    return f"the watcher has shown no sign of life for {quiet_s:.0f} s; if it is gone: autoexp watch {root}"


def _read(path: Path) -> dict[str, Any]:
    """Read one of our own files; empty if there is none.

    Raises:
        AutoexpError: it is there, and cannot be read: that is no sign that nobody watches.
    """
    try:
        found = json.loads(read_regular(path, LARGEST_JSON_BYTES))
        if isinstance(found, dict):
            return found
        problem = "it is no JSON object"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    raise AutoexpError(
        f"{path} cannot be read",
        why=f"{problem}; and it says who watches",
        fix="see to its permissions; if no watcher runs on any host, delete it",
    )


@dataclass(slots=True)
class Lease:
    """The right to write, held by this process; made by `take`."""

    path: Path
    lock: int
    record: dict[str, Any]
    beaten_at: float = 0.0
    journal: Path | None = None
    """Our file of the journal: once it is gone, or another watcher began the next one, nothing that we write counts."""
    beat_s: float = BEAT_S
    _file: str = field(init=False)
    _own: tuple[str, ...] = ()
    _successors: tuple[str, ...] = ()
    """The names that the next file of the journal may have."""
    _inode: int = 0

    def __post_init__(self) -> None:
        self._file = str(self.path)

    def beat(self, now: float) -> None:
        """Change the heartbeat, if it is time to.

        Raises:
            TakenOver: the lease has another holder now.
        """
        self.check()
        if self.due_in_s(now) <= 0:
            self.beaten_at = now
            self._write(self.record | {"beat": self.record["beat"] + 1})

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the heart beating while something takes its time, such as copying a checkpoint."""
        done = Event()
        thread = Thread(target=self._beat_until, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _beat_until(self, done: Event) -> None:
        with suppress(TakenOver):  # whoever comes back from that work checks, and is told the same
            while not done.wait(self.beat_s):
                with suppress(OSError):  # a moment without room costs a beat
                    self.beat(clock.now())

    def due_in_s(self, now: float) -> float:
        """Say when the heartbeat is to change again."""
        return self.beaten_at + self.beat_s - now

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises:
            TakenOver: it has another holder now, or is gone.
        """
        if not self.is_ours():
            raise self._lost()

    def _lost(self) -> TakenOver:
        root, found = self.path.parent.parent, read_json(self.path)
        gone = self.journal is not None and not self.journal.exists()
        if found is None:
            why = f"{self.path} is gone"
        elif found.get("nonce") == self.record["nonce"]:
            why = f"{self.journal} is gone" if gone else "another watcher began the journal's next file"
        else:
            why = f"it was taken over by {named_as(found)}"
        fix = "leave it to the other one" if found and not gone else f"watch it again: autoexp watch {root}"
        return TakenOver(f"{root} is no longer ours to watch", why=why, fix=fix)

    def is_ours(self) -> bool:
        """Say whether nobody took the lease over, nor began the journal's next file.

        A holder that wakes up while it writes its heartbeat writes over its taker's lease: so the lease is not all.
        """
        if not self._has_newest():
            return False
        try:
            inode = os.stat(self._file).st_ino  # noqa: PTH116 - asked before each effect: strings are quicker
        except (FileNotFoundError, NotADirectoryError):
            return False
        if inode != self._inode and (read_json(self.path) or {}).get("nonce") == self.record["nonce"]:
            self._inode = inode
        return inode == self._inode

    def _has_newest(self) -> bool:
        """Say whether our file of the journal is there, and none after it."""
        return all(map(os.path.exists, self._own)) and not any(map(os.path.exists, self._successors))

    def release(self) -> None:
        """Give the lease back, if it is still ours to give."""
        if self.is_ours():
            self._write(self.record | {"held": False})
        os.close(self.lock)

    def begin(self) -> None:
        """Write the lease for the first time."""
        self._write(self.record)

    def name_epoch(self, epoch: int, journal: Path) -> None:
        """Say which of the journal's files is ours: who has the newest is the holder, whoever wrote the lease last.

        Raises:
            TakenOver: another watcher began the next one.
        """
        successor = str(journal.with_name(f"{epoch + 1}.jsonl"))
        self.journal, self._own, self._successors = journal, (str(journal),), (successor, f"{successor}.gz")
        if not self._has_newest():
            raise self._lost()
        self._write(self.record | {"epoch": epoch})

    def _write(self, record: dict[str, Any]) -> None:
        self.record = record
        write_json(self.path, record, durable=not record["beat"])
        self._inode = self.path.stat().st_ino


def take(root: Path, var: Path, now: float) -> Lease:
    """Become the one watcher of a root.

    Raises:
        AlreadyWatched: it has a live one.
        AutoexpError: the root cannot be written to.
    """
    folder = folder_of(root)
    lock, outlasted = _lock(root, folder)
    try:
        known = {} if _is_copy(root) else _read(folder / "lease.json")
        if known != outlasted and Process.read(known) != hosts.this_process():
            _outlast(root, folder / "lease.json", known)
        home = root.resolve()
        write_json(folder / "root.json", {"v": 1, "var": os.path.relpath(var, home), "root": str(home)})
        record = {
            "v": 1,
            "held": True,
            **hosts.this_process().to_record(),
            "since": stamp(now),
            "nonce": os.urandom(8).hex(),
            "beat": 0,
        }
        lease = Lease(folder / "lease.json", lock, record)
        lease.begin()
    except BaseException:
        os.close(lock)
        raise
    return lease


def _lock(root: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    """Keep other takers on this host out until we are done; return the lock, and whom we outlasted for it."""
    path, outlasted = folder / "lock", dict[str, Any]()
    while _is_locked(lock := _open(root, path)):
        inode = os.fstat(lock).st_ino
        os.close(lock)  # it goes with the last process that has it open
        outlasted = _named(folder / "lease.json")
        _outlast(root, folder / "lease.json", outlasted)
        if path.stat().st_ino == inode:
            path.unlink()  # only the one that we outlasted can still have it
    return lock, outlasted


def _open(root: Path, path: Path) -> int:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise AutoexpError(
            f"{root} cannot be watched", why=str(error), fix="choose a folder that you may write to"
        ) from error


def _is_locked(descriptor: int) -> bool:
    """Lock a file, or say that another process has it. Some file systems know no locks; we do without there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _named(path: Path) -> dict[str, Any]:
    """Read who holds the lease; who has only just locked it gets a moment to write its name."""
    until = time.monotonic() + MOMENT_S
    while True:
        found = read_json(path) or {}
        if found.get("held") and hosts.is_alive(Process.read(found)) is not False:
            return found
        if time.monotonic() >= until:
            return {"held": True}
        time.sleep(0.02)


def _outlast(root: Path, path: Path, lease: dict[str, Any]) -> None:
    """Make sure that a lease's holder does nothing any more.

    Raises:
        AlreadyWatched: it lives.
    """
    if not lease.get("held"):
        return
    if "pid" not in lease:
        raise _refusal(root, lease)
    if missing := [name for name, kind in RECORDED.items() if not isinstance(lease.get(name), kind)]:
        raise AutoexpError(
            f"{path} cannot be read",
            why=f"it lacks {', '.join(missing)}, and it says who watches",
            fix="if no watcher runs on any host, delete it",
        )
    process = Process.read(lease)
    alive = hosts.is_alive(process)
    if alive is False and lease["boot_id"] == hosts.boot_id():
        return
    if alive and not hosts.is_suspended(process.pid):
        raise _refusal(root, lease)
    _wait_for_a_beat(root, path, lease)
    if alive:
        _end(root, process, lease)


def _wait_for_a_beat(root: Path, path: Path, lease: dict[str, Any]) -> None:
    """Give a holder time to show that it lives; it is refused by then, or is no more."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 5)
        seen = read_json(path) or lease
        if (seen.get("beat"), seen.get("nonce")) != (lease["beat"], lease["nonce"]):
            raise _refusal(root, seen)


def _end(root: Path, process: Process, lease: Mapping[str, Any]) -> None:
    """End a suspended holder for good, before it wakes up and goes on with what it was doing."""
    until = time.monotonic() + MOMENT_S
    while hosts.is_alive(process):
        hosts.send(process.pid, signal.SIGKILL)
        if time.monotonic() >= until:  # another user's, or it hangs in its file system
            raise _refusal(root, lease)
        time.sleep(0.02)


def _refusal(root: Path, lease: Mapping[str, Any]) -> AlreadyWatched:
    return AlreadyWatched(
        f"{root} is already being watched",
        why=f"by {named_as(lease)}",
        fix="leave it to that one, or end it first; markers and status work beside it",
    )


def named_as(lease: Mapping[str, Any]) -> str:
    """Spell who holds a lease; in another container its pid is not one of ours."""
    if "pid" not in lease:
        return "another process"
    pid, host, since, space = (str(lease.get(name, "?")) for name in ("pid", "host", "since", "pid_namespace"))
    is_here = host != hosts.hostname() or space in ("?", hosts.pid_namespace())
    return f"pid {pid}{'' if is_here else f' of another container ({space})'} on {host} since {since}"
