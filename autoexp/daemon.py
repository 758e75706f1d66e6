"""Going on in the background: who called gets its terminal back, and a process of no terminal goes on.

Only the fork happens first. Whatever goes wrong until `settle` is said where we were called, and is the exit status
there; from then on what is printed goes to a file.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Detached:
    """The process that goes on; made by `detach`."""

    ready: int
    """Written to when the caller may leave."""

    def settle(self, log: Path) -> None:
        """Let the caller go, and print to a file from now on; one earlier file of it is kept."""
        if log.exists() and log.stat().st_size > LARGEST_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        sys.stdout.flush()
        sys.stderr.flush()
        _redirect(os.open(os.devnull, os.O_RDONLY), (0,))
        _redirect(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), (1, 2))
        os.write(self.ready, b"1")
        os.close(self.ready)


def detach() -> Detached:
    """Go on in a session of its own; the process that called ends as soon as we settled, or with our exit status.

    Raises:
        SystemExit: in the process that called.
    """
    reading, ready = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(ready)
        settled = os.read(reading, 1)
        raise SystemExit(0 if settled else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.close(reading)
    os.setsid()
    return Detached(ready)


def _redirect(descriptor: int, to: tuple[int, ...]) -> None:
    for number in to:
        os.dup2(descriptor, number)
    os.close(descriptor)
