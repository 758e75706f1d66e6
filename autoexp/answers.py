"""Finding out what conditions ask."""

import glob
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from autoexp.conditions import Question
from autoexp.files import open_regular

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
        except OSError:  # nobody knows: the question stays unanswered
            continue
        if count is not None:
            found[question] = count
    return found


def _look(question: Question, job_dir: Path) -> int:
    path = os.path.join(job_dir, question.path)  # noqa: PTH118 - an absolute path stands for itself
    if question.kind == "exists":
        return _exists(path)
    if question.kind == "glob":
        return sum(1 for _ in glob.iglob(path))  # noqa: PTH207 - patterns may be absolute
    if not _exists(path):
        return 0
    status = os.stat(path)  # noqa: PTH116 - as in `_exists`
    return _matches(path, question.regex, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _matches(path: str, regex: str, *_state: int) -> int:
    """Say whether a line of a file matches; a file that has not changed is not read again."""
    pattern = re.compile(regex)
    with open_regular(Path(path)) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE_BYTES), b"")
        return int(any(pattern.search(line.decode(errors="replace").rstrip("\n")) for line in lines))


def _exists(path: str) -> int:
    try:
        os.stat(path)  # noqa: PTH116 - a path as text, of any kind
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 1
