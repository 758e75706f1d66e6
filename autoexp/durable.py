"""Writes that are on the disk when they return, and whole or absent for whoever reads beside us.

A rename makes a file appear at once; only fsync of the file *and* of its folder makes that survive a crash.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: what was created, linked, renamed or removed there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with `data` and make its contents durable; its name is durable after `sync_folder`.

    Raises:
        FileExistsError: `path` is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`: a reader sees the old contents or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)  # only a killed process of the same id can have left one
    write_new(draft, data)
    draft.replace(path)
    sync_folder(path.parent)


def replace_json(path: Path, value: Mapping[str, object]) -> None:
    """Put `value` at `path` as indented JSON.

    Raises:
        ValueError: A number is not finite; JSON has no word for it.
    """
    replace(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
