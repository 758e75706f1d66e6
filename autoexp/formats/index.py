"""The index of a torch distributed checkpoint, `.metadata`: which items there are, and where their pieces lie.

It is a pickle of torch.distributed.checkpoint.metadata.Metadata. Nothing in it runs, and no path in it leaves the
folder.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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

    @property
    def needed_bytes(self) -> dict[str, int]:
        """For each file the end of its last piece; a real file ends exactly there."""
        needed: dict[str, int] = {}
        for path, start, length in self.all():
            if start + length > needed.get(path, -1):
                needed[path] = start + length
        return needed

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
    metadata = inert.unpickle(torchfile.read_index(folder / INDEX), INDEX, _records())
    items, storage = getattr(metadata, "state_dict_metadata", None), getattr(metadata, "storage_data", None)
    if not isinstance(items, dict) or not isinstance(storage, dict) or not storage:
        raise NotWholeError(f"{INDEX} holds no index of items and pieces")
    pieces: dict[str, list[tuple[object, Piece]]] = {}
    for key, place in storage.items():
        pieces.setdefault(_item_of(key), []).append((getattr(key, "offset", None), _piece(place)))
    found = Index(items=items, pieces=pieces)
    _check_inside({path for path, _, _ in found.all()})
    for key, item in items.items():
        if len(pieces.get(key, ())) != _count_chunks(item):
            raise NotWholeError(f"{INDEX} has {len(pieces.get(key, ()))} of {_count_chunks(item)} pieces of {key}")
    return found


def _records() -> dict[str, type]:
    """Return stand-ins that C makes, five times faster than `inert.Inert`; new ones, as a pickle may spoil a class."""
    return {"torch.Size": tuple} | {f"torch.distributed.checkpoint.{name}": type("Record", (), {}) for name in _RECORDS}


def _count_chunks(item: object) -> int:
    """Count the places that an item's pieces must fill; what is no tensor has one."""
    chunks = getattr(item, "chunks", None)
    if not isinstance(chunks, list):
        return 1
    return len({str(getattr(chunk, "offsets", None)) for chunk in chunks})


def _item_of(key: object) -> str:
    name = getattr(key, "fqn", None)
    if not isinstance(name, str):
        raise NotWholeError(f"{INDEX} has a piece of no item")
    return name


def _piece(place: object) -> Piece:
    path, start, length = (
        getattr(place, "relative_path", None),
        getattr(place, "offset", None),
        getattr(place, "length", None),
    )
    if not (isinstance(path, str) and isinstance(start, int) and isinstance(length, int)):
        raise NotWholeError(f"{INDEX} has a piece without relative_path, offset and length")
    if start < 0 or length < 0:
        raise NotWholeError(f"{INDEX} has a piece of {length} bytes at byte {start}")
    return path, start, length


def _box(size: object) -> Box:
    """Read a torch.Size."""
    values = size if isinstance(size, tuple) else ()
    return tuple(value for value in values if isinstance(value, int))


def _check_inside(paths: Iterable[str]) -> None:
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise NotWholeError(f"{INDEX} points outside the folder, at {path!r}")
