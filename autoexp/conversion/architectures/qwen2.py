"""Qwen2: a Llama whose queries, keys and values have biases, and nothing else has."""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    if traits.qk_norm or traits.experts or traits.window is not None:
        return "it has no norm of queries and keys, no experts and no window"
    if not traits.qkv_bias or traits.out_bias or traits.mlp_bias:
        return "it has biases of queries, keys and values, and no others"
    if traits.head * traits.heads != traits.hidden:
        return "the width of its heads is that of the model by their number"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    return decoder.config(traits, "qwen2", "Qwen2ForCausalLM", use_sliding_window=False)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    return decoder.outputs(traits, inventory)
