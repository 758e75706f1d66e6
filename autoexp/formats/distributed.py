"""Formats that are an index and files of pieces: Megatron-LM's `torch_dist`, and plain torch DCP.

    *.distcp          pieces, each a torch.save zip
    .metadata         the index, a pickle; written as .metadata.tmp after all pieces, then renamed
    common.pt         args and iteration of torch_dist up to core 0.18; since 0.19 they are an item, common_state
    metadata.json     names the backend; Megatron-LM writes it last, others (torch DCP, Megatron-FSDP) never

From `megatron/core/dist_checkpointing` and `torch/distributed/checkpoint/filesystem.py`.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from autoexp import inert, torchfile
from autoexp.formats import Judgement, parts, whole, with_iteration
from autoexp.inert import NotWholeError

INDEX = ".metadata"
MARKER = "metadata.json"
COMMON = "common.pt"
_COMMON_ITEM = "common_state"
_DRAFT = ".metadata.tmp"
_MTIME_SLACK_S = 2.0
"""Clocks of file servers differ a little: a shard so much younger than its index contradicts nothing."""
_OF_MEGATRON = ("decoder.", "encoder.", "embedding.", "output_layer.", "model.module.", _COMMON_ITEM)

_ZARR = (
    "Megatron-LM reads zarr no longer, since core 0.16: load it with core 0.15 or older, and save it with "
    "--ckpt-convert-format torch_dist"
)
_FSDP = "it is Megatron-FSDP's format, which is not converted: let Megatron-LM load it, and save it as torch_dist"
_DCP = "it is a plain torch DCP, which is not converted: export it with the framework that wrote it"


Piece = tuple[str, int, int]
"""A file of the folder, where in it the piece begins, and how many bytes it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """What .metadata says."""

    pieces: Mapping[str, list[Piece]]
    """The pieces of each item."""

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
            yield from pieces

    def has(self, word: str) -> bool:
        """Say whether an item's name has this in it."""
        return any(word in key for key in self.pieces)


def is_one(names: frozenset[str]) -> bool:
    """Say whether these names are of such a folder, begun or whole."""
    return not names.isdisjoint((INDEX, MARKER, COMMON, _DRAFT)) or any(name.endswith(".distcp") for name in names)


def zarr(blank: Judgement) -> Judgement:
    """Refuse Megatron-LM's former format."""
    return replace(blank, format="zarr", why=_ZARR)


def judge(folder: Path, names: frozenset[str], blank: Judgement, *, deep: bool) -> Judgement:
    """Judge a folder of one of these formats.

    Raises:
        OSError: a file cannot be read.
    """
    judgement = replace(blank, format="torch_dist")
    try:
        if MARKER in names and (backend := _backend(folder)) != "torch_dist":
            return _foreign(blank, backend)
        if _DRAFT in names:
            raise NotWholeError(f"{_DRAFT} is there: a save into this folder is under way, or was cut short")
        with inert.uncollected():
            index = _read_index(folder)
        if MARKER not in names:
            judgement = _without_marker(judgement, names, index)
        _check_files(folder, names, index)
        args: Mapping[str, object] = {}
        if MARKER in names:
            judgement, args = _with_common(judgement, folder, index)
        if deep:
            _check_sums(folder, names, index)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    saved = index.has("optim") and not args.get("no_save_optim")
    advice = {"fsdp_dtensor": _FSDP, "torch_dcp": _DCP}.get(judgement.format, "")
    return whole(judgement, convertible=judgement.format == "torch_dist", resumable=saved, advice=advice)


def arguments(folder: Path, blank: Judgement) -> Mapping[str, object]:
    """Return the training arguments of a torch_dist checkpoint.

    Raises:
        NotWholeError: there are none to be read.
        OSError: a file cannot be read.
    """
    return _with_common(blank, folder, _read_index(folder))[1]


def _foreign(blank: Judgement, backend: str) -> Judgement:
    if backend == "zarr":
        return zarr(blank)
    return replace(blank, why=f"{MARKER} names the backend {backend!r}, which is unknown here")


def _backend(folder: Path) -> str:
    """Return the backend that metadata.json names; the file is created empty, then filled."""
    try:
        marker = json.loads(torchfile.read_index(folder / MARKER))
    except (ValueError, RecursionError) as error:
        raise NotWholeError(f"{MARKER}, which is written last, is not whole: {error}") from error
    backend = marker.get("sharded_backend") if isinstance(marker, dict) else None
    return backend if isinstance(backend, str) and backend else "none"


