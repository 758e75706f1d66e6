"""Reads torch.save files without torch: the plain data in them, and where in the file the tensors are.

The format (torch/serialization.py, since torch 1.6): a zip whose members are stored uncompressed, under one
folder: `data.pkl`, which refers to storages by key; `data/KEY`, the bytes of each; and `byteorder`, which an older
torch leaves out.
"""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from autoexp import inert
from autoexp.inert import NotWholeError

LIMIT_BYTES = 1 << 28
"""A pickle beyond this is no index of a checkpoint, and is not read into memory."""

_LOCAL_HEADER_BYTES = 30
"""What a zip puts before each member's name and data, at least; its last four bytes are two lengths."""

_STORAGES = {
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where a tensor lies in its file."""

    dtype: str
    shape: tuple[int, ...]
    contiguous: bool
    """Its elements follow each other, in rows, without gaps."""
    start_bytes: int
    """The place of its first element, from the beginning of the file."""
    item_bytes: int


def check(path: Path) -> None:
    """Raise as `read` does for a file that is absent or cut short; much quicker."""
    _open(path).close()


def read_item(path: Path, start_bytes: int, length_bytes: int) -> object:
    """Return what was saved into a part of a file; raises as `read` does."""
    with open_part(path, start_bytes, length_bytes) as archive:
        return inert.unpickle(_member(archive, "data.pkl", _label(path)), _label(path))


def item_tensor(path: Path, start_bytes: int, length_bytes: int) -> Tensor | None:
    """Return the place of the one tensor that was saved into a part of a file, None if it is none.

    Raises as `tensors` does.
    """
    label = f"{_label(path)} at {start_bytes}"
    with open_part(path, start_bytes, length_bytes) as archive:
        value = inert.unpickle(_member(archive, "data.pkl", label), label)
        found = _tensor(value, _checked_places(archive, label), label)
    return None if found is None else replace(found, start_bytes=start_bytes + found.start_bytes)


def read(path: Path) -> Mapping[str, object]:
    """Return the dictionary in the file; tensors and foreign classes are `inert.Inert`.

    Raises:
        NotWholeError: The file is absent, not whole, or no dictionary saved by torch.save.
        OSError: The file cannot be read.
    """
    with _open(path) as archive:
        value = inert.unpickle(_member(archive, "data.pkl", _label(path)), _label(path))
    if not isinstance(value, dict):
        raise NotWholeError(f"{_label(path)} does not hold a dictionary")
    return value


def tensors(path: Path, entries: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the place of those entries of `read`'s dictionary that are tensors of a plain number type.

    Raises:
        NotWholeError: A tensor lies outside its storage, or the bytes are in a foreign order.
        OSError: The file cannot be read.
    """
    with _open(path) as archive:
        places = _checked_places(archive, _label(path))
    found = {name: _tensor(value, places, f"{_label(path)}: {name}") for name, value in entries.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def read_index(path: Path) -> bytes:
    """Return the bytes of a small file.

    Raises:
        NotWholeError: The file is absent, is no regular file, or is too large to be an index.
        OSError: The file cannot be read.
    """
    if not path.is_file() or path.stat().st_size > LIMIT_BYTES:
        raise NotWholeError(f"{path.name} is not there: the save was cut short, or is still under way")
    return path.read_bytes()


# The zip.


def _label(path: Path) -> str:
    """Return the last two names of a path, which tell one shard from another."""
    return f"{path.parent.name}/{path.name}"


def _open(path: Path) -> zipfile.ZipFile:
    """Open a zip whose directory is there and whose members all lie before it.

    The directory is written last, at the end: a file that still grows, or was cut, has none.
    """
    if not path.is_file():  # a pipe is none either, and would keep us waiting
        raise NotWholeError(f"{_label(path)} is not there")
    return _checked_zip(path, _label(path))


@contextmanager
def open_part(path: Path, start_bytes: int, length_bytes: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip that is a part of a file.

    Raises:
        NotWholeError: it is none, or was cut.
        OSError: the file cannot be read.
    """
    with _Part(path, start_bytes, length_bytes) as raw, io.BufferedReader(raw) as part:
        yield _checked_zip(part, _label(path))


class _Part(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, path: Path, start_bytes: int, length_bytes: int) -> None:
        super().__init__()
        self._file = io.FileIO(path)
        self._start, self._length, self._at = start_bytes, length_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence], 0)
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        count = max(min(len(buffer), self._length - self._at), 0)
        data = os.pread(self._file.fileno(), count, self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _checked_zip(file: Path | IO[bytes], label: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise NotWholeError(f"{label} is not a whole zip: {error}") from error
    for member in archive.infolist():
        if _end_bytes(member) > archive.start_dir:
            archive.close()
            raise NotWholeError(f"{label}: {member.filename} reaches beyond the end of the data")
    return archive


def _end_bytes(member: zipfile.ZipInfo) -> int:
    """Return where a member's data ends at the earliest; torch pads in front of it to align tensors."""
    name_bytes = len(member.filename.encode("utf-8", "surrogateescape"))
    return member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + member.compress_size


def _member(archive: zipfile.ZipFile, name: str, label: str) -> bytes:
    members = [m for m in archive.infolist() if m.filename.partition("/")[2] == name]
    if len(members) != 1:
        raise NotWholeError(f"{label} is a zip, but not torch.save's: it has {len(members)} {name}")
    member = members[0]
    # torch.save only stores; a compressed member could unpack to any size.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > LIMIT_BYTES:
        raise NotWholeError(f"{label}: its {name} is compressed or huge, as torch.save never writes it")
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise NotWholeError(f"{label}: its {name} is damaged: {error}") from error


def _checked_places(archive: zipfile.ZipFile, label: str) -> dict[str, tuple[int, int]]:
    told = any(member.filename.partition("/")[2] == "byteorder" for member in archive.infolist())
    if told and _member(archive, "byteorder", label) != b"little":  # an older torch does not say
        raise NotWholeError(f"{label} was written by a big-endian machine")
    return _places(archive)


def _places(archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    """Return for each storage where its bytes start in the file, and how many there are."""
    places: dict[str, tuple[int, int]] = {}
    file = archive.fp
    for member in archive.infolist():
        key = member.filename.partition("/data/")[2]
        if key and file is not None and member.compress_type == zipfile.ZIP_STORED:
            file.seek(member.header_offset + _LOCAL_HEADER_BYTES - 4)
            lengths = file.read(4)
            padding = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            places[key] = (member.header_offset + _LOCAL_HEADER_BYTES + padding, member.file_size)
    return places


# The tensors.


def _tensor(value: object, places: Mapping[str, tuple[int, int]], label: str) -> Tensor | None:
    """Read the arguments of torch's function that would rebuild the tensor; a parameter wraps that call."""
    if not isinstance(value, inert.Inert):
        return None
    match value.named, value.args:
        case "torch._utils._rebuild_parameter", (
            inert.Inert(named="torch._utils._rebuild_tensor_v2") as data,
            *_,
        ):
            return _tensor(data, places, label)
        case "torch._utils._rebuild_tensor_v2", (
            inert.Stored(args=(("storage", kind, str(key), *_),)),
            int(first),
            tuple(shape),
            tuple(steps),
            *_,
        ):
            storage = _STORAGES.get(getattr(kind, "named", ""))
            if storage is None:
                return None
            tensor = _placed(storage, places.get(key, (0, 0)), first, _counts(shape), _counts(steps))
            if tensor is None:
                raise NotWholeError(f"{label} does not lie inside its storage")
            return tensor
        case _:
            return None


def _placed(
    storage: tuple[str, int],
    place: tuple[int, int],
    first: int,
    shape: tuple[int, ...],
    steps: tuple[int, ...],
) -> Tensor | None:
    """Place a tensor that begins at element `first` of its storage; None for one that reaches beyond it."""
    (dtype, item_bytes), (start_bytes, size_bytes) = storage, place
    last = first + sum((size - 1) * step for size, step in zip(shape, steps, strict=False))
    outside = (last + 1) * item_bytes > size_bytes and 0 not in shape
    if outside or len(shape) != len(steps) or min(first, *shape, *steps, 0) < 0:
        return None
    return Tensor(
        dtype=dtype,
        shape=shape,
        contiguous=_contiguous(shape, steps),
        start_bytes=start_bytes + first * item_bytes,
        item_bytes=item_bytes,
    )


def _counts(values: tuple[object, ...]) -> tuple[int, ...]:
    """Return sizes or strides; -1, which fits nowhere, stands for what is none."""
    return tuple(value if isinstance(value, int) and value >= 0 else -1 for value in values)


def _contiguous(shape: tuple[int, ...], steps: tuple[int, ...]) -> bool:
    """Compare the steps with those of rows laid end to end; a single row or none may have any."""
    expected = 1
    for size, step in zip(reversed(shape), reversed(steps), strict=True):
        if size > 1 and step != expected and 0 not in shape:
            return False
        expected *= size
    return True
