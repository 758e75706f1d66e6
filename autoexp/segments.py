"""The journal's files: `<epoch>.jsonl` as long as it may be written to, `<epoch>.jsonl.gz` once it is sealed.

Both names may be there for a while; the sealed one counts then, for it was compared before it got its name. Whoever
reads may do so at any time: a file that is sealed between listing and opening is looked for under its other name.
"""

import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from autoexp.errors import AutoexpError
from autoexp.files import open_regular

SEALED = ".jsonl.gz"
CHUNK_BYTES = 1 << 18
TRAILER_BYTES = 8
"""A gzip file ends with the CRC and the length of what is in it."""
_WHOLE_BYTES = 1 << 25
"""A longer file is not held in memory."""
_LOOKS = 5
"""How often a folder is listed until it says the same twice: what is sealed just then may be in neither place."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, as far as it counts."""

    path: Path
    epoch: int
    length: int
    """Bytes that count."""
    crc: int
    torn: int = 0
    """Bytes behind them that are no complete line."""
    open: bool = True
    """No later file has said how much of it counts."""


class Accepted(NamedTuple):
    """How much of a file counts, as a later one says."""

    length: int
    crc: int


def segment_files(folder: Path) -> dict[int, Path]:
    """List a journal's files by epoch."""
    found, before = _listed(folder), None
    for _ in range(_LOOKS):
        if found == before:
            break
        found, before = _listed(folder), found
    return found


def _listed(folder: Path) -> dict[int, Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a Path for each of many files is slow
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(folder, error) from error
    plain = {int(name[:-6]): name for name in names if name.endswith(".jsonl") and name[:-6].isdecimal()}
    sealed = {int(name[:-9]): name for name in names if name.endswith(SEALED) and name[:-9].isdecimal()}
    return {epoch: folder / name for epoch, name in sorted({**plain, **sealed}.items())}


class Content(io.RawIOBase):
    """What is in a file, counted as it is read: of a plain one up to a limit, of a sealed one all."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        super().__init__()
        self.path, self._file = _open(path)
        self._inflated = zlib.decompressobj(wbits=31) if is_sealed(self.path) else None
        self._limit = limit if self._inflated is None else None
        self.length = 0
        self.crc = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read on."""
        room = len(buffer) if self._limit is None else min(len(buffer), self._limit - self.length)
        data = self._next(room) if room else b""
        buffer[: len(data)] = data
        self.length += len(data)
        self.crc = zlib.crc32(data, self.crc)
        return len(data)

    def skip(self, length: int) -> bool:
        """Read so much of it, and say whether there was as much."""
        while self.length < length and self.read(min(CHUNK_BYTES, length - self.length)):
            pass
        return self.length == length

    def _next(self, room: int) -> bytes:
        if self._inflated is None:
            return self._file.read(room) or b""
        while not self._inflated.eof:
            given = self._inflated.unconsumed_tail or self._file.read(CHUNK_BYTES) or b""
            data = self._inflated.decompress(given, room)
            if data:
                return data
            if not given:
                raise EOFError("its end is missing")
        return b""


def is_sealed(path: Path) -> bool:
    """Say whether a file is compressed, a draft included."""
    return SEALED in path.name


def _open(path: Path) -> tuple[Path, BinaryIO]:
    """Open a file under its name, or under that which it has since it was sealed."""
    sealed = path if is_sealed(path) else path.with_name(f"{path.name}.gz")
    try:
        return path, open_regular(path)
    except FileNotFoundError:
        return sealed, open_regular(sealed)


def holds(path: Path, accepted: Accepted) -> bool:
    """Say whether a file begins with just so much; of a sealed one that is no longer, its trailer says so."""
    if is_sealed(path):
        with path.open("rb") as file:
            file.seek(-TRAILER_BYTES, os.SEEK_END)
            trailer = file.read()
        if trailer == accepted.crc.to_bytes(4, "little") + (accepted.length % (1 << 32)).to_bytes(4, "little"):
            return True
    with Content(path, accepted.length) as content:
        return content.skip(accepted.length) and content.crc == accepted.crc


def crc_of(path: Path, length: int) -> int:
    """Return the CRC of a file's beginning."""
    with Content(path, length) as content:
        content.skip(length)
        return content.crc


class Whole(NamedTuple):
    """All of a file that is just what it was when its lines were checked."""

    data: bytes
    crc: int
    lines: int


def read_whole(path: Path, accepted: Accepted | None) -> Whole | None:
    """Read a file that was accepted or sealed, so that its lines were checked; None if it may have changed since."""
    if accepted is None and not is_sealed(path):
        return None
    try:
        with Content(path, accepted.length if accepted else None) as content:
            data = io.BufferedReader(content, CHUNK_BYTES).read(_WHOLE_BYTES)
            if len(data) == _WHOLE_BYTES or accepted not in (None, (content.length, content.crc)):
                return None
            return Whole(data, content.crc, data.count(b"\n"))
    except (OSError, EOFError, zlib.error):
        return None


def first_line(path: Path) -> bytes:
    """Read a file's first line, as far as it goes.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        with io.BufferedReader(Content(path), 1 << 12) as file:
            return file.readline()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (zlib.error, EOFError) as error:
        raise damaged(path, 1, f"it cannot be decompressed: {error}") from error


def unreadable(path: Path, error: OSError) -> AutoexpError:
    """Say that something of the journal cannot be read."""
    fix = "ask the one who watches this root: the journal is for its owner only"
    return AutoexpError(f"{path} cannot be read", why=str(error), fix=fix)


def damaged(path: Path, number: int, why: str) -> AutoexpError:
    """Say which line is damaged."""
    return AutoexpError(f"{path}:{number}: the journal is damaged here", why=why, fix=remedy(path))


def of_another_version(path: Path, number: int, why: str) -> AutoexpError:
    """Say which line a later autoexp has written."""
    return AutoexpError(f"{path}:{number}: the journal cannot be read here", why=why, fix="use the newer autoexp")


def gap(path: Path, last: int, before: int) -> AutoexpError:
    """Say that a file does not go on where those before it end."""
    why = f"it goes on after move {before}, but the files before it end with move {last}"
    return AutoexpError(
        f"{path}:1: the journal has a gap before this file", why=why, fix=remedy(path, "the files before ")
    )


def remedy(path: Path, files: str = "") -> str:
    """Say what to do about a damaged file, or about others."""
    return (
        f"restore {files}{path.name} from a backup, or move the journal folder away to start from the studies on disk"
    )
