from collections.abc import Mapping
from typing import Any

import pytest

from autoexp.conversion import demands
from autoexp.conversion.weights import Weight
from autoexp.errors import AutoexpError
from tests.conversion.megatron import KINDS, Model

LAYERS = 3


def check(kind: str, drop: str = "-", add: str = "", told: Mapping[str, Any] | None = None) -> None:
    """Hold a kind's arguments against its weights, but for those with `drop` in their names, and with one more."""
    found = Model(kind=kind).weights()
    names = [name for name in found if drop not in name] + ([add] if add else [])
    demands.check({**Model(kind=kind).args, **(told or {})}, dict.fromkeys(names, Weight("float32", (1,), ())), LAYERS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_own_weights_are_those_of_its_arguments(kind: str) -> None:
    check(kind)


@pytest.mark.parametrize(
    ("kind", "drop", "missing", "argument"),
    [
        ("qwen3", "q_norm", "layers.0.attention.q_norm.weight", "qk_layernorm: True"),
        ("qwen3", "2.attention.k_norm", "layers.2.attention.k_norm.weight", "qk_layernorm: True"),
        ("opensci", "_norm.weight", "layers.0.attention.q_norm.weight", "qk_layernorm: True"),
        ("opensci", ".bias", "layers.0.attention.out.bias", "add_bias_linear: True"),
        ("opensci", "fc1.bias", "layers.0.mlp.fc1.bias", "add_bias_linear: True"),
        ("opensci", "1.mlp.fc2.bias", "layers.1.mlp.fc2.bias", "add_bias_linear: True"),
        ("opensci", "qkv.bias", "layers.0.attention.qkv.bias", "add_bias_linear: True"),
        ("qwen2", "1.attention.qkv.bias", "layers.1.attention.qkv.bias", "add_qkv_bias: True"),
        ("gpt2", "final_norm.bias", "final_norm.bias", "normalization: 'LayerNorm'"),
        ("gpt2", "positions", "positions.weight", "position_embedding_type: 'learned_absolute'"),
        ("llama", "output", "output.weight", "untie_embeddings_and_output_weights: True"),
    ],
)
def test_a_weight_that_an_argument_demands_is_missed_by_its_name_in_any_layer(
    kind: str, drop: str, missing: str, argument: str
) -> None:
    with pytest.raises(AutoexpError, match=f"^{missing} is missing") as refusal:
        check(kind, drop)

    assert refusal.value.why.endswith(f"say {argument}")


@pytest.mark.parametrize(
    ("kind", "add", "argument"),
    [
        ("llama", "layers.2.attention.q_norm.weight", "qk_layernorm: False"),
        ("llama", "layers.1.attention.out.bias", "add_bias_linear: False"),
        ("llama", "layers.1.attention.qkv.bias", "add_qkv_bias: False"),
        ("mixtral", "layers.1.experts.3.fc2.bias", "add_bias_linear: False"),
        ("qwen2", "layers.1.mlp.fc1.bias", "add_bias_linear: False"),
        ("llama", "layers.2.mlp_norm.bias", "normalization: 'RMSNorm'"),
        ("gpt_neox", "positions.weight", "position_embedding_type: 'rope'"),
        ("llama tied", "output.weight", "untie_embeddings_and_output_weights: False"),
    ],
)
def test_a_weight_that_an_argument_rules_out_is_refused_by_its_name(kind: str, add: str, argument: str) -> None:
    with pytest.raises(AutoexpError, match=f"^{add} is there") as refusal:
        check(kind, add=add, told={"qk_layernorm": False} if "qk_" in argument else {})

    assert refusal.value.why.endswith(f"say {argument}")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("opensci", {"qk_layernorm": None}),
        ("opensci", {"add_bias_linear": None, "add_qkv_bias": None}),
        ("opensci", {"add_qkv_bias": False}),  # before core 0.10
        ("qwen2", {"add_qkv_bias": None}),
    ],
)
def test_an_argument_that_says_nothing_leaves_it_to_the_weights(kind: str, told: Mapping[str, Any]) -> None:
    check(kind, told=told)


def test_any_number_of_experts_is_held_against_what_is_there_at_once() -> None:
    check("mixtral", told={"num_experts": 10**15})
    with pytest.raises(AutoexpError, match=r"layers.0.attention.out.bias is missing"):
        check("mixtral", told={"num_experts": 10**15, "add_bias_linear": True})
