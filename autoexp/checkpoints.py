"""Judges Megatron checkpoints by their structure: is one whole, can it be converted, can it be resumed?

Rule 1: nothing from a file runs, and no tensor is read (`autoexp.inert`, `autoexp.torchfile`).
Rule 2: numbers are parsed, never matched by a pattern: `iter_0012000` is not iteration 2000.
Rule 3: the tracker is a hint. It is written after the shards, in place, and a later save passes a broken one.
Rule 4: files come and go while we look. What vanished is "not whole", never an exception.

Formats, from Megatron-LM's `megatron/training/checkpointing.py` and torch's `torch/distributed/checkpoint`:

    torch       mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt (a torch.save zip), distrib_optim.pt beside it
    torch_dist  metadata.json, .metadata (a pickled index), *.distcp, and common.pt or the item common_state
"""

import json
import math
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Literal

from autoexp import inert, torchfile
from autoexp.inert import NotWholeError

TRACKER = "latest_checkpointed_iteration.txt"
MODEL_FILE = "model_optim_rng.pt"
OPTIMIZER_FILE = "distrib_optim.pt"

_ITERATION = re.compile(r"iter_([0-9]+)")
_RANK = re.compile(r"mp_rank_[0-9]{2,}(_[0-9]{3,}){0,2}")
_MOST_RANKS = 1 << 20
_MTIME_SLACK_S = 2.0
"""Clocks of file servers differ a little: a shard so much younger than its index contradicts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a checkpoint folder is good for; `why` says what is missing."""

    format: Literal["torch", "torch_dist", "torch_dcp", "fsdp_dtensor", "zarr", "unknown"]
    iteration: int | None
    complete: bool
    """Every file that belongs to the save is there and whole."""
    convertible: bool
    """The weights are whole, in a format whose weights can be read."""
    resumable: bool
    """Training can go on from here: complete, and the optimizer's state was saved."""
    why: str


def iteration_of(name: str) -> int | None:
    """Return the number in a name such as `iter_0000200`, whatever its padding; None for other names."""
    match = _ITERATION.fullmatch(name)
    return int(match[1]) if match else None


def folder_name(iteration: int) -> str:
    """Return the name Megatron looks for: `iter_` and at least seven digits."""
    return f"iter_{iteration:07d}"


def iterations(root: Path) -> dict[int, Path]:
    """Return the iteration folders of a save directory, ascending; empty when it cannot be listed.

    Links count. Of two names with one number, Megatron's own spelling wins.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except OSError:
        return {}
    found: dict[int, Path] = {}
    for name in names:
        number = iteration_of(name)
        if number is not None and (number not in found or name == folder_name(number)):
            found[number] = root / name
    return dict(sorted(found.items()))


def read_tracker(root: Path) -> int | Literal["release", "garbled"] | None:
    """Return what a save directory's tracker says: a number, "release", or None where there is none.

    "garbled" says nothing: empty (Megatron truncates before it writes), not a number, unreadable. Megatron
    exits 0 without training on such a tracker, and trains from random weights without one, so the two differ.
    """
    try:
        with (root / TRACKER).open("rb") as file:
            text = file.read(64).strip()
    except FileNotFoundError:
        return None
    except OSError:
        return "garbled"
    if text == b"release":
        return "release"
    return int(text) if re.fullmatch(rb"[0-9]{1,18}", text) else "garbled"


def judge(folder: Path) -> Judgement:
    """Judge one iteration folder by names, sizes and indexes.

    Never raises for what is on the disk: what cannot be read is not complete, and `why` names it.
    """
    blank = Judgement(
        format="unknown",
        iteration=iteration_of(folder.name),
        complete=False,
        convertible=False,
        resumable=False,
        why=f"{folder} holds no checkpoint in a format known here",
    )
    try:
        return _judge_names(folder, frozenset(entry.name for entry in folder.iterdir()), blank)
    except OSError as error:
        return replace(blank, why=f"{error.filename or folder} cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:  # a number of a million digits, a name no file can have
        return replace(blank, why=f"{folder} holds values that no save writes: {error}")


def _judge_names(folder: Path, names: frozenset[str], blank: Judgement) -> Judgement:
    """Choose the format in Megatron's own order of evidence."""
    if "metadata.json" in names:
        return _judge_distributed(folder, names, blank)
    ranks = sorted(name for name in names if _RANK.fullmatch(name))
    if ranks:
        return _judge_torch(folder, ranks, replace(blank, format="torch"))
    if any(name == ".metadata" or name.endswith(".distcp") for name in names):
        return _judge_distributed(folder, names, blank)
    return blank


