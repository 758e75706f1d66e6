import shutil
from pathlib import Path

import pytest
import torch

from autoexp.checkpoints import judge
from autoexp.conversion import legacy
from autoexp.errors import AutoexpError
from autoexp.inert import NotWholeError
from tests.conversion.megatron import Model, save_torch


def test_layers_are_counted_through_chunks_first_and_stages_second(tmp_path: Path) -> None:
    model = Model(kind="llama tied")

    source = legacy.read(save_torch(model, tmp_path / "iter_0000006", stages=((1, 1), (1, 0))))

    layers = {name.split(".")[1] for name in source.weights if name.startswith("layers.")}
    assert layers == {"0", "1", "2"}
    first = source.weights["layers.2.mlp_norm.weight"].pieces[0].file.parent.name
    assert first == "mp_rank_00_000", "the first stage's second chunk comes after both first ones"
    assert (source.format, source.iteration) == ("torch", 6)


def test_a_bias_that_every_rank_has_whole_is_taken_once(tmp_path: Path) -> None:
    source = legacy.read(save_torch(Model(kind="gpt2"), tmp_path / "iter_0000006", tensor=2))

    assert source.weights["layers.0.attention.out.bias"].shape == (32,)
    assert source.weights["layers.0.mlp.fc2.bias"].shape == (32,)
    assert source.weights["layers.0.mlp.fc1.bias"].shape == (40,)


def test_a_weight_that_only_some_ranks_have_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)
    path = folder / "mp_rank_01" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    del state["model"]["decoder.layers.1.mlp.linear_fc2.weight"]
    torch.save(state, path)

    with pytest.raises(AutoexpError, match=r"layers\.1\.mlp\.fc2\.weight is missing"):
        legacy.read(folder)


def test_a_weight_that_only_some_expert_ranks_have_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = save_torch(Model(kind="mixtral"), tmp_path / "iter_0000006", experts=2)
    path = folder / "mp_rank_00_001" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["model"]["decoder.layers.1.adapter.weight"] = torch.ones(2)
    torch.save(state, path)

    with pytest.raises(AutoexpError, match=r"layers\.1\.adapter\.weight is missing"):
        legacy.read(folder)


def test_a_later_rank_in_the_order_of_rows_before_version_2_is_refused(tmp_path: Path) -> None:
    folder = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)
    path = folder / "mp_rank_01" / "model_optim_rng.pt"
    torch.save({**torch.load(path, weights_only=False), "checkpoint_version": 1.0}, path)

    with pytest.raises(AutoexpError, match=r"checkpoint_version is 1\.0 in mp_rank_01"):
        legacy.read(folder)


def test_arguments_that_are_others_in_a_later_rank_are_noted(tmp_path: Path) -> None:
    folder = save_torch(Model(), tmp_path / "iter_0000006", tensor=2)
    path = folder / "mp_rank_01" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["args"].rotary_base = 10
    torch.save(state, path)

    assert legacy.read(folder).differing == {"rotary_base": "10 in mp_rank_01"}


def test_two_names_of_one_weight_are_refused(tmp_path: Path) -> None:
    folder = save_torch(Model(), tmp_path / "iter_0000006")
    path = folder / "mp_rank_00" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["model"]["decoder.layers.0.self_attention.linear_qkv.layer_norm_weight"] = torch.ones(32)
    torch.save(state, path)

    with pytest.raises(AutoexpError, match="is there twice"):
        legacy.read(folder)


def test_ranks_with_different_numbers_of_chunks_are_refused(tmp_path: Path) -> None:
    whole = save_torch(Model(), tmp_path / "a" / "iter_0000006", stages=((2,), (1,)))
    chunked = save_torch(Model(), tmp_path / "b" / "iter_0000006", stages=((1, 1), (1, 0)))
    shutil.copytree(chunked / "mp_rank_00_001", whole / "mp_rank_00_001", dirs_exist_ok=True)

    with pytest.raises(AutoexpError, match="different numbers of chunks"):
        legacy.read(whole)


def test_experts_shared_by_tensor_ranks_in_a_way_of_their_own_are_refused(tmp_path: Path) -> None:
    model = Model(kind="mixtral", told={"expert_tensor_parallel_size": 1})

    with pytest.raises(AutoexpError, match="expert_tensor_parallel_size"):
        legacy.read(save_torch(model, tmp_path / "iter_0000006", tensor=2))


@pytest.mark.parametrize("name", ["mp_rank_", "mp_rank_0", "mp_rank_00.tmp"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_named_almost_like_a_rank_is_let_alone(tmp_path: Path, name: str, *, is_folder: bool) -> None:
    folder = save_torch(Model(), tmp_path / "iter_0000006")
    if is_folder:
        shutil.copytree(folder / "mp_rank_00", folder / name)
    else:
        (folder / name).write_text("a draft")

    source = legacy.read(folder)

    assert source.files == (folder / "mp_rank_00" / "model_optim_rng.pt",)
    assert judge(folder).convertible


def test_a_folder_without_ranks_holds_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotWholeError, match="holds no rank's folder"):
        legacy.read(tmp_path)
