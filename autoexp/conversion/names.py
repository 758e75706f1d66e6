"""Megatron-LM's names of weights: each tree and each kind of layer has its own; here they become one.

    embedding.weight  positions.weight  final_norm.{weight,bias}  output.weight
    layers.N.attention_norm.*  layers.N.attention.{qkv,out}.*  layers.N.attention.{q_norm,k_norm}.*
    layers.N.mlp_norm.*  layers.N.mlp.{fc1,fc2}.*  layers.N.router.*  layers.N.experts.E.{fc1,fc2}.*

`*` stands for N or E where all layers or experts lie in one tensor, along an axis of their own; `fc1.weight_w` and
`fc1.weight_v` for a gate and what it gates, where each has a tensor of its own.

Sources: Megatron-LM megatron/core/models/gpt, megatron/core/transformer/moe/experts.py, megatron/legacy/model.
"""

import re
from typing import Literal

Split = Literal["rows", "columns", "gated rows"]

_PREFIXES = ("module.", "model.", "language_model.")
_WHOLE = {
    "embedding.word_embeddings.weight": "embedding.weight",
    "embedding.position_embeddings.weight": "positions.weight",
    "output_layer.weight": "output.weight",
    "word_embeddings_for_head.weight": "output.weight",
}
_FINAL = re.compile(r"(?:decoder|encoder|transformer)\.(?:final_layernorm|final_norm)\.(weight|bias)")
_LAYER = re.compile(r"(?:decoder|encoder|transformer)\.layers\.(?:([0-9]+)\.)?(.+)")
_IN_LAYER = (
    (r"(?:input_norm|input_layernorm)\.(weight|bias)", r"attention_norm.\1"),
    (r"self_attention\.linear_qkv\.layer_norm_(weight|bias)", r"attention_norm.\1"),
    (r"(?:post_attention_norm|post_attention_layernorm|pre_mlp_layernorm)\.(weight|bias)", r"mlp_norm.\1"),
    (r"mlp\.linear_fc1\.layer_norm_(weight|bias)", r"mlp_norm.\1"),
    (r"(?:self_)?attention\.(?:linear_qkv|query_key_value)\.(weight|bias)", r"attention.qkv.\1"),
    (r"(?:self_)?attention\.(?:linear_proj|dense)\.(weight|bias)", r"attention.out.\1"),
    (r"(?:self_)?attention\.([qk])_(?:layernorm|norm)\.(weight|bias)", r"attention.\1_norm.\2"),
    (r"mlp\.(?:linear_fc1|dense_h_to_4h)\.(weight|bias)(_[wv])?", r"mlp.fc1.\1\2"),
    (r"mlp\.(?:linear_fc2|dense_4h_to_h)\.(weight|bias)", r"mlp.fc2.\1"),
    (r"mlp\.router\.(weight)", r"router.\1"),
    (
        r"mlp\.experts\.(?:local_experts|experts)\.([0-9]+)\.linear_(fc[12])\.(weight|bias)(_[wv])?",
        r"experts.\1.\2.\3\4",
    ),
    (r"mlp\.experts\.experts\.linear_(fc[12])\.(weight|bias)", r"experts.*.\1.\2"),
    (r"mlp\.experts\.linear_(fc[12])\.(weight|bias)([0-9]+)", r"experts.\3.\1.\2"),
)  # fmt: skip
_EXTRA_STATE = re.compile(r"\._extra_state[0-9]*(?:/|$)")
_RULES = tuple((re.compile(pattern), name) for pattern, name in _IN_LAYER)


def canonical(key: str) -> str:
    """Return our name for a weight; an unknown one keeps its own."""
    bare = key
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    if bare in _WHOLE:
        return _WHOLE[bare]
    if final := _FINAL.fullmatch(bare):
        return f"final_norm.{final[1]}"
    if layer := _LAYER.fullmatch(bare):
        for pattern, name in _RULES:
            if found := pattern.fullmatch(layer[2]):
                return f"layers.{layer[1] or '*'}.{found.expand(name)}"
    return key


def split_of(name: str, *, gated: bool) -> Split | None:
    """Say how tensor-parallel ranks share a weight; None if each has it whole.

    A rank's part of a gated layer is its gate rows, then its up rows (megatron/core/tensor_parallel/layers.py).
    """
    if name in {"embedding.weight", "output.weight"} or ".attention.qkv." in name:
        return "rows"
    if ".fc1." in name:
        return "gated rows" if gated else "rows"
    if name.endswith((".attention.out.weight", ".fc2.weight")):
        return "columns"
    return None


def is_weight(key: str) -> bool:
    """Tell a model's weights from what else it holds: a layer's extra state.

    The frequencies of rotary positions follow from their base; old trees saved them too.
    """
    return not _EXTRA_STATE.search(key) and not key.endswith("inv_freq")


def is_of_model(key: str) -> bool:
    """Tell the model from what lies beside it in one index: the optimizer's state, random numbers."""
    others = ("optimizer", "chained_", "rng_state", "rerun_state", "common_state", "opt_param_scheduler")
    return not key.partition(".")[0].partition("/")[0].startswith(others)