def _verdict(judgement: Judgement, *, convertible: bool, resumable: bool) -> Judgement:
    why = "whole" if resumable else "whole, but saved without the optimizer's state"
    return replace(judgement, complete=True, convertible=convertible, resumable=resumable, why=why)


# The legacy format: one folder a model-parallel rank.


def _judge_torch(folder: Path, found: list[str], judgement: Judgement) -> Judgement:
    try:
        state = torchfile.read(folder / found[0] / MODEL_FILE)
        args = _arguments(state)
        judgement = _with_iteration(judgement, state.get("iteration"))
        ranks = _ranks(args)
        _check_shards(folder, found, ranks)
        judgement = replace(judgement, convertible=True)
        if args.get("use_distributed_optimizer") and not args.get("no_save_optim"):
            for rank in ranks:
                torchfile.check(folder / rank / OPTIMIZER_FILE)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    saved = "optimizer" in state and not args.get("no_save_optim")
    return _verdict(judgement, convertible=True, resumable=saved)


def _arguments(state: Mapping[str, object]) -> Mapping[str, object]:
    """Return the training arguments, which say how many ranks there must be."""
    args = inert.state_of(state.get("args"))
    if not args:
        raise NotWholeError(f"{MODEL_FILE} holds no args, so its parallel layout is unknown")
    if "model" not in state and "model0" not in state:
        raise NotWholeError(f"{MODEL_FILE} holds no model")
    return args


def _with_iteration(judgement: Judgement, inside: object) -> Judgement:
    """Take the iteration from the file where the name has none; refuse a file that contradicts the name."""
    if not isinstance(inside, int):
        return judgement
    if judgement.iteration not in {None, inside}:
        raise NotWholeError(f"the folder's name says iteration {judgement.iteration}, the file inside {inside}")
    return replace(judgement, iteration=inside)


def _check_shards(folder: Path, found: list[str], ranks: list[str]) -> None:
    """Check that every rank's model is there, and no rank's of another layout saved over this one."""
    stray = sorted(set(found) - set(ranks))
    if stray:
        raise NotWholeError(f"{stray[0]} is there, but the args in {found[0]} ask for {len(ranks)} ranks without it")
    for rank in ranks:
        if rank != found[0]:  # that one was just read
            torchfile.check(folder / rank / MODEL_FILE)


def _ranks(args: Mapping[str, object]) -> list[str]:
    """Return the folder of each model-parallel rank; stages and experts are named where there are several.

    One stage with two expert ranks is mp_rank_00_001, which only `args` can tell from two stages.
    """
    sizes = [_size(args, f"{kind}_model_parallel_size") for kind in ("tensor", "pipeline", "expert")]
    if math.prod(sizes) > _MOST_RANKS:
        raise NotWholeError(f"args ask for {math.prod(sizes)} ranks, more than any machine has")
    _, stages, experts = sizes
    return [
        f"mp_rank_{t:02d}" + (f"_{p:03d}" if stages > 1 else "") + (f"_{e:03d}" if experts > 1 else "")
        for t, p, e in product(*map(range, sizes))
    ]


def _size(args: Mapping[str, object], name: str) -> int:
    size = args.get(name, 1)  # a tree older than the option has one rank of that kind
    if not isinstance(size, int) or size < 1:
        raise NotWholeError(f"args.{name} is {size!r}, which is no number of ranks")
    return size


# The distributed formats: an index, and files of pieces.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """What .metadata says: the items' names, and how long each file must be at least."""

    keys: frozenset[str]
    needed_bytes: Mapping[str, int]


