"""Processes and hosts: who is who, beyond a pid that another process may have by now."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one boot of one host, by the number it has in its PID namespace."""

    pid: int
    start_time: int
    """Clock ticks from boot to its start, field 22 of /proc/<pid>/stat."""
    boot_id: str
    host: str
    pid_namespace: str
    """Containers of one host count their processes apart."""

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Process":
        """Take it from a lease, or from what run.sh wrote about itself; what is none is of a host that nobody sees."""
        kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        if all(isinstance(record.get(name), kind) for name, kind in kinds.items()):
            return cls(**{name: record[name] for name in kinds})
        return cls(pid=0, start_time=0, boot_id="", host="", pid_namespace="")

    def to_record(self) -> dict[str, Any]:
        """Spell it for a lease."""
        return asdict(self)


@cache
def boot_id() -> str:
    """Name this boot of this host."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@cache
def hostname() -> str:
    """Name this host."""
    return os.uname().nodename


@cache
def pid_namespace() -> str:
    """Name what numbers our processes."""
    return str((_PROC / "self/ns/pid").readlink())


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or only a zombie."""
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else int(stat[19])


def this_process() -> Process:
    """Describe the process we are."""
    began = start_time(os.getpid())
    if began is None:
        raise ProcessLookupError(f"/proc has nothing about ourselves, pid {os.getpid()}")
    return Process(pid=os.getpid(), start_time=began, boot_id=boot_id(), host=hostname(), pid_namespace=pid_namespace())


def is_alive(process: Process) -> bool | None:
    """Say whether this very process still runs; None if it cannot be seen from this host, or this container."""
    if process.host != hostname():
        return None
    if process.boot_id != boot_id():
        return False
    if process.pid_namespace != pid_namespace():
        return None
    return start_time(process.pid) == process.start_time


def is_suspended(pid: int) -> bool:
    """Say whether a process was stopped, as Ctrl-Z does it."""
    stat = _stat(pid)
    return stat is not None and stat[0] in "Tt"


def group_of(leader: int) -> Iterator[int]:
    """List the living members of a process group."""
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None and stat[0] != "Z" and int(stat[2]) == leader:
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
