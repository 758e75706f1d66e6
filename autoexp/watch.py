"""Watching: what happens on disk becomes hints, "look at this now". Watchdog's own types stay in this file.

A hint may be late, double or lost; a sweep by the engine is the truth. One inotify descriptor and one thread serve any
number of directories, and only directories that somebody asked for are watched, never what lies inside checkpoints.
"""

import os
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

Hint = Hashable
"""What to look at: whatever the one who asked for a directory called it."""

EVERYTHING: Hint = "everything"
"""Hints were lost: look at all."""


class Observer(Protocol):
    """Where hints come from."""

    name: str

    def add(self, folder: Path, hint: Hint) -> None:
        """Watch a directory; what happens in it means `hint`. Again is harmless, and so is a missing directory."""

    def remove(self, folder: Path) -> None:
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
        self._stop = threading.Event()

    def add(self, folder: Path, hint: Hint) -> None:
        """Nothing to do: everything is looked at."""

    def remove(self, folder: Path) -> None:
        """Nothing to do: everything is looked at."""

    def wait(self, timeout_s: float) -> set[Hint]:
        """Wait for the next poll, or until something else is due."""
        self._stop.wait(min(timeout_s, self._poll_s))
        return {EVERYTHING} if timeout_s >= self._poll_s else set()

    def close(self) -> None:
        """Stop waiting."""
        self._stop.set()


_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
)


class InotifyObserver:
    """Watches directories through watchdog's inotify thread."""

    name = "inotify"

    def __init__(self) -> None:
        self._mailbox = _Mailbox()
        self._watched: dict[Path, WatchDescriptor] = {}
        self._hints: dict[WatchDescriptor, Hint] = {}
        self._inotify = InotifyFD()
        self._inotify.start()

    def add(self, folder: Path, hint: Hint) -> None:
        """Watch a directory; what happens in it means `hint`."""
        if folder in self._watched:
            return
        try:
            descriptor = self._inotify.add_callback(os.fsencode(folder), _MASK, self, CallbackId(id(self)))
        except (FileNotFoundError, NotADirectoryError):
            return
        self._watched[folder] = descriptor
        self._hints[descriptor] = hint

    def remove(self, folder: Path) -> None:
        """Watch a directory no longer."""
        descriptor = self._watched.pop(folder, None)
        if descriptor is not None:
            self._hints.pop(descriptor, None)
            self._inotify.remove_callbacks([(descriptor, CallbackId(id(self)))])

    def wait(self, timeout_s: float) -> set[Hint]:
        """Return the hints since the last call, waiting up to `timeout_s` for the first one."""
        return self._mailbox.take(timeout_s)

    def close(self) -> None:
        """Stop watching, and its thread."""
        self._inotify.stop()
        self._inotify.join()

    def on_event(self, event: InotifyEvent) -> None:
        """Note what a watched directory stands for (called by watchdog's thread)."""
        hint = self._hints.get(event.wd)
        if hint is not None:
            self._mailbox.put(hint)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a directory that was deleted, so that it can be added anew (called by watchdog's thread)."""
        hint = self._hints.pop(wd, EVERYTHING)
        for folder in [folder for folder, descriptor in self._watched.items() if descriptor == wd]:
            self._watched.pop(folder, None)
        self._mailbox.put(hint)

    def on_queue_overflow(self) -> None:
        """Ask for a look at everything: the kernel dropped events (called by watchdog's thread)."""
        self._mailbox.put(EVERYTHING)


def observer(kind: str, poll_s: float) -> Observer:
    """Make the observer of a kind; `auto` watches by inotify where it works, and polls otherwise."""
    if kind == "poll":
        return PollingObserver(poll_s)
    try:
        return InotifyObserver()
    except OSError:
        if kind == "inotify":
            raise
        return PollingObserver(poll_s)
