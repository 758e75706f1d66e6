"""Files written whole or not at all, and read with patience."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Put a file in place by rename; `durable` also sees that it survives a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def write_json(path: Path, data: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON object, whole or not at all."""
    write_atomically(path, json.dumps(data, separators=(",", ":")) + "\n", durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None while there is none, or none that is whole."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def sync_directory(folder: Path) -> None:
    """Make a folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
