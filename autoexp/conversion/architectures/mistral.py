"""Mistral: a Llama without biases, which may look back over a window only."""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none; without a window it would be one, and is rather called a Llama."""
    if traits.qk_norm or traits.experts or traits.qkv_bias or traits.out_bias or traits.mlp_bias:
        return "it has no norm of queries and keys, no experts and no biases"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    return decoder.config(traits, "mistral", "MistralForCausalLM", sliding_window=traits.window)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    return decoder.outputs(traits, inventory)
