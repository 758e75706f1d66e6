"""Processes and hosts: who is who, beyond a pid that another process may have by now."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one boot of one host."""

    pid: int
    start_time: int
    """Clock ticks from boot to its start, field 22 of /proc/<pid>/stat."""
    boot_id: str


@cache
def boot_id() -> str:
    """Name this boot of this host."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@cache
def hostname() -> str:
    """Name this host."""
    return os.uname().nodename


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or only a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def this_process() -> Process:
    """Describe the process we are."""
    began = start_time(os.getpid())
    if began is None:
        raise ProcessLookupError(f"/proc has nothing about ourselves, pid {os.getpid()}")
    return Process(pid=os.getpid(), start_time=began, boot_id=boot_id())


def is_alive(process: Process) -> bool:
    """Say whether this very process still runs on this host."""
    return process.boot_id == boot_id() and start_time(process.pid) == process.start_time


def group_of(leader: int) -> Iterator[int]:
    """List the living members of a process group."""
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and fields[0] != "Z" and int(fields[2]) == leader:
            yield pid


def carriers(name: str, value: str) -> Iterator[int]:
    """List the living processes that started with an environment variable of this value."""
    wanted = f"{name}={value}".encode()
    for pid in _pids():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        if wanted in environment.split(b"\0") and start_time(pid) is not None:
            yield pid


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process, which may be gone by now, or another user's, as what sudo starts is."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third, the state, on."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
