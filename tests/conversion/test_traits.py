from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp.conversion import legacy
from autoexp.conversion.traits import Traits, differing, traits_of
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_torch


def traits(folder: Path, kind: str = "llama", told: dict[str, Any] | None = None) -> Traits:
    source = legacy.read(save_torch(Model(kind=kind), folder / "iter_0000006"))
    return traits_of(replace(source, args={**source.args, **(told or {})}))


def test_the_weights_say_how_many_keys_there_are_where_the_arguments_are_stale(tmp_path: Path) -> None:
    assert traits(tmp_path / "a", "gpt2").groups == 4
    assert traits(tmp_path / "b", "llama").groups == 2


@pytest.mark.parametrize(
    ("told", "activation"),
    [
        ({"bias_gelu_fusion": True}, "gelu_new"),
        ({"bias_gelu_fusion": False}, "gelu"),
        ({"bias_gelu_fusion": False, "openai_gelu": True}, "gelu"),
        ({"bias_gelu_fusion": False, "openai_gelu": True, "use_legacy_models": True}, "gelu_new"),
        ({"bias_gelu_fusion": False, "use_te_activation_func": True}, "gelu_new"),
        ({"bias_gelu_fusion": False, "use_transformer_engine_op_fuser": True}, "gelu_new"),
    ],
)
def test_whose_kernel_it_is_says_which_activation(tmp_path: Path, told: dict[str, Any], activation: str) -> None:
    assert traits(tmp_path, "gpt2", told).activation == activation


@pytest.mark.parametrize(
    ("told", "scaling"),
    [
        ({}, None),
        ({"rotary_seq_len_interpolation_factor": 2}, {"rope_type": "linear", "factor": 2.0}),
        (
            {"use_rope_scaling": True, "rope_scaling_factor": 8.0},
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
    ],
)
def test_what_stretches_positions_is_spelled_as_transformers_does(
    tmp_path: Path, told: dict[str, Any], scaling: dict[str, Any] | None
) -> None:
    assert traits(tmp_path, told=told).rope_scaling == scaling


def test_the_older_name_of_the_epsilon_is_read_too(tmp_path: Path) -> None:
    assert traits(tmp_path, told={"layernorm_epsilon": None, "norm_epsilon": 7e-6}).norm_epsilon == 7e-6


def test_a_window_reaches_the_token_itself_and_those_before_it(tmp_path: Path) -> None:
    assert traits(tmp_path / "some", told={"window_size": (127, 0)}).window == 128
    assert traits(tmp_path / "all", told={"window_size": (-1, 0)}).window is None


def test_legacy_models_turn_by_ten_thousand_whatever_they_were_told(tmp_path: Path) -> None:
    assert traits(tmp_path, told={"use_legacy_models": True}).rotary_base == 10000


def test_legacy_models_neither_stretch_positions_nor_have_a_window_whatever_they_were_told(tmp_path: Path) -> None:
    told = {"use_rope_scaling": True, "rope_scaling_factor": 8.0, "window_size": (6, 0)}

    assert traits(tmp_path / "told", told={**told, "use_legacy_models": True}) == traits(
        tmp_path / "not", told={"use_legacy_models": True}
    )
    assert traits(tmp_path / "core", told=told).window == 7


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"normalization": None}, "normalization"),
        ({"normalization": "L2"}, "normalization"),
        ({"swiglu": None}, "swiglu"),
        ({"untie_embeddings_and_output_weights": None}, "untie_embeddings_and_output_weights"),
        ({"position_embedding_type": "alibi"}, "position_embedding_type"),
        ({"rotary_interleaved": True}, "rotary_interleaved"),
        ({"rotary_base": None}, "rotary_base"),
        ({"window_size": (128, 1)}, "window_size"),
        ({"window_size": (-3, 0)}, "window_size"),
        ({"window_size": (128,)}, "window_size"),
        ({"hidden_size": 64}, "hidden_size is 64"),
        ({"ffn_hidden_size": 999}, "ffn_hidden_size is 999"),
        ({"swiglu": False}, "ffn_hidden_size is 40"),
        ({"group_query_attention": False}, "group_query_attention is False"),
        ({"layernorm_epsilon": None}, "epsilon"),
        ({"layernorm_epsilon": 1e-5, "norm_epsilon": 1e-6}, "epsilon"),
        ({"layernorm_epsilon": []}, "epsilon"),
        ({"kv_channels": 7}, "rows"),
        ({"kv_channels": None}, "kv_channels"),
        ({"num_layers": 4}, "num_layers"),
        ({"num_attention_heads": "4"}, "num_attention_heads"),
        ({"num_query_groups": 4}, "num_query_groups"),
        ({"use_rope_scaling": True, "rotary_seq_len_interpolation_factor": 2}, "use_rope_scaling"),
        ({"multi_latent_attention": True}, "multi_latent_attention"),
        ({"squared_relu": True}, "squared_relu"),
        ({"mtp_num_layers": 1}, "mtp_num_layers"),
        ({"moe_router_pre_softmax": True}, "moe_router_pre_softmax"),
        ({"moe_shared_expert_intermediate_size": 64}, "moe_shared_expert_intermediate_size"),
        ({"use_mup": True, "mup_output_mult": 0.5, "mup_embedding_mult": 2.0}, "use_mup"),
        ({"moe_router_load_balancing_type": "sinkhorn"}, "moe_router_load_balancing_type"),
        ({"moe_router_load_balancing_type": ["aux_loss", "sinkhorn"]}, "moe_router_load_balancing_type"),
        ({"moe_mlp_glu_interleave_size": 32}, "moe_mlp_glu_interleave_size"),
        ({"moe_expert_capacity_factor": 1.25}, "moe_expert_capacity_factor"),
        ({"moe_layer_freq": [1, 0, 1]}, "moe_layer_freq"),
    ],
)
def test_what_changes_a_model_in_an_unknown_way_is_refused_by_its_name(
    tmp_path: Path, told: dict[str, Any], name: str
) -> None:
    with pytest.raises(AutoexpError, match=name):
        traits(tmp_path, told=told)


@pytest.mark.parametrize(
    "told",
    [
        {"moe_layer_freq": [1, 1, 1]},
        {"moe_router_load_balancing_type": ["seq_aux_loss", "global_aux_loss"]},
        {"moe_expert_capacity_factor": -1.0},
        {"use_mup": False, "mup_output_mult": 1.0},
    ],
)
def test_what_changes_nothing_is_accepted_in_every_spelling(tmp_path: Path, told: dict[str, Any]) -> None:
    assert traits(tmp_path / "a", "mixtral", told) == traits(tmp_path / "b", "mixtral")


@pytest.mark.parametrize("told", [{"moe_router_topk": 5}, {"moe_ffn_hidden_size": 41}, {"ffn_hidden_size": 41}])
def test_what_contradicts_the_experts_is_refused_by_its_name(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(AutoexpError, match=f"^{next(iter(told))} is"):
        traits(tmp_path / "a", "mixtral", told)

    assert traits(tmp_path / "b", "mixtral", {"ffn_hidden_size": 41, "moe_ffn_hidden_size": 40}).ffn == 40


def test_what_tells_a_model_from_another_kind_is_named_on_both_sides(tmp_path: Path) -> None:
    llama = traits(tmp_path)

    assert differing(llama, norm="RMSNorm", rotary=True, experts=0) is None
    assert differing(llama, norm="LayerNorm", rotary=True, gated=False, experts=4) == (
        "it has LayerNorm, no SwiGLU, experts; the checkpoint has RMSNorm, SwiGLU, no experts"
    )
