"""Megatron-LM's `torch` format: each rank's part of the model in a file of its own.

A stage counts its layers from 0, an expert rank its experts; where one begins is counted from the files, for stages
need not be equal. Source: megatron/training/checkpointing.py, get_checkpoint_name.
"""

import re
import reprlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp import inert, torchfile
from autoexp.conversion.names import canonical, is_weight, split_of
from autoexp.conversion.source import Source, check_version, checked, refused
from autoexp.conversion.weights import Piece, Weight, join
from autoexp.formats import legacy as formats
from autoexp.formats.legacy import MODEL_FILE
from autoexp.inert import NotWholeError

_NUMBER = re.compile(r"\b(layers|experts)\.([0-9]+)\.")
Part = dict[str, Weight]
"""Some weights of one rank's chunk, by our names."""
Copy = tuple[str, Weight]


@dataclass(frozen=True, slots=True)
class _Whole:
    """What the ranks' files come to."""

    weights: Part = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    differing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How many ranks of each kind shared the model."""

    tensor: int
    stages: int
    experts: int
    gated: bool

    def folder(self, tensor: int, stage: int, expert: int) -> str:
        """Name a rank's folder."""
        return formats.rank_name((tensor, stage, expert), (self.tensor, self.stages, self.experts))


def read(folder: Path) -> Source:
    """Read where the weights of a checkpoint lie.

    Raises:
        AutoexpError: it has a layout or a tensor that is not known.
        NotWholeError: a file is damaged.
    """
    found = formats.rank_folders(frozenset(path.name for path in folder.iterdir()))
    if not found:
        raise NotWholeError(f"{folder} holds no rank's folder")
    state = torchfile.read(folder / found[0] / MODEL_FILE)
    check_version(state.get("checkpoint_version"))
    args = inert.state_of(state.get("args"))
    iteration = state.get("iteration")
    whole = _whole(folder, args, _layout(args))
    return Source(
        format="torch",
        iteration=iteration if isinstance(iteration, int) else None,
        args=args,
        weights=whole.weights,
        copies=tuple(whole.copies),
        differing=whole.differing,
        zips=tuple((folder / name / MODEL_FILE, 0, None) for name in found),
    )


def _layout(args: Mapping[str, object]) -> _Layout:
    tensor, stages, experts = formats.sizes(args)
    within = args.get("expert_tensor_parallel_size")
    if args.get("num_experts") and within not in (None, tensor):
        raise refused(
            f"expert_tensor_parallel_size is {within!r}", f"experts are read where it is tensor's own, {tensor}"
        )
    return _Layout(tensor, stages, experts, gated=bool(args.get("swiglu")))


def _whole(folder: Path, args: Mapping[str, object], layout: _Layout) -> _Whole:
    """Put the ranks' parts together."""
    whole = _Whole()
    ranks = {
        (tensor, stage, expert): _read_rank(
            folder / layout.folder(tensor, stage, expert) / MODEL_FILE, args, whole.differing
        )
        for stage in range(layout.stages)
        for expert in range(layout.experts)
        for tensor in range(layout.tensor)
    }
    chunks = {len(rank) for rank in ranks.values()}
    if len(chunks) != 1:
        raise refused(f"the ranks of {folder} hold different numbers of chunks", f"they have {sorted(chunks)}")
    layers = 0
    for chunk in range(chunks.pop()):
        for stage in range(layout.stages):
            parts = [
                [ranks[tensor, stage, expert][chunk] for tensor in range(layout.tensor)]
                for expert in range(layout.experts)
            ]
            joined, copies = _joined(parts, layout)
            for name, weight in (*joined.items(), *copies):
                moved = _moved(name, "layers", layers)
                if whole.weights.setdefault(moved, weight) is not weight:
                    whole.copies.append((moved, weight))
            layers += _highest(joined, "layers")
    return whole


