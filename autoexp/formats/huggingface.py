"""HuggingFace folders, as `save_pretrained`, the Trainer and our own conversion write them.

    config.json
    model.safetensors, or model.safetensors.index.json and the files it names
    pytorch_model.bin, or pytorch_model.bin.index.json and the files it names
    trainer_state.json, optimizer.pt     the Trainer's: what it resumes from

A safetensors file says in its first bytes how long it is: https://huggingface.co/docs/safetensors.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autoexp import torchfile
from autoexp.formats import Judgement, parts, whole, with_iteration
from autoexp.inert import NotWholeError

CONFIG = "config.json"
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_LONGEST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_ADVICE = "it is a HuggingFace model already: nothing to convert"
_STATE, _OPTIMIZER = "trainer_state.json", "optimizer.pt"

Check = Callable[[Path, bool], frozenset[str] | None]
"""Checks a file, deep or not; returns the names of its tensors, None where it does not tell."""


def is_one(names: frozenset[str]) -> bool:
    """Say whether these names are of such a folder, begun or whole."""
    weights = (_SAFE, _SAFE + _INDEX, _PICKLED, _PICKLED + _INDEX)
    return CONFIG in names or not names.isdisjoint(weights) or any(_is_shard(name) for name in names)


def _is_shard(name: str) -> bool:
    return name.startswith(("model-", "pytorch_model-")) and name.endswith((".safetensors", ".bin"))


def judge(folder: Path, names: frozenset[str], blank: Judgement, *, deep: bool) -> Judgement:
    """Judge a HuggingFace folder.

    Raises:
        OSError: a file cannot be read.
    """
    judgement = replace(blank, format="hf")
    try:
        _object(folder / CONFIG)
        _check_weights(folder, names, deep=deep)
        resumable = _STATE in names and _OPTIMIZER in names
        if resumable:
            judgement = with_iteration(judgement, _object(folder / _STATE).get("global_step"))
            torchfile.check(folder / _OPTIMIZER)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    return whole(judgement, convertible=False, resumable=resumable, advice=_ADVICE)


def _check_weights(folder: Path, names: frozenset[str], *, deep: bool) -> None:
    """Check the weights that a reader would take: safetensors first, and an index before a single file is missed."""
    for name, check in ((_SAFE, check_safetensors), (_PICKLED, _check_pickled)):
        if name in names:
            check(folder / name, deep)
            return
        if name + _INDEX in names:
            _check_index(folder, name + _INDEX, check, deep=deep)
            return
    shards = sorted(name for name in names if _is_shard(name))
    if shards:
        raise NotWholeError(f"{shards[0]} is there, but no index beside it")
    raise NotWholeError(f"{CONFIG} is there, and no weights: neither {_SAFE} nor {_PICKLED}, nor an index of several")


def _check_index(folder: Path, name: str, check: Check, *, deep: bool) -> None:
    listed = _object(folder / name).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise NotWholeError(f"{name} holds no weight_map")
    tensors: dict[str, set[str]] = {}
    for tensor, file in listed.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise NotWholeError(f"{name} points outside the folder, at {file!r}")
        tensors.setdefault(file, set()).add(tensor)
    for file, expected in sorted(tensors.items()):
        found = check(folder / file, deep)
        if found is not None and (lost := expected - found):
            raise NotWholeError(f"{file} lacks {min(lost)}, which {name} says is there")


def check_safetensors(file: Path, _deep: bool = False) -> frozenset[str]:  # noqa: FBT001, FBT002 - one of two checks
    """Return the names in a safetensors file that is exactly as long as its header says; it holds no checksums.

    Raises:
        NotWholeError: it is absent, cut short, or its header is damaged.
        OSError: it cannot be read.
    """
    size = parts.status(file, file.name).st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= min(size - 8, _LONGEST_HEADER_BYTES):
            raise NotWholeError(f"{file.name} is cut short: its header is not there")
        header = _parsed(opened.read(length), file.name)
    ends = [_end(entry) for name, entry in header.items() if name != "__metadata__"]
    needed = 8 + length + max(ends, default=0)
    if min(ends, default=0) < 0 or size != needed:
        raise NotWholeError(f"{file.name} has {size} of {needed} bytes")
    return frozenset(header) - {"__metadata__"}


def _end(entry: object) -> int:
    """Return where a tensor's data ends; -1 for an entry that does not say."""
    match entry:
        case {"data_offsets": [int(start), int(end)]} if 0 <= start <= end:
            return end
        case _:
            return -1


def _check_pickled(file: Path, deep: bool) -> None:  # noqa: FBT001 - one of two checks
    torchfile.check(file)
    if deep:
        parts.check_sums(file, file.name)


def _object(file: Path) -> dict[str, object]:
    return _parsed(torchfile.read_index(file), file.name)


def _parsed(text: bytes, name: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotWholeError(f"{name} is not whole: {error}") from error
    if not isinstance(value, dict):
        raise NotWholeError(f"{name} holds no object")
    return value
