"""Watching: what happens on disk becomes hints, "look at this now". Watchdog's own types stay in this file.

A hint may be late, double or lost; a sweep by the engine is the truth. One inotify descriptor and one thread serve any
number of directories, and only directories that somebody asked for are watched, never what lies inside checkpoints.
"""

import os
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from autoexp import mounts
from autoexp.errors import AutoexpError
from autoexp.machine import Machine
from autoexp.polling import Folder, PollingObserver

Hint = Hashable
"""What to look at: whatever the one who asked for a directory called it."""

EVERYTHING: Hint = "everything"
"""Hints were lost: look at all."""


class Observer(Protocol):
    """Where hints come from."""

    name: str

    def add(self, folder: Folder, hint: Hint) -> None:
        """Watch a directory; what happens in it means `hint`. Again is harmless, and so is a missing directory."""

    def remove(self, folder: Folder) -> None:
        """Watch a directory no longer."""

    def wait(self, timeout_s: float) -> set[Hint]:
        """Return the hints since the last call, waiting up to `timeout_s` for the first one."""

    def close(self) -> None:
        """Stop watching."""


@dataclass(slots=True)
class _Mailbox:
    """Hints on their way from the watching thread to the engine; the same hint twice is one."""

    _hints: set[Hint] = field(default_factory=set)
    _arrived: threading.Event = field(default_factory=threading.Event)

    def put(self, hint: Hint) -> None:
        self._hints.add(hint)
        self._arrived.set()

    def take(self, timeout_s: float) -> set[Hint]:
        self._arrived.wait(timeout_s)
        self._arrived.clear()
        taken: set[Hint] = set()
        while self._hints:
            taken.add(self._hints.pop())
        return taken


_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
)


@dataclass(slots=True, eq=False)
class _Directory:
    """A watched directory, as watchdog's thread calls it."""

    folder: str
    hint: Hint
    mailbox: _Mailbox
    watched: "dict[str, _Directory]"
    descriptor: WatchDescriptor = field(default=WatchDescriptor(-1))

    @property
    def id(self) -> CallbackId:
        """Tell it from others that watch the same inode."""
        return CallbackId(id(self))

    def on_event(self, _event: InotifyEvent) -> None:
        """Say that something happened here."""
        self.mailbox.put(self.hint)

    def on_watch_deleted(self, _wd: WatchDescriptor) -> None:
        """Forget a directory that was deleted, so that it can be added anew."""
        self.watched.pop(self.folder, None)
        self.mailbox.put(self.hint)

    def on_queue_overflow(self) -> None:
        """Ask for a look at everything: the kernel dropped events."""
        self.mailbox.put(EVERYTHING)


class InotifyObserver:
    """Watches directories through watchdog's inotify thread; polls those that cannot be watched."""

    name = "inotify"

    def __init__(self, polling: PollingObserver) -> None:
        self._mailbox = _Mailbox()
        self._watched: dict[str, _Directory] = {}
        self._polling = polling
        self._polls = False
        self._inotify = InotifyFD()
        self._inotify.start()

    def add(self, folder: Folder, hint: Hint) -> None:
        """Watch a directory; what happens in it means `hint`."""
        path = os.fspath(folder)
        if path in self._watched:
            return
        made = _Directory(path, hint, self._mailbox, self._watched)
        self._watched[path] = made
        try:
            made.descriptor = self._inotify.add_callback(os.fsencode(path), _MASK, made, made.id)
        except (FileNotFoundError, NotADirectoryError):
            self._watched.pop(path, None)
        except OSError as error:  # too many watches, for one
            self._poll(made, str(error))
        else:
            if made.descriptor < 0:  # watchdog's way to say that we may not read it
                self._inotify.remove_callbacks([(made.descriptor, made.id)])
                self._poll(made, f"{folder} may not be read")
            else:
                self._polling.remove(path)

    def _poll(self, made: _Directory, why: str) -> None:
        self._watched.pop(made.folder, None)
        self._polling.add(made.folder, made.hint)
        if not self._polls:
            self._polls = True
            self.name = f"inotify and poll ({why})"

    def remove(self, folder: Folder) -> None:
        """Watch a directory no longer."""
        self._polling.remove(folder)
        known = self._watched.pop(os.fspath(folder), None)
        if known is not None and known.descriptor >= 0:
            self._inotify.remove_callbacks([(known.descriptor, known.id)])

    def wait(self, timeout_s: float) -> set[Hint]:
        """Return the hints since the last call, waiting up to `timeout_s` for the first one."""
        until = time.monotonic() + timeout_s
        while self._polls and (left := until - time.monotonic()) > 0:
            hints = self._mailbox.take(min(left, self._polling.due_in_s())) | self._polling.wait(0.0)
            if hints:
                return hints
        return self._mailbox.take(0.0 if self._polls else timeout_s)

    def close(self) -> None:
        """Stop watching, and its thread."""
        self._inotify.stop()
        self._inotify.join()


def observer(machine: Machine, root: Path, kind: str | None = None) -> Observer:
    """Make the observer of a machine, or of this kind; `auto` is what the root's file system asks for.

    Raises:
        AutoexpError: inotify is asked for, and does not work here.
    """
    polling = PollingObserver(machine.poll_s, machine.max_stats_per_second)
    wanted = kind or machine.observer
    if wanted == "poll" or (wanted == "auto" and not mounts.is_watched(root)):
        return polling
    try:
        return InotifyObserver(polling)
    except OSError as error:
        if wanted == "inotify":
            fix = "leave the choice to us (--observer auto), or raise fs.inotify.max_user_instances"
            raise AutoexpError("inotify does not work here", why=str(error), fix=fix) from error
        return polling
