"""Watching: what happens on disk becomes hints, "look at this now". Watchdog's own types stay in this file.

A hint may be late, double or lost; a sweep by the engine is the truth. One inotify descriptor and one thread serve any
number of directories, and only directories that somebody asked for are watched, never what lies inside checkpoints.
"""

import os
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from autoexp.errors import AutoexpError

Hint = Hashable
"""What to look at: whatever the one who asked for a directory called it."""

EVERYTHING: Hint = "everything"
"""Hints were lost: look at all."""


Folder = str | os.PathLike[str]
"""Joining strings is what makes thousands of directories quick to watch."""


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


class PollingObserver:
    """Sees nothing by itself: every `poll_s` everything is worth a look."""

    name = "poll"

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._next = 0.0

    def add(self, folder: Folder, hint: Hint) -> None:
        """Nothing to do: everything is looked at."""

    def remove(self, folder: Folder) -> None:
        """Nothing to do: everything is looked at."""

    def due_in_s(self) -> float:
        """Say when the next poll is due."""
        return max(self._next - time.monotonic(), 0.0)

    def wait(self, timeout_s: float) -> set[Hint]:
        """Wait for the next poll, or until something else is due."""
        time.sleep(max(min(timeout_s, self.due_in_s()), 0.0))
        if time.monotonic() < self._next:
            return set()
        self._next = time.monotonic() + self._poll_s
        return {EVERYTHING}

    def close(self) -> None:
        """Nothing to do: nothing is open."""


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
    """Watches directories through watchdog's inotify thread; polls besides once one of them cannot be watched."""

    name = "inotify"

    def __init__(self, poll_s: float) -> None:
        self._mailbox = _Mailbox()
        self._watched: dict[str, _Directory] = {}
        self._poll_s = poll_s
        self._polling: PollingObserver | None = None
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
            self._poll_too(str(error))
        else:
            if made.descriptor < 0:  # watchdog's way to say that we may not read it
                self._inotify.remove_callbacks([(made.descriptor, made.id)])
                self._poll_too(f"{folder} may not be read")

    def _poll_too(self, why: str) -> None:
        if self._polling is None:
            self._polling = PollingObserver(self._poll_s)
            self.name = f"inotify and poll ({why})"

    def remove(self, folder: Folder) -> None:
        """Watch a directory no longer."""
        known = self._watched.pop(os.fspath(folder), None)
        if known is not None and known.descriptor >= 0:
            self._inotify.remove_callbacks([(known.descriptor, known.id)])

    def wait(self, timeout_s: float) -> set[Hint]:
        """Return the hints since the last call, waiting up to `timeout_s` for the first one."""
        if self._polling is None:
            return self._mailbox.take(timeout_s)
        hints = self._mailbox.take(min(timeout_s, self._polling.due_in_s()))
        return hints | self._polling.wait(0.0)

    def close(self) -> None:
        """Stop watching, and its thread."""
        self._inotify.stop()
        self._inotify.join()


def observer(kind: str, poll_s: float) -> Observer:
    """Make the observer of a kind; `auto` watches by inotify where it works, and polls otherwise.

    Raises:
        AutoexpError: inotify is asked for, and does not work here.
    """
    if kind == "poll":
        return PollingObserver(poll_s)
    try:
        return InotifyObserver(poll_s)
    except OSError as error:
        if kind == "inotify":
            fix = "leave the choice to us (--observer auto), or raise fs.inotify.max_user_instances"
            raise AutoexpError("inotify does not work here", why=str(error), fix=fix) from error
        return PollingObserver(poll_s)
