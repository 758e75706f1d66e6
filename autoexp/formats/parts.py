"""Looks into parts of files: whether they are blank, and whether their sums are right.

torch's distributed format puts one torch.save zip after another into a file; Megatron-LM since core 0.19 can write
integrity.json, the SHA-256 of every file of a checkpoint (megatron/core/dist_checkpointing/integrity.py).
"""

import hashlib
import json
import os
import stat
import zipfile
from bisect import bisect_right
from collections.abc import Collection
from pathlib import Path

from autoexp import torchfile
from autoexp.inert import NotWholeError

HASHES = "integrity.json"
_LOOK_BYTES = 16
_AT_ONCE_BYTES = 1 << 20


def status(path: Path, name: str) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        NotWholeError: it is not there, or something else; the text calls it `name`.
        OSError: it cannot be asked for.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise NotWholeError(f"{name} is not there") from error
    if not stat.S_ISREG(found.st_mode):
        raise NotWholeError(f"{name} is no file")
    return found


def check_not_blank(path: Path, name: str, end_bytes: int) -> None:
    """Refuse a file with only zeros at its beginning, or before `end_bytes`: a crash kept its size and lost its data.

    Raises:
        NotWholeError: it is blank.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        for start in (0, max(end_bytes - _LOOK_BYTES, 0)):
            if not any(os.pread(file.fileno(), _LOOK_BYTES, start)):
                raise NotWholeError(f"{name} holds only zeros at byte {start}: its size was kept, its data was lost")


def check_sums(
    path: Path,
    name: str,
    start_bytes: int = 0,
    length_bytes: int | None = None,
    *,
    holding: Collection[int] | None = None,
) -> None:
    """Read every member of a zip and compare it with its checksum; or only those that hold certain bytes of the file.

    Raises:
        NotWholeError: the zip is cut short, or a sum is wrong.
        OSError: the file cannot be read.
    """
    length_bytes = status(path, name).st_size if length_bytes is None else length_bytes
    try:
        with torchfile.open_part(path, start_bytes, length_bytes) as archive:
            members = archive.infolist() if holding is None else _holders(archive, holding, start_bytes)
            damaged = [member.filename for member in members if not _is_right(archive, member)]
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise NotWholeError(f"{name} holds no whole zip at byte {start_bytes}: {error}") from error
    if damaged:
        raise NotWholeError(f"{name}: the checksum of {damaged[0]} is wrong")


def _holders(archive: zipfile.ZipFile, places: Collection[int], start_bytes: int) -> list[zipfile.ZipInfo]:
    """List the members that hold these bytes: each reaches to where the next one begins."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    begins = [member.header_offset for member in members]
    found = {bisect_right(begins, place - start_bytes) - 1 for place in places}
    return [members[number] for number in sorted(found) if number >= 0]


def _is_right(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as file:
            while file.read(_AT_ONCE_BYTES):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def check_hashes(folder: Path) -> None:
    """Compare every file that integrity.json lists with its SHA-256; nothing to do without that file.

    Raises:
        NotWholeError: the list is damaged, or a file is not as listed.
        OSError: a file cannot be read.
    """
    if not (folder / HASHES).exists():
        return
    try:
        said = json.loads(torchfile.read_index(folder / HASHES))
    except (ValueError, RecursionError) as error:
        raise NotWholeError(f"{HASHES} is not whole: {error}") from error
    listed = said.get("files") if isinstance(said, dict) else None
    if not isinstance(listed, dict) or said.get("algorithm", "sha256") != "sha256":
        raise NotWholeError(f"{HASHES} lists no SHA-256 of files")
    for name, expected in listed.items():
        if Path(name).name != name:
            raise NotWholeError(f"{HASHES} points outside the folder, at {name!r}")
        status(folder / name, name)
        if sha256(folder / name) != expected:
            raise NotWholeError(f"{name} is not what {HASHES} says: its SHA-256 differs")


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