def _judge_distributed(folder: Path, names: frozenset[str], blank: Judgement) -> Judgement:
    judgement = replace(blank, format="torch_dist")
    try:
        backend = _backend(folder) if "metadata.json" in names else None
        if backend not in {None, "torch_dist"}:
            return _foreign(blank, backend)
        index = _read_index(folder)
        if backend is None:
            judgement = _without_marker(judgement, index)
        _check_pieces(folder, index)
        _check_times(folder, index)
        if backend:
            judgement = _with_common(judgement, folder, index)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    saved = any("optimizer" in key for key in index.keys)
    return _verdict(judgement, convertible=bool(backend), resumable=saved)


def _foreign(blank: Judgement, backend: str) -> Judgement:
    if backend == "zarr":
        return replace(blank, format="zarr", why="Megatron reads zarr no longer, since core 0.16")
    return replace(blank, why=f"metadata.json names the backend {backend!r}, which is unknown here")


def _backend(folder: Path) -> str:
    """Return the backend that metadata.json names; the file is created empty, then filled."""
    try:
        marker = json.loads(torchfile.read_index(folder / "metadata.json"))
    except (ValueError, RecursionError) as error:
        raise NotWholeError(f"metadata.json, which is written last, is not whole: {error}") from error
    backend = marker.get("sharded_backend") if isinstance(marker, dict) else None
    return backend if isinstance(backend, str) and backend else "none"


def _without_marker(judgement: Judgement, index: _Index) -> Judgement:
    """Tell Megatron-FSDP (no metadata.json, its args are an item) from a save that was cut short."""
    if "args" not in index.keys:
        raise NotWholeError("metadata.json is not there: the save was cut short, or is still under way")
    fsdp = any(key.startswith("model.module.") for key in index.keys)
    return replace(judgement, format="fsdp_dtensor" if fsdp else "torch_dcp")


def _read_index(folder: Path) -> _Index:
    metadata = inert.state_of(inert.unpickle(torchfile.read_index(folder / ".metadata"), ".metadata"))
    keys, storage = metadata.get("state_dict_metadata"), metadata.get("storage_data")
    if not isinstance(keys, dict) or not isinstance(storage, dict) or not storage:
        raise NotWholeError(".metadata holds no index of items and pieces")
    return _Index(
        keys=frozenset(key for key in keys if isinstance(key, str)),
        needed_bytes=_needed_bytes(storage.values()),
    )


def _needed_bytes(pieces: Iterable[object]) -> dict[str, int]:
    """Return for each file the end of its last piece; a real file ends exactly there."""
    needed: dict[str, int] = {}
    for piece in pieces:
        state = inert.state_of(piece)
        path, offset, length = (state.get(key) for key in ("relative_path", "offset", "length"))
        if not (isinstance(path, str) and isinstance(offset, int) and isinstance(length, int)):
            raise NotWholeError(".metadata has a piece without relative_path, offset and length")
        needed[path] = max(needed.get(path, 0), offset + length)
    return needed


def _check_pieces(folder: Path, index: _Index) -> None:
    for name, needed in sorted(index.needed_bytes.items()):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise NotWholeError(f".metadata points outside the folder, at {name!r}")
        try:
            status = (folder / name).stat()
        except FileNotFoundError as error:
            raise NotWholeError(f"{name} is not there") from error
        if not stat.S_ISREG(status.st_mode) or status.st_size < needed:
            raise NotWholeError(f"{name} has {status.st_size} of {needed} bytes")


def _check_times(folder: Path, index: _Index) -> None:
    """Refuse a shard younger than its index: a save into this folder is under way, over old markers."""
    marks = [folder / name for name in (".metadata", "metadata.json") if (folder / name).exists()]
    indexed = min(mark.stat().st_mtime for mark in marks)
    for name in sorted(index.needed_bytes):
        if (folder / name).stat().st_mtime > indexed + _MTIME_SLACK_S:
            raise NotWholeError(
                f"{name} is younger than its index: a save into this folder is under way, or it was copied "
                "without its times (then touch .metadata and metadata.json)"
            )


def _with_common(judgement: Judgement, folder: Path, index: _Index) -> Judgement:
    """Check where args and iteration are kept: the item common_state since core 0.19, common.pt before."""
    if any(key.split("/")[0] == "common_state" for key in index.keys):
        return judgement
    return _with_iteration(judgement, torchfile.read(folder / "common.pt").get("iteration"))
