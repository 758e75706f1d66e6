"""Qwen3: a Llama that norms queries and keys, head by head; its MLP has no biases."""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    if not traits.qk_norm or traits.experts or traits.window is not None:
        return "it norms queries and keys, and has no experts and no window"
    if traits.mlp_bias or traits.qkv_bias != traits.out_bias:
        return "its MLP has no biases, its attention all or none"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    more = {"attention_bias": traits.qkv_bias, "use_sliding_window": False}
    return decoder.config(traits, "qwen3", "Qwen3ForCausalLM", **more)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    return decoder.outputs(traits, inventory)
