"""Megatron-LM's `torch_dist` format: an index, and files of pieces, each of which is a torch.save zip of its own.

Layers alike lie in one tensor, along a leading axis, and so do experts; a model whose layers differ numbers them, and
with singleton_local_shards everything is numbered and a gate lies apart from what it gates.
What the training was told is in common.pt, and since core 0.19 in an item of the index, common_state.

Source: torch/distributed/checkpoint/metadata.py, megatron/core/dist_checkpointing/strategies/torch.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autoexp import inert, torchfile
from autoexp.conversion.names import canonical, is_of_model, is_weight
from autoexp.conversion.source import Source, Zip, check_version, checked, refused
from autoexp.conversion.weights import Piece, Weight, join
from autoexp.formats import distributed
from autoexp.formats.index import Chunk, Index
from autoexp.formats.index import read as read_index
from autoexp.inert import NotWholeError


def read(folder: Path) -> Source:
    """Read where the weights of a checkpoint lie.

    Raises:
        AutoexpError: it has a tensor that is not known.
        NotWholeError: the index or a file is damaged, or points outside.
    """
    index = read_index(folder)
    state = distributed.common(folder, index)
    check_version(state.get("checkpoint_version"))
    args = inert.state_of(state.get("args"))
    weights: dict[str, Weight] = {}
    zips: list[Zip] = []
    for key in (key for key in index.items if is_of_model(key) and is_weight(key)):
        chunks = index.chunks(key)
        if chunks is None:
            continue
        zips += [(folder / path, start, length) for _, _, (path, start, length) in chunks]
        for name, weight in _expanded(canonical(key), _weight(folder, key, index, chunks), args):
            if name in weights:
                raise refused(f"{key} is there twice", "another name means the same weight")
            weights[name] = weight
    iteration = state.get("iteration")
    return Source(
        format="torch_dist",
        iteration=iteration if isinstance(iteration, int) else None,
        args=args,
        weights=_with_gates(weights),
        zips=tuple(zips),
    )


def _with_gates(weights: dict[str, Weight]) -> dict[str, Weight]:
    """Put a gate before what it gates, where each is a tensor of its own (singleton_local_shards)."""
    for gate in [name for name in weights if name.endswith("_w") and f"{name[:-1]}v" in weights]:
        whole, parts = gate.removesuffix("_w"), (weights.pop(gate), weights.pop(f"{gate[:-1]}v"))
        if whole in weights:
            raise refused(f"{whole} is there twice", "whole, and with its gate apart")
        try:
            weights[whole] = join(parts)
        except ValueError as error:
            raise refused(f"{whole} cannot be put together", str(error)) from error
    return weights


def _weight(folder: Path, key: str, index: Index, chunks: Sequence[Chunk]) -> Weight:
    pieces = []
    dtypes = set()
    for offset, shape, (path, start, length) in chunks:
        tensor = checked(key, torchfile.item_tensor(folder / path, start, length))
        if len(shape) != len(offset) or _product(tensor.shape) != _product(shape):
            raise NotWholeError(f"{key} at {list(offset)} has shape {list(tensor.shape)}, and is to have {list(shape)}")
        dtypes.add(tensor.dtype)
        pieces.append(Piece(folder / path, tensor.start_bytes, offset, shape))
    if len(dtypes) != 1:
        raise NotWholeError(f"{key} has pieces of {len(dtypes)} number types")
    return Weight(dtypes.pop(), index.shape(key), tuple(pieces))


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _expanded(name: str, weight: Weight, args: Mapping[str, object]) -> Iterator[tuple[str, Weight]]:
    """Give each layer and each expert its own weight; how many there are is believed once the pieces bear it out."""
    for axis in ("layers", "experts"):
        if f"{axis}.*." in name:
            count, told = weight.shape[0] if weight.shape else 0, args.get(f"num_{axis}")
            if count != told:
                raise refused(f"num_{axis} is {told!r}", f"{name} is there for {count}")
            if 0 in weight.shape or not weight.is_whole():
                raise refused(f"{name} has holes", "its pieces do not cover it", "save the checkpoint again")
            for number in range(count):
                yield from _expanded(name.replace(f"{axis}.*.", f"{axis}.{number}.", 1), weight.at(number), args)
            return
    yield name, weight
