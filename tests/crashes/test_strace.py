"""The crash harness hears of every effect: what it counts is what strace sees."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crashes.effects import tame

CALLS = {
    "write": ("write", "pwrite64", "writev", "fallocate", "sendfile", "copy_file_range"),
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "truncate": ("truncate", "ftruncate"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("link", "linkat"),
    "symlink": ("symlink", "symlinkat"),
    "mkdir": ("mkdir", "mkdirat"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "chmod": ("chmod", "fchmod", "fchmodat"),
    "chown": ("chown", "fchown", "lchown", "fchownat"),
    "utime": ("utimensat",),
    "mknod": ("mknod", "mknodat"),
    "setxattr": ("setxattr", "fsetxattr"),
    "kill": ("kill", "tkill", "tgkill"),
    "create": ("open", "openat", "creat"),
    "spawn": ("vfork", "fork", "clone", "clone3"),
}
"""The system calls of each kind of effect."""
KINDS = {call: kind for kind, calls in CALLS.items() for call in calls}
NAMED_LAST = ("rename", "link", "symlink")
Effect = tuple[str, str]


@pytest.mark.crashes
@pytest.mark.timeout(600)
def test_no_effect_escapes_the_harness(tmp_path: Path) -> None:
    told, seen = traced(tmp_path)

    assert {"write", "fsync", "rename", "link", "symlink", "mkdir", "unlink", "create", "kill", "spawn"} <= {
        kind for kind, _ in told
    }
    # An open says nothing of whether the file was there: only the names are compared.
    made = [{path for kind, path in effects if kind == "create"} for effects in (told, seen)]
    assert made[0] == made[1]
    others = [{effect: n for effect, n in effects.items() if effect[0] != "create"} for effects in (told, seen)]
    assert others[0] == others[1]


def traced(folder: Path) -> tuple[Counter[Effect], Counter[Effect]]:
    """Play the study once; return what the harness told of, and what strace saw."""
    calls = ",".join(f"?{call}" for call in KINDS)
    strace = ["strace", "-ff", "--seccomp-bpf", "-y", "-s", "0", "-e", f"trace={calls}", "-o", f"{folder}/trace"]
    command = [*strace, sys.executable, "-m", "tests.crashes", "--list", "--keep", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lease = json.loads((folder / "room" / "experiments" / ".autoexp" / "lease.json").read_text())
    return Counter(map(_told, done.stdout.splitlines())), Counter(_seen(folder, lease["pid"]))


def _told(point: str) -> Effect:
    kind, _, rest = point.partition(":")
    return kind, "" if kind in ("kill", "spawn") else rest.partition(" after ")[0]


def _seen(folder: Path, watcher: int) -> Iterator[Effect]:
    """List what the watcher's threads did, by strace's files: one for each."""
    threads = [watcher]
    for thread in threads:
        for line in (folder / f"trace.{thread}").read_text().splitlines():
            call, _, rest = line.partition("(")
            words, _, result = rest.rpartition(" = ")
            if "CLONE_THREAD" in words:
                threads.append(int(result.split()[0]))
            elif call in KINDS and not result.startswith(
                "?" if KINDS[call] == "kill" else ("-1", "?")
            ):  # ended just then
                yield from _effect(f"{folder}/room/", KINDS[call], words)


def _effect(home: str, kind: str, words: str) -> Iterator[Effect]:
    if kind in ("kill", "spawn"):
        yield kind, ""
        return
    if kind == "create" and "O_CREAT" not in words:
        return
    quoted = [] if kind == "write" else words.split('"')[1::2]
    path = quoted[-1 if kind in NAMED_LAST else 0] if quoted else words.partition("<")[2].partition(">")[0]
    if not path.startswith(("/dev/", "/proc/", "pipe:", "anon_inode:", "socket:")) and not path.endswith("/said.log"):
        yield kind, tame(path.removeprefix(home))
