"""Judges checkpoints by their structure: is one whole, can it be converted, can it be resumed?

Rule 1: nothing from a file runs, and no tensor is read (`autoexp.inert`, `autoexp.torchfile`), but for a deep look.
Rule 2: numbers are parsed, never matched by a pattern: `iter_0012000` is not iteration 2000.
Rule 3: the tracker is a hint. It is written after the shards, in place, and a later save passes a broken one.
Rule 4: files come and go while we look. What vanished is "not whole", never an exception.

What makes a folder whole is said by `autoexp.formats`, one module a format.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from autoexp.files import read_regular
from autoexp.formats import TRACKER, Judgement, distributed, huggingface, legacy
from autoexp.formats.legacy import MODEL_FILE
from autoexp.inert import NotWholeError

__all__ = [
    "MODEL_FILE",
    "TRACKER",
    "Judgement",
    "arguments",
    "folder_name",
    "iteration_of",
    "iterations",
    "judge",
    "judged_by",
    "newest",
    "read_tracker",
    "unjudged",
]

RELEASE = "release"
"""The folder, and what the tracker says, of weights without an iteration."""

_ITERATION = re.compile(r"iter_([0-9]{1,250})")  # no name is longer
_OF_OTHERS = re.compile(r"(?:step-|checkpoint-|global_step|.*seen_steps_|(?:.*-)?step=)([0-9]{1,250})(?:-.*)?")
"""How torchtitan, the HuggingFace Trainer, DeepSpeed, Modalities and NeMo number their folders."""


def iteration_of(name: str) -> int | None:
    """Return the number in a name such as `iter_0000200`, whatever its padding; None for other names."""
    match = _ITERATION.fullmatch(name)
    return int(match[1]) if match else None


def folder_name(iteration: int) -> str:
    """Return the name Megatron looks for: `iter_` and at least seven digits."""
    return f"iter_{iteration:07d}"


def iterations(root: Path) -> dict[int, Path]:
    """Return the iteration folders of a save directory, ascending; empty when it cannot be listed.

    Links count. Of two names with one number, Megatron's own spelling wins.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except (OSError, ValueError):  # a name that no file can have
        return {}
    found: dict[int, Path] = {}
    for name in names:
        number = iteration_of(name)
        if number is not None and (number not in found or name == folder_name(number)):
            found[number] = root / name
    return dict(sorted(found.items()))


def read_tracker(root: Path) -> int | Literal["release", "garbled"] | None:
    """Return what a save directory's tracker says: a number, "release", or None where there is none.

    "garbled" says nothing: empty (Megatron truncates before it writes), not a number, unreadable. Megatron
    exits 0 without training on such a tracker, and trains from random weights without one, so the two differ.
    """
    try:
        text = read_regular(root / TRACKER, 64).strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "garbled"
    if text == b"release":
        return "release"
    return int(text) if re.fullmatch(rb"[0-9]{1,18}", text) else "garbled"


def newest(root: Path) -> Path | None:
    """Return the newest checkpoint's folder in a save directory, whoever wrote it; None where there is none."""
    found = iterations(root) or _numbered_by_others(root)
    if found:
        return found[max(found)]
    release = root / RELEASE
    return release if os.path.isdir(release) else None  # noqa: PTH112 - Path's raises for a name that is too long


def _numbered_by_others(root: Path) -> dict[int, Path]:
    try:
        entries = [(entry, _OF_OTHERS.fullmatch(entry.name)) for entry in root.iterdir()]
    except (OSError, ValueError):
        return {}
    return {int(match[1]): entry for entry, match in entries if match and entry.is_dir()}


class Judge(Protocol):
    """Judges a checkpoint folder, as `judge` does."""

    def __call__(self, folder: Path, *, deep: bool = False) -> Judgement:
        """Judge it."""


_elsewhere: Judge | None = None


@contextmanager
def judged_by(other: Judge) -> Iterator[None]:
    """Leave judging to somebody else for a while."""
    global _elsewhere  # noqa: PLW0603 - hooks ask too, and know nobody to ask
    before, _elsewhere = _elsewhere, other
    try:
        yield
    finally:
        _elsewhere = before


def unjudged(folder: Path, why: str) -> Judgement:
    """Return what is to be said of a folder of which nothing is known but its name."""
    number = iteration_of(folder.name)
    return Judgement(format="unknown", iteration=number, complete=False, convertible=False, resumable=False, why=why)


def judge(folder: Path, *, deep: bool = False) -> Judgement:
    """Judge one checkpoint folder by names, sizes and indexes; a `deep` look verifies checksums too.

    Never raises for what is on the disk: what cannot be read is not complete, and `why` names it.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - a link's own name is what counts
    if _elsewhere is not None:
        return _elsewhere(folder, deep=deep)
    blank = unjudged(folder, f"{folder} holds no checkpoint in a format known here")
    try:
        return _judge_names(folder, frozenset(os.listdir(folder)), blank, deep=deep)  # noqa: PTH208 - names only
    except OSError as error:
        return replace(blank, why=f"{error.filename or folder} cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:  # a number of a million digits, a name no file can have
        return replace(blank, why=f"{folder} holds values that no save writes: {error}")


def arguments(folder: Path) -> Mapping[str, object]:
    """Return what a Megatron-LM training was told; empty where the checkpoint does not say."""
    judgement = judge(folder)
    if not judgement.convertible:
        return {}
    try:
        if judgement.format == "torch":
            return legacy.arguments(folder, legacy.rank_folders(frozenset(os.listdir(folder))))  # noqa: PTH208 - names
        return distributed.arguments(folder)
    except (NotWholeError, OSError):  # it was whole a moment ago, and says nothing now
        return {}


def _judge_names(folder: Path, names: frozenset[str], blank: Judgement, *, deep: bool) -> Judgement:
    """Choose the format in Megatron's own order of evidence."""
    ranks = legacy.rank_folders(names)
    if ranks and distributed.MARKER not in names:
        return legacy.judge(folder, ranks, blank, deep=deep)
    if distributed.is_one(names):
        return distributed.judge(folder, names, blank, deep=deep)
    if huggingface.is_one(names):
        return huggingface.judge(folder, names, blank, deep=deep)
    if any((folder / name / ".zarray").exists() for name in names):
        return distributed.zarr(blank)
    return blank
