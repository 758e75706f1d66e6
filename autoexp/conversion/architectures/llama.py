"""Llama: RMSNorm, SwiGLU, rotary positions; biases everywhere or nowhere."""

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
    if traits.qkv_bias != traits.out_bias:
        return "its attention has all biases or none"
    if traits.hidden % traits.heads:  # LlamaConfig refuses it since transformers 5, whatever the width of a head
        return "its width is a multiple of the number of its heads"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    biases = {"attention_bias": traits.qkv_bias, "mlp_bias": traits.mlp_bias}
    return decoder.config(traits, "llama", "LlamaForCausalLM", **biases)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    return decoder.outputs(traits, inventory)
