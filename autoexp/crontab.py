"""A user's crontab: one line of ours for each root, and every other byte of it left as it is.

The line's end names its root in a comment for the shell; that is how we find it again.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from autoexp.errors import AutoexpError

SCHEDULE = "*/5 * * * *"


def line(root: Path) -> str:
    """Write the line that keeps a root watched.

    Cron starts programs with next to nothing in their environment, and jobs get theirs from the watcher; so a login
    shell starts it, as a person would. What its profile prints is nobody's mail.

    Raises:
        AutoexpError: no line of a crontab can hold it.
    """
    var = os.environ.get("AUTOEXP_VAR")
    place = ["--var", str(Path(var).resolve())] if var else []
    watch = [sys.executable, "-m", "autoexp", "watch", str(root), "--ensure", "--daemon", *place]
    command = f"bash -lc {shlex.quote(f'exec {shlex.join(watch)}')} >/dev/null {_name(root)}"
    if "\n" in command:
        raise AutoexpError(
            f"{str(root)!r} cannot stand in a crontab", why="it holds a line end", fix="rename it, or use systemd"
        )
    return f"{SCHEDULE} {_escape(command)}"


def _name(root: Path) -> str:
    return f"# autoexp watches {root}"


def _escape(command: str) -> str:
    r"""Let cron leave `%` alone, which it takes for a line end unless a backslash stands before it."""
    return command.replace("%", r"\%")


def with_line(table: bytes, root: Path) -> bytes:
    """Put a root's line in: in the place of an earlier one, or at the end."""
    ours = os.fsencode(line(root)) + b"\n"
    lines = table.splitlines(keepends=True)
    places = [number for number, known in enumerate(lines) if _is_of(known, root)]
    if not places:
        gap = b"" if not table or table.endswith(b"\n") else b"\n"
        return table + gap + ours
    kept = [known for number, known in enumerate(lines) if number not in places[1:]]
    kept[places[0]] = ours
    return b"".join(kept)


def without_line(table: bytes, root: Path) -> bytes:
    """Take a root's line out."""
    return b"".join(known for known in table.splitlines(keepends=True) if not _is_of(known, root))


def has_line(table: bytes, root: Path) -> bool:
    """Say whether a root has its line."""
    return any(_is_of(known, root) for known in table.splitlines(keepends=True))


def _is_of(known: bytes, root: Path) -> bool:
    comment = os.fsencode(_escape(_name(root)))
    return known.rstrip().endswith(b" " + comment) and not known.lstrip().startswith(b"#")


def read() -> bytes:
    """Return this user's crontab; empty if there is none.

    Raises:
        AutoexpError: it cannot be read: then nobody may write it either.
    """
    done = _crontab("-l")
    if done.returncode == 0:
        return done.stdout
    if b"no crontab for" in done.stderr:
        return b""
    raise _failed("read", done.stderr)


def write(table: bytes) -> None:
    """Replace this user's crontab.

    Raises:
        AutoexpError: it was not taken, or is not what we gave.
    """
    done = _crontab("-", table)
    if done.returncode != 0:
        raise _failed("written", done.stderr)
    if _without_header(read()) != _without_header(table):
        raise _failed("written", b"it reads otherwise than it was written")


def _without_header(table: bytes) -> bytes:
    """Leave out the comments that some versions of crontab put on top."""
    return b"".join(known for known in table.splitlines(keepends=True) if not known.startswith(b"# "))


def _crontab(argument: str, table: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603 - a fixed command
            ("crontab", argument), input=table, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError as error:
        why = "there is no crontab command on this computer"
        fix = "install cron, or let systemd do it: docs/operating.md shows a user unit"
        raise AutoexpError("the crontab cannot be used", why=why, fix=fix) from error


def _failed(how: str, said: bytes) -> AutoexpError:
    why = said.decode(errors="replace").strip() or "crontab gave no reason"
    fix = "see `crontab -l`; some sites allow cron on some hosts only, or want a systemd user unit"
    return AutoexpError(f"the crontab cannot be {how}", why=why, fix=fix)
