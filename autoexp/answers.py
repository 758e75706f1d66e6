"""Finding out what conditions ask."""

import glob
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from autoexp.conditions import Question
from autoexp.files import open_regular
from autoexp.patterns import TooSlow, search

LONGEST_LINE_BYTES = 1 << 16
"""What is longer is searched piece by piece."""
Run = Callable[[Question], int | None]
"""Asks a program."""


def answer(questions: Iterable[Question], job_dir: Path, run: Run = lambda _: None) -> dict[Question, int]:
    """Find out what conditions ask, programs by `run`; relative paths start in the job's directory."""
    found: dict[Question, int] = {}
    for question in questions:
        try:
            count = run(question) if question.kind == "runs" else _look(question, job_dir)
        except (OSError, TooSlow, ValueError):  # nobody knows; ValueError: an older plan's path holds a zero byte
            continue
        if count is not None:
            found[question] = count
    return found


def _look(question: Question, job_dir: Path) -> int:
    path = os.path.join(job_dir, question.path)  # noqa: PTH118 - an absolute path stands for itself
    if question.kind == "exists":
        return _exists(path)
    if question.kind == "glob":
        _refuse_unreadable(path)
        return sum(1 for _ in glob.iglob(path))  # noqa: PTH207 - patterns may be absolute
    if not _exists(path):
        return 0
    status = os.stat(path)  # noqa: PTH116 - as in `_exists`
    return _matches(path, question.regex, status.st_ino, status.st_size, status.st_mtime_ns)


def _refuse_unreadable(pattern: str) -> None:
    """Raise what keeps the folder that a pattern begins in from being read: `iglob` finds nothing there, silently."""
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parent.parts))
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(fixed):
        pass


@lru_cache(maxsize=256)
def _matches(path: str, regex: str, *_state: int) -> int:
    """Say whether a line of a file matches; a file that has not changed is not read again."""
    with open_regular(Path(path)) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE_BYTES), b"")
        return int(any(search(regex, line.decode(errors="replace").rstrip("\n")) for line in lines))


def _exists(path: str) -> int:
    try:
        os.stat(path)  # noqa: PTH116 - a path as text, of any kind
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 1
