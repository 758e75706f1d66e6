"""Mixtral: a Mistral whose MLP is a choice of experts, weighed by a softmax over those that were chosen."""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    if not traits.experts:
        return "it has experts"
    if traits.qk_norm or traits.qkv_bias or traits.out_bias or traits.mlp_bias:
        return "it has no norm of queries and keys, and no biases"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    experts = {"num_local_experts": traits.experts, "num_experts_per_tok": traits.experts_per_token}
    return decoder.config(traits, "mixtral", "MixtralForCausalLM", sliding_window=traits.window, **experts)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    return decoder.outputs(traits, inventory)
