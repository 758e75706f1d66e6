import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import Metadata

from autoexp.conversion import distributed
from autoexp.conversion.weights import Piece
from autoexp.errors import AutoexpError
from autoexp.inert import NotWholeError
from tests.conversion.megatron import Model, save_dist


def changed(folder: Path, change: Any) -> Path:
    """Change a checkpoint's index."""
    metadata: Metadata = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    return folder


@pytest.mark.parametrize("numbered", [False, True])
def test_layers_and_experts_become_weights_of_their_own(tmp_path: Path, *, numbered: bool) -> None:
    source = distributed.read(save_dist(Model(kind="mixtral"), tmp_path / "iter_0000006", numbered=numbered))

    assert source.weights["layers.2.experts.3.fc1.weight"].shape == (80, 32)
    assert source.weights["layers.2.attention_norm.weight"].shape == (32,)
    assert all(weight.is_whole() for weight in source.weights.values())
    assert (source.format, source.iteration) == ("torch_dist", 6)


@pytest.mark.parametrize("kind", ["mixtral", "llama biased"])
def test_gates_of_their_own_are_put_before_what_they_gate(tmp_path: Path, kind: str) -> None:
    model = Model(kind=kind)

    apart = distributed.read(save_dist(model, tmp_path / "apart" / "iter_0000006", apart=True))

    gated = {name: weight for name, weight in model.weights().items() if ".fc1." in name}
    assert {name: apart.weights[name].shape for name in gated} == {name: gated[name].shape for name in gated}
    first = next(iter(gated))
    assert [data(piece) for piece in apart.weights[first].pieces] == [
        h.numpy().tobytes() for h in gated[first].chunk(2)
    ]


def data(piece: Piece) -> bytes:
    with piece.file.open("rb") as file:
        file.seek(piece.start_bytes)
        return file.read(4 * math.prod(piece.shape))


def test_a_gate_apart_from_what_is_there_whole_is_refused(tmp_path: Path) -> None:
    beside = {f"decoder.layers.mlp.linear_fc1.weight_{half}": torch.zeros(3, 40, 32) for half in "wv"}

    with pytest.raises(AutoexpError, match="is there twice"):
        distributed.read(save_dist(Model(), tmp_path / "iter_0000006", beside=beside))


def test_an_index_that_points_outside_is_refused(tmp_path: Path) -> None:
    def point_outside(metadata: Metadata) -> None:
        for place in metadata.storage_data.values():
            place.relative_path = "../x"

    folder = changed(save_dist(Model(), tmp_path / "iter_0000006"), point_outside)

    with pytest.raises(NotWholeError, match="points outside"):
        distributed.read(folder)


def test_an_index_that_leaves_a_piece_out_is_refused(tmp_path: Path) -> None:
    def forget(metadata: Metadata) -> None:
        for key in [key for key in metadata.storage_data if key.fqn == "output_layer.weight"]:
            del metadata.storage_data[key]

    folder = changed(save_dist(Model(), tmp_path / "iter_0000006"), forget)

    with pytest.raises(NotWholeError, match=r"0 of 1 pieces of output_layer\.weight"):
        distributed.read(folder)


def test_an_index_that_moves_a_piece_is_refused(tmp_path: Path) -> None:
    def move(metadata: Metadata) -> None:
        item: Any = metadata.state_dict_metadata["output_layer.weight"]
        item.chunks[0].offsets = torch.Size((1, 0))

    folder = changed(save_dist(Model(), tmp_path / "iter_0000006"), move)

    with pytest.raises(NotWholeError, match=r"does not say where output_layer\.weight"):
        distributed.read(folder)


def test_a_piece_of_another_shape_than_its_index_says_is_refused(tmp_path: Path) -> None:
    def grow(metadata: Metadata) -> None:
        item: Any = metadata.state_dict_metadata["output_layer.weight"]
        item.chunks[0].sizes = torch.Size((65, 32))

    folder = changed(save_dist(Model(), tmp_path / "iter_0000006"), grow)

    with pytest.raises(NotWholeError, match="is to have"):
        distributed.read(folder)


def test_without_a_version_nothing_is_read(tmp_path: Path) -> None:
    folder = save_dist(Model(), tmp_path / "iter_0000006")
    torch.save({"args": None, "iteration": 6}, folder / "common.pt")

    with pytest.raises(AutoexpError, match="checkpoint_version"):
        distributed.read(folder)


@pytest.mark.parametrize(
    ("layers", "size", "told"),
    [
        (3, (10**15, 72, 32), "num_layers is 3"),
        (10**15, (10**15, 72, 32), "has holes"),
        (10**15, (10**15, 0, 32), "has holes"),
    ],
)
def test_layers_that_are_not_there_are_refused_before_they_are_counted_through(
    tmp_path: Path, layers: int, size: tuple[int, ...], told: str
) -> None:
    folder = save_dist(Model(), tmp_path / "iter_0000006")
    state = torch.load(folder / "common.pt", weights_only=False)
    state["args"].num_layers = layers
    torch.save(state, folder / "common.pt")

    def claim(metadata: Metadata) -> None:
        items: Any = metadata.state_dict_metadata
        for name, item in items.items():
            if name == "decoder.layers.self_attention.linear_qkv.weight":
                item.size = torch.Size(size)
        if layers != 3:
            for name in [name for name in items if name.startswith("decoder.layers.") and "qkv.weight" not in name]:
                del items[name]

    with pytest.raises(AutoexpError, match=told):
        distributed.read(changed(folder, claim))