def _read_rank(file: Path, args: Mapping[str, object], differing: dict[str, str]) -> list[Part]:
    """Read one rank's chunks: `model`, or `model0`, `model1` and so on; note where its arguments are others."""
    state = torchfile.read(file)
    check_version(state.get("checkpoint_version"), file.parent.name)
    own = inert.state_of(state.get("args"))
    for name in args.keys() | own.keys():
        if not inert.same(args.get(name), own.get(name)):
            differing.setdefault(name, f"{reprlib.repr(own.get(name))} in {file.parent.name}")
    names = ["model"] if "model" in state else sorted(
        (name for name in state if re.fullmatch(r"model[0-9]+", name)), key=lambda name: int(name[5:])
    )  # fmt: skip
    flat = {(name, key): value for name in names for key, value in _flat(state[name])}
    entries = {f"{name}/{key}": value for (name, key), value in flat.items() if is_weight(key)}
    found = torchfile.tensors(file, entries)
    parts: dict[str, Part] = {name: {} for name in names}
    for entry in entries:
        name, _, key = entry.partition("/")
        tensor = checked(key, found.get(entry))
        piece = Piece(file, tensor.start_bytes, (0,) * len(tensor.shape), tensor.shape)
        known = canonical(key)
        if known in parts[name]:
            raise refused(f"{key} is there twice", f"another name in {file} means the same weight")
        parts[name][known] = Weight(tensor.dtype, tensor.shape, (piece,))
    return list(parts.values())


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the entries of nested dictionaries, as legacy models have them."""
    for key, entry in value.items() if isinstance(value, dict) else ():
        name = f"{prefix}{key}"
        if isinstance(entry, dict):
            yield from _flat(entry, f"{name}.")
        else:
            yield name, entry


def _joined(parts: Sequence[Sequence[Part]], layout: _Layout) -> tuple[Part, list[Copy]]:
    """Join what expert and tensor ranks of one stage share; list what several of them hold, too."""
    whole: Part = {}
    copies: list[Copy] = []
    begin = 0
    for number, ranks in enumerate(parts):
        names = {name for rank in ranks for name in rank}
        _check_same_names(names, parts[0])
        for name in sorted(names):
            first, *others = _join_ranks(name, ranks, layout)
            if number and ".experts." not in name:  # each expert rank has these, too
                copies += [(name, first)]
            else:
                whole[_moved(name, "experts", begin)] = first
            copies += [(_moved(name, "experts", begin), other) for other in others]
        begin += _highest(names, "experts")
    return whole, copies


def _check_same_names(names: set[str], first: Sequence[Part]) -> None:
    """Make sure that an expert rank has what the first one has, but for the experts' numbers."""
    apart = names ^ {name for rank in first for name in rank}
    if other := min((name for name in apart if ".experts." not in name), default=None):
        raise refused(f"{other} is missing", "only some expert ranks have it")


def _join_ranks(name: str, ranks: Sequence[Part], layout: _Layout) -> list[Weight]:
    """Join the parts of tensor-parallel ranks; what each has whole is there several times."""
    if any(name not in rank for rank in ranks):
        raise refused(f"{name} is missing", f"only some of {len(ranks)} tensor-parallel ranks have it")
    parts = [rank[name] for rank in ranks]
    try:
        match split_of(name, gated=layout.gated):
            case "rows":
                return [join(parts)]
            case "columns":
                return [join(parts, axis=1)]
            case "gated rows":
                gates, ups = zip(*(part.split(2) for part in parts), strict=True)
                return [join([*gates, *ups])]
            case None:
                return parts
    except ValueError as error:
        raise refused(f"{name} cannot be put together", str(error)) from error


def _moved(name: str, axis: str, by: int) -> str:
    """Count a layer or an expert on from those of earlier ranks."""
    return _NUMBER.sub(lambda m: f"{axis}.{int(m[2]) + by}." if m[1] == axis else m[0], name)


def _highest(names: Mapping[str, object] | set[str], axis: str) -> int:
    """Count the layers or experts."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in names:
        for kind, number in _NUMBER.findall(name):
            found[kind].add(int(number))
    return max(found[axis], default=-1) + 1
