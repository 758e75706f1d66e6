import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem, WriteItemType

from autoexp.formats import index
from autoexp.inert import NotWholeError
from tests.formats import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make.write_pieces({"w": torch.arange(6.0).view(2, 3), "note": ["no tensor"]}, folder=tmp_path)
    return tmp_path


def test_a_tensors_pieces_are_where_the_index_says(folder: Path) -> None:
    found = index.read(folder)

    chunks = found.chunks("w") or []
    ((offset, shape, (path, start, length)),) = chunks
    saved = (folder / path).read_bytes()[start : start + length]
    assert (found.shape("w"), offset, shape) == ((2, 3), (0, 0), (2, 3))
    assert torch.arange(6.0).numpy().tobytes() in saved


def test_what_is_no_tensor_has_a_place_and_no_pieces(folder: Path) -> None:
    found = index.read(folder)

    assert found.chunks("note") is None
    assert len(found.pieces["note"]) == 1


@pytest.mark.parametrize("outside", ["../x", "/etc/passwd"])
def test_no_path_leaves_the_folder(folder: Path, outside: str) -> None:
    metadata: Any = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    for place in metadata.storage_data.values():
        place.relative_path = outside
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))

    with pytest.raises(NotWholeError, match="points outside"):
        index.read(folder)


def with_plans(folder: Path, plans: list[SavePlan]) -> tuple[Metadata, bytes]:
    """Add the plans of the ranks to an index, as Megatron-LM does."""
    metadata: Metadata = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    metadata.all_local_plans = plans  # type: ignore[attr-defined]
    data = pickle.dumps(metadata)
    (folder / ".metadata").write_bytes(data)
    return metadata, data


def plan_of(metadata: Metadata, count: int) -> SavePlan:
    """Plan to write the index's own pieces, so many times."""
    places = list(metadata.storage_data) * count
    return SavePlan([WriteItem(place, WriteItemType.SHARD) for place in places])


@pytest.mark.parametrize("count", [1, 50_000])
def test_the_plans_of_the_ranks_are_not_read(folder: Path, count: int) -> None:
    before = index.read(folder)
    metadata, _ = with_plans(folder, [])
    _, data = with_plans(folder, [plan_of(metadata, count)])
    name = data.index(b"SavePlan")
    (folder / ".metadata").write_bytes(data[:name] + b"\xff" * 8 + data[name + 8 :])  # which no reader gets past

    found = index.read(folder)

    assert (found.pieces, found.needed_bytes) == (before.pieces, before.needed_bytes)
    assert found.chunks("w") == before.chunks("w")


class OwnMetadata(Metadata):
    """As core 0.15 has one of its own, MCoreMetadata, with a field more."""


@pytest.mark.parametrize("plans", [(), ([],)])
def test_an_index_of_a_class_of_megatrons_own_is_read(folder: Path, plans: tuple[list[SavePlan], ...]) -> None:
    before = index.read(folder)
    metadata: Metadata = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    own = OwnMetadata(**vars(metadata))
    own.mcore_data = {"w": {"nd_reformulated_orig_global_shape": (2, 3)}}  # type: ignore[attr-defined]
    (folder / ".metadata").write_bytes(pickle.dumps(own))
    for each in plans:
        with_plans(folder, each)

    found = index.read(folder)

    assert (found.pieces, found.chunks("w")) == (before.pieces, before.chunks("w"))


@pytest.mark.parametrize("name", ["all_local_plans", "x"])
def test_an_item_that_is_called_as_the_plans_are_is_read(tmp_path: Path, name: str) -> None:
    make.write_pieces({name: torch.zeros(3), "z": torch.zeros(2)}, folder=tmp_path)

    assert set(index.read(tmp_path).pieces) == {name, "z"}


def test_plans_that_were_cut_short_are_an_index_that_was(folder: Path) -> None:
    metadata, _ = with_plans(folder, [])
    _, data = with_plans(folder, [plan_of(metadata, 50)])
    (folder / ".metadata").write_bytes(data[:-40])

    with pytest.raises(NotWholeError, match="cannot be unpickled"):
        index.read(folder)


@pytest.mark.parametrize("offsets", [[0, 0], ([],)])
def test_a_piece_whose_place_is_none_is_refused(folder: Path, offsets: Any) -> None:
    metadata: Any = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    metadata.state_dict_metadata["w"].chunks = [ChunkStorageMetadata(offsets, torch.Size([2, 3]))]
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))

    with pytest.raises(NotWholeError, match="at no place"):
        index.read(folder)
