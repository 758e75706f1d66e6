"""The index of a torch distributed checkpoint, `.metadata`: which items there are, and where their pieces lie.

It is a pickle of torch.distributed.checkpoint.metadata.Metadata. Nothing in it runs, and no path in it leaves the
folder.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from autoexp import inert, torchfile
from autoexp.inert import NotWholeError

INDEX = ".metadata"

_RECORDS = (
    "filesystem._StorageInfo",
    "metadata.BytesStorageMetadata",
    "metadata.ChunkStorageMetadata",
    "metadata.Metadata",
    "metadata.MetadataIndex",
    "metadata.TensorStorageMetadata",
)
"""torch's plain records: an index has some hundred thousand of them."""

_PLANS = b"\x8c\x0fall_local_plans"
"""How a pickle names Metadata's last field."""
_END = b"ub."
"""How it ends a record's fields, the record, and itself."""
_FRAME_BYTES = 1 << 17
"""A pickle's frame ends with the first small object beyond 64 KiB."""
_NOTHING: Mapping[str, object] = MappingProxyType({})

Box = tuple[int, ...]
Piece = tuple[str, int, int]
"""A file of the folder, where in it the piece begins, and how many bytes it has: a torch.save zip of its own."""
Chunk = tuple[Box, Box, Piece]
"""Where in its tensor a piece begins, its shape, and its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What .metadata says."""

    items: Mapping[str, object]
    """Each item's own record: a tensor's has `size` and `chunks`."""
    pieces: Mapping[str, list[tuple[object, Piece]]]
    """The pieces of each item, each with what is said of where in the tensor it begins."""

    needed_bytes: Mapping[str, int]
    """For each file the end of its last piece; a real file ends exactly there."""

    def all(self) -> Iterator[Piece]:
        """Yield every piece."""
        for pieces in self.pieces.values():
            yield from (piece for _, piece in pieces)

    def has(self, word: str) -> bool:
        """Say whether an item's name has this in it."""
        return any(word in key for key in self.pieces)

    def shape(self, item: str) -> Box:
        """Return a tensor's shape."""
        return _box(getattr(self.items[item], "size", None))

    def chunks(self, item: str) -> list[Chunk] | None:
        """Return a tensor's pieces; None for what is no tensor.

        Raises:
            NotWholeError: one has no place.
        """
        chunks = getattr(self.items[item], "chunks", None)
        if not isinstance(chunks, list):
            return None
        places = {_box(offset): piece for offset, piece in self.pieces.get(item, ())}
        boxes = [(_box(getattr(chunk, "offsets", None)), _box(getattr(chunk, "sizes", None))) for chunk in chunks]
        for offset, _ in boxes:
            if offset not in places:
                raise NotWholeError(f"{INDEX} does not say where {item} at {list(offset)} is")
        return [(offset, shape, places[offset]) for offset, shape in boxes]


def read(folder: Path) -> Index:
    """Read a folder's index.

    Raises:
        NotWholeError: it is absent, damaged, points outside, or its items and pieces do not match.
        OSError: it cannot be read.
    """
    metadata = _metadata(torchfile.read_index(folder / INDEX))
    said: Mapping[str, object] = inert.state_of(metadata) or getattr(metadata, "__dict__", {})  # core 0.15 has its own
    items, storage = said.get("state_dict_metadata"), said.get("storage_data")
    if not isinstance(items, dict) or not isinstance(storage, dict) or not storage:
        raise NotWholeError(f"{INDEX} holds no index of items and pieces")
    found = _gathered(items, storage)
    _check_inside(found.needed_bytes)
    for key, item in items.items():
        has, needs = len(found.pieces.get(key, ())), _count_chunks(item)
        if has != needs:
            raise NotWholeError(f"{INDEX} has {has} of {needs} pieces of {key}")
    return found


def _metadata(data: bytes) -> object:
    """Unpickle all but the plans of the ranks, that say most of it again: the last field, where there are any.

    The pickle ends in place, and its frame with what followed.
    """
    plans = data.rfind(_PLANS) if data.endswith(_END) else -1
    if plans >= 0:
        with suppress(NotWholeError):  # those words were not the field's name
            frame = data[plans + len(_END) : plans + _FRAME_BYTES]
            return inert.unpickle(b"".join((memoryview(data)[:plans], _END, frame)), INDEX, _records())
    return inert.unpickle(data, INDEX, _records())


def _gathered(items: Mapping[str, object], storage: Mapping[object, object]) -> Index:
    """Go through the pieces once: there may be a hundred thousand."""
    pieces: dict[str, list[tuple[object, Piece]]] = {}
    needed: dict[str, int] = {}
    for key, place in storage.items():
        of, at = getattr(key, "__dict__", _NOTHING), getattr(place, "__dict__", _NOTHING)
        name, path, start, length = of.get("fqn"), at.get("relative_path"), at.get("offset"), at.get("length")
        if not isinstance(name, str):
            raise NotWholeError(f"{INDEX} has a piece of no item")
        if not (isinstance(path, str) and isinstance(start, int) and isinstance(length, int)):
            raise NotWholeError(f"{INDEX} has a piece without relative_path, offset and length")
        if start < 0 or length < 0:
            raise NotWholeError(f"{INDEX} has a piece of {length} bytes at byte {start}")
        pieces.setdefault(name, []).append((of.get("offset"), (path, start, length)))
        if start + length > needed.get(path, -1):
            needed[path] = start + length
    return Index(items=items, pieces=pieces, needed_bytes=needed)


def _records() -> dict[str, type]:
    """Return stand-ins that C makes, five times faster than `inert.Inert`; new ones, as a pickle may spoil a class."""
    return {"torch.Size": tuple} | {f"torch.distributed.checkpoint.{name}": type("Record", (), {}) for name in _RECORDS}


def _count_chunks(item: object) -> int:
    """Count the places that an item's pieces must fill; what is no tensor has one."""
    chunks = getattr(item, "chunks", None)
    if not isinstance(chunks, list):
        return 1
    try:
        return len({getattr(chunk, "offsets", None) for chunk in chunks})
    except TypeError as error:
        raise NotWholeError(f"{INDEX} has a piece at no place") from error


def _box(size: object) -> Box:
    """Read a torch.Size."""
    values = size if isinstance(size, tuple) else ()
    return tuple(value for value in values if isinstance(value, int))


def _check_inside(paths: Iterable[str]) -> None:
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise NotWholeError(f"{INDEX} points outside the folder, at {path!r}")
