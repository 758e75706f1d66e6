"""Megatron-LM's `torch_dist` format: an index, and files of pieces, each of which is a torch.save zip of its own.

Layers alike lie in one tensor, along a leading axis, and so do experts; a model whose layers differ numbers them.
What the training was told is in common.pt, and since core 0.19 in an item of the index, common_state.

Source: torch/distributed/checkpoint/metadata.py, megatron/core/dist_checkpointing/strategies/torch.py.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from autoexp import inert, torchfile
from autoexp.conversion.names import canonical, is_weight
from autoexp.conversion.source import Source, check_version, checked, refused
from autoexp.conversion.weights import Piece, Weight
from autoexp.inert import NotWholeError

Place = tuple[Path, int, int]
"""A piece's file, and where its zip begins and how long it is."""


def read(folder: Path) -> Source:
    """Read where the weights of a checkpoint lie.

    Raises:
        AutoexpError: it has a tensor that is not known.
        NotWholeError: the index or a file is damaged, or points outside.
    """
    metadata = inert.state_of(inert.unpickle(torchfile.read_index(folder / ".metadata"), ".metadata"))
    places = _places(folder, metadata.get("storage_data"))
    state = _common(folder, places)
    check_version(state.get("checkpoint_version"))
    items = metadata.get("state_dict_metadata")
    weights: dict[str, Weight] = {}
    for key, item in items.items() if isinstance(items, dict) else ():
        if is_weight(key) and "chunks" in inert.state_of(item):
            for name, weight in _expanded(canonical(key), _weight(key, inert.state_of(item), places)):
                if name in weights:
                    raise refused(f"{key} is there twice", "another name means the same weight")
                weights[name] = weight
    iteration = state.get("iteration")
    return Source(
        format="torch_dist",
        iteration=iteration if isinstance(iteration, int) else None,
        args=inert.state_of(state.get("args")),
        weights=weights,
        files=tuple(sorted({piece.file for weight in weights.values() for piece in weight.pieces})),
    )


def _places(folder: Path, storage: object) -> dict[tuple[str, tuple[int, ...]], Place]:
    """Read where each piece lies, by its item's name and its own offset in it."""
    places = {}
    for index, place in storage.items() if isinstance(storage, dict) else ():
        of, where = inert.state_of(index), inert.state_of(place)
        path, start, length = (where.get(name) for name in ("relative_path", "offset", "length"))
        if not (isinstance(path, str) and isinstance(start, int) and isinstance(length, int)):
            raise NotWholeError(".metadata has a piece without relative_path, offset and length")
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise NotWholeError(f".metadata points outside the folder, at {path!r}")
        places[str(of.get("fqn")), _numbers(of.get("offset"))] = (folder / path, start, length)
    return places


def _numbers(size: object) -> tuple[int, ...]:
    """Read a torch.Size."""
    values = size.args[0] if isinstance(size, inert.Inert) and size.args else ()
    return tuple(values) if isinstance(values, tuple | list) else ()


def _common(folder: Path, places: Mapping[tuple[str, tuple[int, ...]], Place]) -> Mapping[str, object]:
    """Read what is the same for all ranks."""
    for (key, _), place in places.items():
        if key.partition("/")[0] == "common_state":
            value = torchfile.read_item(*place)
            found = value[0] if isinstance(value, list) and value else value
            if isinstance(found, dict):
                return found
    return torchfile.read(folder / "common.pt")


def _weight(key: str, item: Mapping[str, object], places: Mapping[tuple[str, tuple[int, ...]], Place]) -> Weight:
    pieces = []
    chunks = item["chunks"]
    dtypes = set()
    for chunk in chunks if isinstance(chunks, list) else ():
        offset, shape = (_numbers(inert.state_of(chunk).get(name)) for name in ("offsets", "sizes"))
        place = places.get((key, offset))
        if place is None:
            raise NotWholeError(f".metadata does not say where {key} at {list(offset)} is")
        tensor = checked(key, torchfile.item_tensor(*place))
        if len(shape) != len(offset) or _product(tensor.shape) != _product(shape):
            raise NotWholeError(f"{key} at {list(offset)} has shape {list(tensor.shape)}, and is to have {list(shape)}")
        dtypes.add(tensor.dtype)
        pieces.append(Piece(place[0], tensor.start_bytes, offset, shape))
    if len(dtypes) != 1:
        raise NotWholeError(f"{key} has pieces of {len(dtypes)} number types")
    return Weight(dtypes.pop(), _numbers(item.get("size")), tuple(pieces))


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _expanded(name: str, weight: Weight) -> Iterator[tuple[str, Weight]]:
    """Give each layer and each expert its own weight."""
    for axis in ("layers", "experts"):
        if f"{axis}.*." in name:
            for number in range(weight.shape[0] if weight.shape else 0):
                yield from _expanded(name.replace(f"{axis}.*.", f"{axis}.{number}.", 1), weight.at(number))
            return
    yield name, weight
