"""GPT-2: LayerNorm, learned positions, biases everywhere; its linear layers are kept transposed.

Source: transformers models/gpt2/modeling_gpt2.py (Conv1D).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion.outputs import Inventory, Output, norm, queries_keys_values
from autoexp.conversion.traits import Traits, differing
from autoexp.conversion.weights import join

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    apart = differing(traits, norm="LayerNorm", rotary=False, gated=False, experts=0, qk_norm=False, window=None)
    if apart:
        return apart
    if not (traits.qkv_bias and traits.out_bias and traits.mlp_bias):
        return "it has biases everywhere"
    if traits.groups != traits.heads or traits.head * traits.heads != traits.hidden:
        return "each head has a key and a value, and their widths add up to the model's"
    return None


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": traits.vocab,
        "n_positions": traits.positions,
        "n_embd": traits.hidden,
        "n_layer": traits.layers,
        "n_head": traits.heads,
        "n_inner": traits.ffn,
        "layer_norm_epsilon": traits.norm_epsilon,
        "activation_function": traits.activation,
        "tie_word_embeddings": traits.tied,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    hidden = traits.hidden
    yield Output(name="transformer.wte.weight", weight=inventory.take("embedding.weight", (traits.vocab, hidden)))
    yield Output(name="transformer.wpe.weight", weight=inventory.take("positions.weight", (traits.positions, hidden)))
    for layer in range(traits.layers):
        source, target = f"layers.{layer}", f"transformer.h.{layer}"
        yield from norm(inventory, traits, f"{source}.attention_norm", f"{target}.ln_1", hidden)
        for kind, shape in (("weight", (3 * hidden, hidden)), ("bias", (3 * hidden,))):
            mixed = inventory.take(f"{source}.attention.qkv.{kind}", shape)
            weight = join(queries_keys_values(mixed, traits))
            yield Output(name=f"{target}.attn.c_attn.{kind}", weight=weight, transposed=kind == "weight")
        yield from _linear(inventory, f"{source}.attention.out", f"{target}.attn.c_proj", (hidden, hidden))
        yield from norm(inventory, traits, f"{source}.mlp_norm", f"{target}.ln_2", hidden)
        yield from _linear(inventory, f"{source}.mlp.fc1", f"{target}.mlp.c_fc", (traits.ffn, hidden))
        yield from _linear(inventory, f"{source}.mlp.fc2", f"{target}.mlp.c_proj", (hidden, traits.ffn))
    yield from norm(inventory, traits, "final_norm", "transformer.ln_f", hidden)
    if not traits.tied:
        yield Output(name="lm_head.weight", weight=inventory.take("output.weight", (traits.vocab, hidden)))


def _linear(inventory: Inventory, source: str, target: str, shape: tuple[int, int]) -> Iterator[Output]:
    yield Output(name=f"{target}.weight", weight=inventory.take(f"{source}.weight", shape), transposed=True)
    yield Output(name=f"{target}.bias", weight=inventory.take(f"{source}.bias", shape[:1]))
