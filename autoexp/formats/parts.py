"""Looks into parts of files: whether they are blank, what a small zip in them holds, and whether their sums are right.

torch's distributed format puts one torch.save zip after another into a file; Megatron-LM since core 0.19 can write
integrity.json, the SHA-256 of every file of a checkpoint (megatron/core/dist_checkpointing/integrity.py).
"""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoexp import inert, torchfile
from autoexp.inert import NotWholeError

HASHES = "integrity.json"
_LOOK_BYTES = 16


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


class _Window(io.RawIOBase):
    """A part of an open file, as if it were a file."""

    def __init__(self, descriptor: int, start_bytes: int, length_bytes: int) -> None:
        super().__init__()
        self._descriptor, self._start, self._length, self._at = descriptor, start_bytes, length_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max((0, self._at, self._length)[whence] + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._length - self._at, 0)
        data = os.pread(self._descriptor, left if size < 0 else min(size, left), self._start + self._at)
        self._at += len(data)
        return data


@contextmanager
def _zip(path: Path, name: str, start_bytes: int, length_bytes: int) -> Iterator[zipfile.ZipFile]:
    """Open the zip in a part of a file; what its reader finds wrong is `NotWholeError`."""
    with path.open("rb", buffering=0) as file:
        try:
            with zipfile.ZipFile(_Window(file.fileno(), start_bytes, length_bytes)) as archive:
                yield archive
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise NotWholeError(f"{name} holds no whole zip at byte {start_bytes}: {error}") from error


def read_item(path: Path, name: str, start_bytes: int, length_bytes: int) -> object:
    """Return what torch.save put into a part of a file; foreign classes are `inert.Inert`.

    Raises:
        NotWholeError: it is damaged, or too large for plain data.
        OSError: the file cannot be read.
    """
    if length_bytes > torchfile.LIMIT_BYTES:
        raise NotWholeError(f"{name} has {length_bytes} bytes of plain data, more than any save writes")
    with _zip(path, name, start_bytes, length_bytes) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith("/data.pkl")]
        if len(members) != 1 or members[0].compress_type != zipfile.ZIP_STORED:
            raise NotWholeError(f"{name} holds a zip, but not torch.save's")
        return inert.unpickle(archive.read(members[0]), name)


def check_sums(path: Path, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> None:
    """Read every member of a zip and compare it with its checksum.

    Raises:
        NotWholeError: the zip is cut short, or a sum is wrong.
        OSError: the file cannot be read.
    """
    length_bytes = status(path, name).st_size if length_bytes is None else length_bytes
    with _zip(path, name, start_bytes, length_bytes) as archive:
        if damaged := archive.testzip():
            raise NotWholeError(f"{name}: the checksum of {damaged} is wrong")


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
        if _hash(folder / name) != expected:
            raise NotWholeError(f"{name} is not what {HASHES} says: its SHA-256 differs")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
