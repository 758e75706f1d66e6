"""Looking at the files that start conditions ask about."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from autoexp.conditions import Question


def answer(questions: Iterable[Question], job_dir: Path) -> dict[Question, int]:
    """Look at the files that conditions ask about; relative paths start in the job's directory."""
    found: dict[Question, int] = {}
    for question in questions:
        path = os.path.join(job_dir, question.path)  # noqa: PTH118 - an absolute path stands for itself
        if question.kind == "exists":
            try:
                found[question] = _exists(path)
            except OSError:  # nobody knows: the question stays unanswered
                continue
        else:
            found[question] = sum(1 for _ in glob.iglob(path))  # noqa: PTH207 - patterns may be absolute
    return found


def _exists(path: str) -> int:
    try:
        os.stat(path)  # noqa: PTH116 - a path as text, of any kind
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 1
