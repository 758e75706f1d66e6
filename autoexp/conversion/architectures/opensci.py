"""Open-sci-ref: a Qwen3 with biases everywhere, of which two modelling files are published.

They call the norms of queries and keys differently: `q_norm`, as in OELLM's file, or `q_layernorm`, as in LAION's.
Which one is to lie beside the model is what `--names` says; neither is part of transformers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits

NAMES: tuple[str, ...] = ("q_norm", "q_layernorm")
MODELLING = {
    "AutoConfig": "configuration_opensci.OpensciConfig",
    "AutoModel": "modeling_opensci.OpensciModel",
    "AutoModelForCausalLM": "modeling_opensci.OpensciForCausalLM",
}


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    if not (traits.qk_norm and traits.qkv_bias and traits.out_bias and traits.mlp_bias):
        return "it norms queries and keys, and has biases everywhere"
    if traits.experts or traits.window is not None:
        return "it has no experts and no window"
    return decoder.fits(traits)


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    more = {"attention_bias": True, "mlp_bias": True, "qk_layernorm": True, "auto_map": MODELLING}
    return decoder.config(traits, "opensci", "OpensciForCausalLM", **more)


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:
    """Yield every tensor."""
    kind = names.removeprefix("q_")
    return decoder.outputs(traits, inventory, {"q": f"q_{kind}", "k": f"k_{kind}"})
