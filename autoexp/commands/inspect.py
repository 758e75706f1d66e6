"""Say what autoexp makes of a log, an iter_ directory, or a save directory (its newest iteration).

autoexp inspect experiments/demo/jobs/pretrain/checkpoints
autoexp inspect RUN/checkpoints/iter_0002000 --deep      also reads every file, and verifies its checksums
autoexp inspect slurm-123.out --as megatron --json
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoexp import backends, checkpoints, inspection
from autoexp.examiner import examining

LOG_SUFFIXES = {".log", ".out", ".err", ".txt"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp inspect`."""
    parser.add_argument("path", metavar="PATH", type=Path, help="a log, an iter_ directory, or a save directory")
    parser.add_argument("--as", dest="backend", metavar="BACKEND", help="read a log by this backend's grammar")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="read a checkpoint's files and verify checksums; exit 1 if it is not whole",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look, and print; the status is 1 where nothing is there, or a deep look finds what is not whole."""
    if arguments.backend:
        backends.find(arguments.backend)
    with examining():
        found = look(arguments.path, arguments.backend, deep=arguments.deep)
    print(json.dumps(found) if arguments.json else "\n".join(_text(found)))
    readable = _is_folder(arguments.path) or inspection.is_readable(arguments.path)
    damaged = arguments.deep and not found.get("complete", True)
    return 1 if damaged or not readable else 0


def look(path: Path, backend: str | None, *, deep: bool) -> dict[str, Any]:
    """Inspect whatever stands there; a folder is a checkpoint, or holds some."""
    if _is_folder(path) or (not os.path.exists(path) and path.suffix not in LOG_SUFFIXES):  # noqa: PTH110 - likewise
        return _checkpoint(path, deep=deep)
    if not inspection.is_readable(path):
        return inspection.nothing(backend, f"{path} is no file that can be read")
    try:
        return inspection.read(path, backend)
    except OSError as error:
        return inspection.nothing(backend, f"{path} cannot be read: {error.strerror}")


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path's raises for a name that is too long


def _checkpoint(path: Path, *, deep: bool) -> dict[str, Any]:
    """Judge a checkpoint, or the newest in a save directory; say so where the tracker names another."""
    found = _judged(path, deep=deep)
    newest, tracker = (None, None) if found["format"] != "unknown" else _saved(path)
    if newest is None and tracker is None:
        return found
    if newest is not None:
        found = _judged(newest, deep=deep)
    if tracker not in (found["iteration"], None):
        found["why"] += f"; the tracker beside it {_meaning(path, tracker)}"
    return {**found, "tracker": tracker}


def _meaning(root: Path, tracker: int | str | None) -> str:
    """Say what a tracker does that names another checkpoint, or none."""
    if tracker == "garbled":
        return f"({checkpoints.TRACKER}) holds no number: Megatron-LM would end with 0, and train nothing"
    is_there = tracker == "release" or tracker in checkpoints.iterations(root)
    return f"says {tracker}, and that is {'what Megatron-LM would load' if is_there else 'not there'}"


def _judged(folder: Path, *, deep: bool) -> dict[str, Any]:
    return {"kind": "checkpoint", "path": str(folder), **asdict(checkpoints.judge(folder, deep=deep))}


def _saved(root: Path) -> tuple[Path | None, int | str | None]:
    return checkpoints.newest(root), checkpoints.read_tracker(root)


def _text(found: dict[str, Any]) -> list[str]:
    names = [name for name in found if name not in ("evidence", "kind")]
    lines = [f"{name:<12} {_spelled(found[name])}" for name in names]
    return lines + [f"{said['line']:>8}  {said['event']:<10} {said['text']}" for said in found.get("evidence", ())]


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "  ".join(f"{name}={number:g}" for name, number in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
