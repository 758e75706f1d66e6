"""Holds what the training was told against the weights that are there: it demands some, and rules others out.

An argument that is not there, or is None, says nothing: then the weights alone count. Sources: Megatron-LM
megatron/core/transformer/{attention,mlp}.py, megatron/core/models/gpt, megatron/legacy/model.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion.source import refused
from autoexp.conversion.weights import Weight

_NUMBER = re.compile(r"\.[0-9]+\.")
_SWITCH: Mapping[object, bool] = {True: True, False: False}
_OF_LINEARS = ("layers.*.attention.out.bias", "layers.*.{mlp}.fc1.bias", "layers.*.{mlp}.fc2.bias")
_OF_QUERIES = ("layers.*.attention.qkv.bias",)
_OF_NORMS = ("layers.*.attention_norm.bias", "layers.*.mlp_norm.bias", "final_norm.bias")
_QK_NORMS = ("layers.*.attention.q_norm.weight", "layers.*.attention.k_norm.weight")
_DEMANDS: tuple[tuple[str, Mapping[object, bool], tuple[str, ...]], ...] = (
    ("add_bias_linear", _SWITCH, _OF_LINEARS),
    ("add_bias_linear", {True: True}, _OF_QUERIES),
    ("add_qkv_bias", _SWITCH, _OF_QUERIES),
    ("qk_layernorm", _SWITCH, _QK_NORMS),
    ("normalization", {"LayerNorm": True, "RMSNorm": False}, _OF_NORMS),
    ("position_embedding_type", {"learned_absolute": True, "rope": False}, ("positions.weight",)),
    ("untie_embeddings_and_output_weights", _SWITCH, ("output.weight",)),
)
"""An argument, the values by which it demands weights or rules them out, and which; `*` is every layer or expert."""


def check(args: Mapping[str, Any], weights: Mapping[str, Weight], layers: int) -> None:
    """Make sure that the weights are those of the arguments, in every layer.

    Raises:
        AutoexpError: an argument demands a weight that is missing, or rules out one that is there.
    """
    there = {_NUMBER.sub(".*.", name): name for name in sorted(weights, reverse=True)}
    experts = args["num_experts"] if isinstance(args.get("num_experts"), int) else 0
    for argument, meanings, patterns in _DEMANDS:
        value = args.get(argument)
        demanded = meanings.get(value) if isinstance(value, bool | str) else None
        if argument == "add_qkv_bias" and args.get("add_bias_linear"):
            demanded = None  # before core 0.10 it stayed False beside the biases of all linear layers
        why = f"the checkpoint's arguments say {argument}: {value!r}"
        for pattern in (pattern.format(mlp="experts.*" if experts else "mlp") for pattern in patterns):
            if demanded is False and pattern in there:
                raise refused(f"{there[pattern]} is there", why)
            for name in _names(pattern, layers, experts) if demanded else ():
                if name not in weights:
                    raise refused(f"{name} is missing", why)


def _names(pattern: str, layers: int, experts: int) -> Iterator[str]:
    """Spell a name for each layer, and for each of its experts."""
    outer, inner, last = [*pattern.split("*"), "", ""][:3]
    for layer in range(layers if inner else 1):
        for expert in range(experts if last else 1):
            yield f"{outer}{layer if inner else ''}{inner}{expert if last else ''}{last}"
