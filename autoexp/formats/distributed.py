"""Formats that are an index and files of pieces: Megatron-LM's `torch_dist`, and plain torch DCP.

    *.distcp          pieces, each a torch.save zip
    .metadata         the index, a pickle; written as .metadata.tmp after all pieces, then renamed
    common.pt         args and iteration of torch_dist up to core 0.18; since 0.19 they are an item, common_state
    metadata.json     names the backend; Megatron-LM writes it last, others (torch DCP, Megatron-FSDP) never

From `megatron/core/dist_checkpointing` and `torch/distributed/checkpoint/filesystem.py`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autoexp import inert, torchfile
from autoexp.formats import Judgement, parts, whole, with_iteration
from autoexp.formats.index import INDEX, Index, Piece
from autoexp.formats.index import read as read_index
from autoexp.inert import NotWholeError

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


def is_one(names: frozenset[str]) -> bool:
    """Say whether these names are of such a folder, begun or whole."""
    return not names.isdisjoint((INDEX, MARKER, COMMON, _DRAFT)) or any(name.endswith(".distcp") for name in names)


def zarr(blank: Judgement) -> Judgement:
    """Refuse Megatron-LM's former format."""
    return replace(blank, format="zarr", why=_ZARR)


@inert.uncollected()
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
        index = read_index(folder)
        if MARKER not in names:
            judgement = _without_marker(judgement, names, index)
        _check_files(folder, names, index)
        args: Mapping[str, object] = {}
        if MARKER in names:
            state = common(folder, index)
            judgement, args = with_iteration(judgement, state.get("iteration")), inert.state_of(state.get("args"))
        if deep:
            _check_sums(folder, names, index)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    saved = index.has("optim") and not args.get("no_save_optim")
    advice = {"fsdp_dtensor": _FSDP, "torch_dcp": _DCP}.get(judgement.format, "")
    return whole(judgement, convertible=judgement.format == "torch_dist", resumable=saved, advice=advice)


def arguments(folder: Path) -> Mapping[str, object]:
    """Return the training arguments of a torch_dist checkpoint.

    Raises:
        NotWholeError: there are none to be read.
        OSError: a file cannot be read.
    """
    return inert.state_of(common(folder, read_index(folder)).get("args"))


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


def _without_marker(judgement: Judgement, names: frozenset[str], index: Index) -> Judgement:
    """Tell what never has a marker from a torch_dist save that was cut before it.

    Megatron-LM's own formats without a marker have their args as an item; others do not use its names.
    """
    if "args" in index.pieces:
        return replace(judgement, format="fsdp_dtensor" if index.has("model.module.") else "torch_dcp")
    named = judgement.iteration is not None or COMMON in names
    if named or any(key.startswith(_OF_MEGATRON) for key in index.pieces):
        raise NotWholeError(f"{MARKER} is not there: the save was cut short, or is still under way")
    return replace(judgement, format="torch_dcp")


# The files. Each is asked for its status once.


def _check_files(folder: Path, names: frozenset[str], index: Index) -> None:
    needed = index.needed_bytes
    found = {name: parts.status(folder / name, name) for name in sorted(needed)}
    for name, size in needed.items():
        if found[name].st_size < size:
            raise NotWholeError(f"{name} has {found[name].st_size} of {size} bytes")
    beside = [name for name in names if (name.endswith(".distcp") or name == COMMON) and name not in found]
    _check_times(folder, names, found | {name: parts.status(folder / name, name) for name in beside})
    for name, size in needed.items():
        if found[name].st_blocks:  # a file without any may lie on tape, and reading would fetch it
            parts.check_not_blank(folder / name, name, size)


def _check_times(folder: Path, names: frozenset[str], found: Mapping[str, os.stat_result]) -> None:
    """Refuse a shard younger than its index, listed or not: a save into this folder is under way, over old markers."""
    marks = [parts.status(folder / name, name).st_mtime for name in (INDEX, MARKER) if name in names]
    for name, status in found.items():
        if status.st_mtime > min(marks) + _MTIME_SLACK_S:
            raise NotWholeError(
                f"{name} is younger than its index: a save into this folder is under way, or it was copied "
                f"without its times (then touch {INDEX} and {MARKER})"
            )


def common(folder: Path, index: Index) -> Mapping[str, object]:
    """Read what is common to all ranks, the training arguments among it: an item since core 0.19, common.pt before.

    Raises:
        NotWholeError: it is absent, or damaged.
        OSError: a file cannot be read.
    """
    found = (pieces for key, pieces in index.pieces.items() if key.split("/")[0] == _COMMON_ITEM)
    first = next((piece for pieces in found for _, piece in pieces), None)
    return _common_item(folder, first) if first else torchfile.read(folder / COMMON)


def _common_item(folder: Path, piece: Piece) -> Mapping[str, object]:
    path, start, length = piece
    held = torchfile.read_item(folder / path, start, length)
    match held:
        case [dict() as state]:
            return state
        case _:
            raise NotWholeError(f"{_COMMON_ITEM} in {path} holds no state of a training")


def _check_sums(folder: Path, names: frozenset[str], index: Index) -> None:
    for path, start, length in index.all():
        parts.check_sums(folder / path, path, start, length)
    if COMMON in names:
        parts.check_sums(folder / COMMON, COMMON)
    parts.check_hashes(folder)
