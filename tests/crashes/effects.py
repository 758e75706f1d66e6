"""Every effect a process has on the world, told of just before it happens.

Python's audit events cover what goes by name (open, rename, mkdir, kill, Popen ...), whoever calls it. Writes and syncs
have no such event: `os.write` and its like are wrapped, and files opened for writing are those of `_pyio`, which come
down to them. `test_no_effect_escapes` compares all that with what strace sees.
"""

import _pyio  # type: ignore[import-not-found]
import builtins
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

BY_PATH = {
    "os.mkdir": "mkdir",
    "os.remove": "unlink",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "os.chown": "chown",
    "os.utime": "utime",
    "os.setxattr": "setxattr",
}
BY_TARGET = {"os.rename": "rename", "os.link": "link", "os.symlink": "symlink"}
BY_FILE = ("write", "pwrite", "writev", "fsync", "fdatasync")
UNHEARD = ("sendfile", "copy_file_range", "splice", "mkfifo", "mknod", "posix_spawn", "system")
"""What neither an event nor a wrapper tells of here: whoever begins to use it learns so."""
QUESTIONS = ("squeue", "sacct", "scontrol")
"""Programs that only ask: how often they do is a matter of time, and asking again is no other point."""

_TIME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_TOKEN = re.compile(r"(/\.?run\.[^/]*)\.[0-9a-f]{8}(?=$|\.PID)")
_DRAFT = re.compile(r"(^|/)\.([^/]+?)\.[^/.]+-\d+\.tmp$")


def tame(path: str) -> str:
    """Take times, process ids and the study's random key out of a path."""
    return _TOKEN.sub(r"\1.KEY", _DRAFT.sub(r"\1.\2.PID.tmp", _TIME.sub("TIME", path)))


class Effects:
    """Names each effect, and tells `heed` of it before it happens.

    A name is the kind, the place, and what moved last: the job's own last trigger, or the last line of the journal for
    what is of no job. `#n` counts how often there was such a one in this process.
    """

    def __init__(self, home: Path, heed: Callable[[str], None]) -> None:
        self._home = f"{home}/"
        self._heed = heed
        self._deaf = False
        self._counts: Counter[str] = Counter()
        self._moved: dict[str, str] = {}
        self._line = ""
        self._started = ""

    def listen(self) -> None:
        """Begin; there is no end to it in this process."""
        for name in BY_FILE:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        for name in UNHEARD:
            setattr(os, name, _unheard(name))
        real = io.open

        def open_(file: Any, mode: str = "r", *words: Any, **options: Any) -> Any:
            return (_pyio.open if set(mode) & set("wax+") else real)(file, mode, *words, **options)

        builtins.open = io.open = open_
        sys.addaudithook(self._audit)

    def listen_to_clients(self) -> None:
        """Tell of the moment, too, in which a program was started whose answer nobody has heard yet."""
        real = subprocess.Popen.communicate

        def communicate(client: Any, *words: Any, **options: Any) -> Any:
            self._deaf = True
            try:
                self._tell("await", self._started)
            finally:
                self._deaf = False
            return real(client, *words, **options)

        setattr(subprocess.Popen, "communicate", communicate)  # noqa: B010 - for mypy

    def _wrapped(self, kind: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def told(descriptor: int, *words: Any) -> Any:
            if not self._deaf:
                self._deaf = True
                try:
                    self._of_file(kind, descriptor, words)
                finally:
                    self._deaf = False
            return do(descriptor, *words)

        return told

    def _of_file(self, kind: str, descriptor: int, words: tuple[Any, ...]) -> None:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return  # a pipe: nothing that outlives us
        path = _text(descriptor)
        if kind == "write" and "/journal/" in path and path.endswith(".jsonl"):
            self._read_moves(bytes(words[0]))
        self._tell(kind, path)

    def _read_moves(self, data: bytes) -> None:
        """Learn from the journal's lines what moved."""
        moves = [json.loads(line) for line in data.splitlines() if line.endswith(b"}")]
        self._moved |= {move["job"]: move["trigger"] for move in moves if "job" in move}
        named = [f"{move['job']}.{move['trigger']}" for move in moves if "job" in move]
        self._line = ",".join(named[:2]) + (f",+{len(named) - 2}" if len(named) > 2 else "")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._deaf or not (event == "open" or event.startswith(("os.", "subprocess."))):
            return
        self._deaf = True
        try:
            self._of_event(event, arguments)
        finally:
            self._deaf = False

    def _of_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            self._opening(*arguments)
        elif event == "os.kill":
            self._tell("kill", signal.Signals(arguments[1]).name)
        elif event == "subprocess.Popen":
            _, words, cwd, _ = arguments
            named = [f"/jobs/{word[7:].rsplit('.', 2)[0]}" for word in words if str(word).startswith("--name=")]
            folder = named[0] if named else os.fspath(cwd or "").rstrip("/")
            self._started = f"{folder}/{Path(os.fsdecode(words[0])).name}"
            self._tell("spawn", self._started)
        elif event in BY_PATH:
            path = _text(arguments[0])
            if _can_be_made(path) if event == "os.mkdir" else os.path.lexists(path):
                self._tell(BY_PATH[event], path)
        elif event in BY_TARGET:
            self._tell(BY_TARGET[event], _text(arguments[1]))

    def _opening(self, path: Any, _mode: str | None, flags: int) -> None:
        """An open has an effect if it makes a file, or empties one."""
        if not isinstance(path, str | bytes | os.PathLike) or not flags & (os.O_CREAT | os.O_TRUNC):
            return
        if flags & os.O_CREAT and _can_be_made(_text(path)):
            self._tell("create", _text(path))
        elif flags & os.O_TRUNC and os.path.lexists(path):
            self._tell("truncate", _text(path))

    def _tell(self, kind: str, path: str) -> None:
        place = tame(path.removeprefix(self._home))
        if place.startswith(("/dev/", "/proc/")):
            return
        job = _job_in(place)
        moved = self._moved.get(job, "") if job else self._line
        name = f"{kind}:{place} after {moved or 'nothing'}"
        self._counts[name] += 1
        if self._counts[name] == 1 or not place.endswith(QUESTIONS):
            self._heed(f"{name} #{self._counts[name]}")


def _unheard(name: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"the crash harness does not hear of os.{name}: teach tests/crashes/effects.py")

    return refused


def _text(path: Any) -> str:
    """Spell a path, or an open file's."""
    if isinstance(path, int):
        return str(Path(f"/proc/self/fd/{path}").readlink())
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - it must not look at the disk


def _can_be_made(path: str) -> bool:
    """Say whether there is room for a new entry; otherwise an attempt to make it only finds out."""
    return not os.path.lexists(path) and os.path.isdir(os.path.dirname(path))  # noqa: PTH112, PTH120 - as above


def _job_in(place: str) -> str:
    return place.partition("/jobs/")[2].partition("/")[0]
