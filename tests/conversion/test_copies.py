from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autoexp.conversion import copies
from autoexp.conversion.job import Wishes, convert, plan
from autoexp.conversion.stream import near
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_torch


def change(file: Path, name: str, how: Callable[[Tensor], object]) -> None:
    state = torch.load(file, weights_only=False)
    how(state["model"][name])
    torch.save(state, file)


@pytest.mark.parametrize(
    ("kind", "name", "ours"),
    [
        ("llama", "decoder.final_layernorm.weight", "final_norm.weight"),
        ("qwen3", "decoder.layers.2.self_attention.k_layernorm.weight", "layers.2.attention.k_norm.weight"),
        ("gpt2", "decoder.layers.1.mlp.linear_fc2.bias", "layers.1.mlp.fc2.bias"),
        ("mixtral", "decoder.layers.0.mlp.router.weight", "layers.0.router.weight"),
    ],
)
def test_tensor_ranks_that_hold_different_numbers_of_one_weight_stop_the_conversion(
    tmp_path: Path, kind: str, name: str, ours: str
) -> None:
    source = save_torch(Model(kind=kind), tmp_path / "iter_0000006", tensor=2)
    change(source / "mp_rank_01" / "model_optim_rng.pt", name, lambda weight: weight.view(-1)[3].add_(1e-3))

    with pytest.raises(AutoexpError, match=rf"mp_rank_01/model_optim_rng.pt holds another {ours}"):
        convert(source, tmp_path / "hf", Wishes())

    assert not (tmp_path / "hf").exists()


def test_expert_ranks_that_hold_different_attention_stop_the_conversion(tmp_path: Path) -> None:
    source = save_torch(Model(kind="mixtral"), tmp_path / "iter_0000006", tensor=2, experts=2)
    name = "decoder.layers.1.self_attention.linear_proj.weight"
    change(source / "mp_rank_01_001" / "model_optim_rng.pt", name, lambda weight: weight[0].add_(1))

    with pytest.raises(AutoexpError, match=r"holds another layers\.1\.attention\.out\.weight"):
        convert(source, tmp_path / "hf", Wishes())


@pytest.mark.parametrize("shape", [(31,), (2, 32)])
def test_a_copy_of_another_shape_is_another_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)
    file = source / "mp_rank_01" / "model_optim_rng.pt"
    state = torch.load(file, weights_only=False)
    state["model"]["decoder.final_layernorm.weight"] = torch.ones(shape)
    torch.save(state, file)

    with pytest.raises(AutoexpError, match=r"holds another final_norm\.weight"):
        convert(source, tmp_path / "hf", Wishes())


def test_what_ranks_added_up_in_another_order_is_the_same(tmp_path: Path) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)
    file = source / "mp_rank_01" / "model_optim_rng.pt"
    change(file, "decoder.final_layernorm.weight", lambda weight: weight.mul_(1 + 2**-22))

    assert convert(source, tmp_path / "hf", Wishes())["parameters"]


def test_a_copy_that_is_no_number_is_another_one() -> None:
    one = np.array([1, 2, 3], np.float32)
    other = np.array([1, np.nan, 3], np.float32)

    assert near(other.view(np.uint32), other.view(np.uint32), "float32")
    assert not near(one.view(np.uint32), other.view(np.uint32), "float32")
    assert not near(other.view(np.uint32), one.view(np.uint32), "float32")


def test_a_large_copy_is_left_to_the_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_torch(Model(kind="llama tied"), tmp_path / "iter_0000006", stages=((2,), (1,)))
    change(source / "mp_rank_00_001" / "model_optim_rng.pt", "output_layer.weight", lambda weight: weight[0].add_(1))
    with pytest.raises(AutoexpError, match=r"holds another embedding\.weight"):
        convert(source, tmp_path / "hf", Wishes(vocab_size=60))
    monkeypatch.setattr(copies, "MOST_BYTES", 1000)

    assert convert(source, tmp_path / "hf", Wishes())["parameters"]
    assert [name for name, _ in plan(source, Wishes()).source.copies] == ["embedding.weight"]
