"""Checkpoints on disk, in Megatron-LM's `torch` layout.

    <save>/iter_0000200/mp_rank_00/model_optim_rng.pt     a torch.save archive
    <save>/latest_checkpointed_iteration.txt              "200": what a run continues from

Rule 1: the archive appears whole (temporary name, fsync, rename), and the tracker after it, so that a kill at
any instant leaves the previous checkpoint in charge.
Rule 2: an iteration folder that is a symlink is another run's checkpoint: it is read, never written.
Rule 3: reading runs no code. Nothing but tensors, plain values and `argparse.Namespace` is accepted.
"""

import argparse
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from autoexp.errors import AutoexpError

TRACKER = "latest_checkpointed_iteration.txt"


class MissingCheckpointError(AutoexpError):
    """A checkpoint was demanded, and there is none (exit status 2)."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"nothing to load in {root}",
            why=f"it has no {TRACKER}, and --exit-on-missing-checkpoint is given",
            fix="put the checkpoint and its tracker there first, or leave that flag out to start anew",
        )


def archive(root: Path, iteration: int) -> Path:
    """Return where the checkpoint of `iteration` lies below a save folder."""
    return root / f"iter_{iteration:07d}" / "mp_rank_00" / "model_optim_rng.pt"


def claim(root: Path) -> None:
    """Make the folder to save in, before hours are spent on what cannot be saved.

    Raises:
        AutoexpError: the folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        trouble = "" if os.access(root, os.W_OK | os.X_OK) else "it may not be written to"
    except OSError as error:
        trouble = str(error)
    if trouble:
        raise AutoexpError(f"cannot save in {root}", why=trouble, fix="give a folder of yours with --save")


def tracked(root: Path) -> int | None:
    """Return the iteration that the tracker names, or nothing where there is no tracker.

    Raises:
        AutoexpError: the tracker cannot be read, or names no iteration; Megatron-LM would exit 0 here.
    """
    tracker = root / TRACKER
    try:
        text = tracker.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _garbled(tracker, str(error)) from error
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise _garbled(tracker, f"it reads {text[:40]!r}")
    return int(text)


def write(root: Path, iteration: int, content: Mapping[str, Any]) -> None:
    """Put a checkpoint on disk, then point the tracker at it.

    Raises:
        AutoexpError: the place is another run's, or the disk refuses.
    """
    target = archive(root, iteration)
    for folder in (target.parent, target.parent.parent):
        if folder.is_symlink():
            raise AutoexpError(
                f"will not write the checkpoint of iteration {iteration} to {folder}",
                why="it is a symlink: the checkpoint behind it is another run's",
                fix=f"remove the link if this run's own checkpoint belongs there, or change --save {root}",
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, lambda file: torch.save(dict(content), file))
        for folder in (target.parent.parent, root):
            _sync(folder)
        _replace(root / TRACKER, lambda file: file.write(str(iteration).encode()))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise AutoexpError(
            f"could not save the checkpoint of iteration {iteration} in {root}",
            why=str(error),
            fix="make room there, then start again: the run continues from the checkpoint before",
        ) from error


def read(root: Path, iteration: int) -> dict[str, Any]:
    """Return a checkpoint's content, with its tensors on the CPU.

    Raises:
        AutoexpError: the checkpoint is missing, not whole, another iteration's, or more than plain data.
    """
    path = archive(root, iteration)
    try:
        _check_whole(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage makes readers raise anything; it is the file's fault
        raise unusable(path, str(error) or repr(error)) from error
    if not isinstance(content, dict) or content.get("iteration") != iteration:
        raise unusable(path, f"it is not the checkpoint of iteration {iteration}")
    return content


def unusable(path: Path, why: str) -> AutoexpError:
    """Word the refusal of a checkpoint."""
    return AutoexpError(
        f"cannot continue from {path}",
        why=why,
        fix=f"copy it anew, or write the number of another checkpoint into {path.parents[2] / TRACKER}",
    )


def _check_whole(path: Path) -> None:
    """Compare every byte with its checksum, which `torch.load` does not, and look for foreign classes.

    Raises:
        OSError, zipfile.BadZipFile, pickle.UnpicklingError: what is wrong.
    """
    with zipfile.ZipFile(path) as entries:
        if damaged := entries.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} inside is wrong")
        # Torch takes an entry with attributes for a folder, and leaves the memory of its tensor as it was.
        if any(entry.external_attr for entry in entries.infolist()):
            raise zipfile.BadZipFile("its directory is damaged")
    foreign = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - {"argparse.Namespace"}
    if foreign:
        raise pickle.UnpicklingError(f"it holds more than plain data: {', '.join(sorted(foreign))}")


def _garbled(tracker: Path, why: str) -> AutoexpError:
    return AutoexpError(
        f"cannot tell from {tracker} what to continue from",
        why=why,
        fix="write the number of the iteration there, or remove the file to start from random weights",
    )


def _replace(target: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Let a file appear under its name only when it is whole and on the disk."""
    draft = target.with_name(f".{target.name}.tmp")
    with draft.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