def _without_marker(judgement: Judgement, names: frozenset[str], index: _Index) -> Judgement:
    """Tell what never has a marker from a torch_dist save that was cut before it.

    Megatron-LM's own formats without a marker have their args as an item; others do not use its names.
    """
    if "args" in index.pieces:
        return replace(judgement, format="fsdp_dtensor" if index.has("model.module.") else "torch_dcp")
    named = judgement.iteration is not None or COMMON in names
    if named or any(key.startswith(_OF_MEGATRON) for key in index.pieces):
        raise NotWholeError(f"{MARKER} is not there: the save was cut short, or is still under way")
    return replace(judgement, format="torch_dcp")


# The index.


_RECORDS = (
    "filesystem._StorageInfo",
    "metadata.BytesStorageMetadata",
    "metadata.ChunkStorageMetadata",
    "metadata.Metadata",
    "metadata.MetadataIndex",
    "metadata.TensorStorageMetadata",
)
"""torch's plain records: an index has some hundred thousand of them."""


def _records() -> dict[str, type]:
    """Return stand-ins that C makes, five times faster than `inert.Inert`; new ones, as a pickle may spoil a class."""
    return {"torch.Size": tuple} | {f"torch.distributed.checkpoint.{name}": type("Record", (), {}) for name in _RECORDS}


def _read_index(folder: Path) -> _Index:
    """Read the index.

    Raises:
        NotWholeError: it is absent, damaged, or its items and pieces do not match.
        OSError: it cannot be read.
    """
    metadata = inert.unpickle(torchfile.read_index(folder / INDEX), INDEX, _records())
    items, storage = getattr(metadata, "state_dict_metadata", None), getattr(metadata, "storage_data", None)
    if not isinstance(items, dict) or not isinstance(storage, dict) or not storage:
        raise NotWholeError(f"{INDEX} holds no index of items and pieces")
    pieces: dict[str, list[Piece]] = {}
    for key, place in storage.items():
        pieces.setdefault(_item_of(key), []).append(_piece(place))
    for key, item in items.items():
        if len(pieces.get(key, ())) != _count_chunks(item):
            raise NotWholeError(f"{INDEX} has {len(pieces.get(key, ()))} of {_count_chunks(item)} pieces of {key}")
    return _Index(pieces=pieces)


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


# The files. Each is asked for its status once.


def _check_files(folder: Path, names: frozenset[str], index: _Index) -> None:
    needed = index.needed_bytes
    _check_inside(needed)
    found = {name: parts.status(folder / name, name) for name in sorted(needed)}
    for name, size in needed.items():
        if found[name].st_size < size:
            raise NotWholeError(f"{name} has {found[name].st_size} of {size} bytes")
    beside = [name for name in names if (name.endswith(".distcp") or name == COMMON) and name not in found]
    _check_times(folder, names, found | {name: parts.status(folder / name, name) for name in beside})
    for name, size in needed.items():
        if found[name].st_blocks:  # a file without any may lie on tape, and reading would fetch it
            parts.check_not_blank(folder / name, name, size)


def _check_inside(paths: Iterable[str]) -> None:
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise NotWholeError(f"{INDEX} points outside the folder, at {path!r}")


def _check_times(folder: Path, names: frozenset[str], found: Mapping[str, os.stat_result]) -> None:
    """Refuse a shard younger than its index, listed or not: a save into this folder is under way, over old markers."""
    marks = [parts.status(folder / name, name).st_mtime for name in (INDEX, MARKER) if name in names]
    for name, status in found.items():
        if status.st_mtime > min(marks) + _MTIME_SLACK_S:
            raise NotWholeError(
                f"{name} is younger than its index: a save into this folder is under way, or it was copied "
                f"without its times (then touch {INDEX} and {MARKER})"
            )


def _with_common(judgement: Judgement, folder: Path, index: _Index) -> tuple[Judgement, Mapping[str, object]]:
    """Read what is common to all ranks, the training arguments among it: an item since core 0.19, common.pt before."""
    pieces = [piece for key, found in index.pieces.items() if key.split("/")[0] == _COMMON_ITEM for piece in found]
    state = _common_item(folder, pieces[0]) if pieces else torchfile.read(folder / COMMON)
    return with_iteration(judgement, state.get("iteration")), inert.state_of(state.get("args"))


def _common_item(folder: Path, piece: Piece) -> Mapping[str, object]:
    path, start, length = piece
    held = torchfile.read_item(folder / path, start, length)
    match held:
        case [dict() as state]:
            return state
        case _:
            raise NotWholeError(f"{_COMMON_ITEM} in {path} holds no state of a training")


def _check_sums(folder: Path, names: frozenset[str], index: _Index) -> None:
    for path, start, length in index.all():
        parts.check_sums(folder / path, path, start, length)
    if COMMON in names:
        parts.check_sums(folder / COMMON, COMMON)
    parts.check_hashes(folder)
