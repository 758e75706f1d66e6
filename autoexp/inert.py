"""Reads pickles and torch.save files without torch, and without running anything they contain.

A pickle is a program: it may import and call what it likes. The unpickler here hands out one harmless class
for every name a pickle asks for, so plain data (numbers, strings, lists, dictionaries) comes through, and
everything else becomes an `Inert` that only remembers the state it was given.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Self

LIMIT_BYTES = 1 << 28
"""A pickle beyond this is no index of a checkpoint, and is not read into memory."""

_LOCAL_HEADER_BYTES = 30
"""What a zip puts before each member's name and data, at least."""


class NotWholeError(Exception):
    """A file that is absent, cut short or damaged; the text says which and how."""


class Inert:
    """Stands in for whatever a pickle names: takes any arguments, keeps its state, does nothing."""

    state: object = None

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Take any arguments, and forget them."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Take an item, as a mapping would."""

    def append(self, item: object) -> None:
        """Take an item, as a list would."""

    extend = add = append


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> type:
        """Import nothing: a mapping that keeps its order, or a stand-in."""
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else Inert

    def persistent_load(self, _pid: object, /) -> Inert:
        """Leave a tensor where it is."""
        return Inert()


def unpickle(data: bytes, label: str) -> object:
    """Return what a pickle holds, with stand-ins for all that is not plain data.

    Raises:
        NotWholeError: The pickle is damaged; `label` names it in the text.
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged or hostile pickle may raise anything at all
        raise NotWholeError(f"{label} cannot be unpickled: {type(error).__name__}: {error}") from error


def state_of(value: object) -> dict[str, object]:
    """Return the attributes a stand-in was given; empty when it was given none, or is none."""
    state = value.state if isinstance(value, Inert) else None
    return state if isinstance(state, dict) else {}


def label(path: Path) -> str:
    """Return the last two names of a path, which tell one shard from another."""
    return f"{path.parent.name}/{path.name}"


def read_index(path: Path) -> bytes:
    """Return the bytes of a small file.

    Raises:
        NotWholeError: The file is absent, is no regular file, or is too large to be an index.
        OSError: The file cannot be read.
    """
    if not path.is_file() or path.stat().st_size > LIMIT_BYTES:
        raise NotWholeError(f"{path.name} is not there: the save was cut short, or is still under way")
    return path.read_bytes()


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip whose directory is there and whose members all lie before it.

    The directory is written last, at the end: a file that still grows, or was cut, has none.

    Raises:
        NotWholeError: The file is absent or not a whole zip.
        OSError: The file cannot be read.
    """
    if not path.is_file():  # nor is a pipe one, which would keep us waiting
        raise NotWholeError(f"{label(path)} is not there")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise NotWholeError(f"{label(path)} is not a whole zip: {error}") from error
    for member in archive.infolist():
        if _end_bytes(member) > archive.start_dir:
            archive.close()
            raise NotWholeError(f"{label(path)}: {member.filename} reaches beyond the end of the data")
    return archive


def _end_bytes(member: zipfile.ZipInfo) -> int:
    """Return where a member's data ends at the earliest; torch pads in front of it to align tensors."""
    name_bytes = len(member.filename.encode("utf-8", "surrogateescape"))
    return member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + member.compress_size


def check_zip(path: Path) -> None:
    """Raise as `open_zip` does."""
    open_zip(path).close()


def read_torch_file(path: Path) -> Mapping[str, object]:
    """Return the dictionary that torch.save wrote, with stand-ins for tensors and foreign classes.

    Raises:
        NotWholeError: The file is absent, not whole, or no dictionary saved by torch.save.
        OSError: The file cannot be read.
    """
    with open_zip(path) as archive:
        value = unpickle(_data_pkl(archive, label(path)), label(path))
    if not isinstance(value, dict):
        raise NotWholeError(f"{label(path)} does not hold a dictionary")
    return value


def _data_pkl(archive: zipfile.ZipFile, name: str) -> bytes:
    members = [
        m for m in archive.infolist() if m.filename.count("/") == 1 and m.filename.endswith("/data.pkl")
    ]
    if len(members) != 1:
        raise NotWholeError(f"{name} is a zip, but not torch.save's: it has {len(members)} data.pkl")
    member = members[0]
    # torch.save only stores; a compressed member could unpack to any size.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > LIMIT_BYTES:
        raise NotWholeError(f"{name}: its data.pkl is compressed or huge, as torch.save never writes it")
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise NotWholeError(f"{name}: its data.pkl is damaged: {error}") from error
