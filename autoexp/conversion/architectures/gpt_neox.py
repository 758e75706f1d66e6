"""GPT-NeoX: LayerNorm, rotary positions of a part of each head, biases everywhere, one layer after the other.

Its query_key_value has the rows of Megatron-LM's, head by head. Source: transformers models/gpt_neox.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.conversion.outputs import Inventory, Output, norm
from autoexp.conversion.traits import Traits, differing

NAMES: tuple[str, ...] = ()


def misfit(traits: Traits) -> str | None:
    """Say why a model is none."""
    apart = differing(traits, norm="LayerNorm", rotary=True, gated=False, experts=0, qk_norm=False, window=None)
    if apart:
        return apart
    if not (traits.qkv_bias and traits.out_bias and traits.mlp_bias):
        return "it has biases everywhere"
    if traits.groups != traits.heads or traits.head * traits.heads != traits.hidden:
        return "each head has a key and a value, and their widths add up to the model's"
    return None


def config(traits: Traits) -> Mapping[str, Any]:
    """Return what config.json says; each spelling of the rotary settings is some version's of transformers."""
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": traits.vocab,
        "hidden_size": traits.hidden,
        "num_hidden_layers": traits.layers,
        "num_attention_heads": traits.heads,
        "intermediate_size": traits.ffn,
        "hidden_act": traits.activation,
        "rotary_pct": traits.rotary_percent,
        "rotary_emb_base": traits.rotary_base,
        "rope_theta": traits.rotary_base,
        "partial_rotary_factor": traits.rotary_percent,
        "rope_scaling": traits.rope_scaling,
        "max_position_embeddings": traits.positions,
        "layer_norm_eps": traits.norm_epsilon,
        "use_parallel_residual": False,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "tie_word_embeddings": traits.tied,
    }


def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:  # noqa: ARG001 - it has one scheme
    """Yield every tensor."""
    hidden, whole = traits.hidden, (traits.vocab, traits.hidden)
    yield Output(name="gpt_neox.embed_in.weight", weight=inventory.take("embedding.weight", whole))
    for layer in range(traits.layers):
        source, target = f"layers.{layer}", f"gpt_neox.layers.{layer}"
        yield from norm(inventory, traits, f"{source}.attention_norm", f"{target}.input_layernorm", hidden)
        yield from norm(inventory, traits, f"{source}.mlp_norm", f"{target}.post_attention_layernorm", hidden)
        for inside, name, shape in (
            ("attention.qkv", "attention.query_key_value", (3 * hidden, hidden)),
            ("attention.out", "attention.dense", (hidden, hidden)),
            ("mlp.fc1", "mlp.dense_h_to_4h", (traits.ffn, hidden)),
            ("mlp.fc2", "mlp.dense_4h_to_h", (hidden, traits.ffn)),
        ):
            yield Output(name=f"{target}.{name}.weight", weight=inventory.take(f"{source}.{inside}.weight", shape))
            yield Output(name=f"{target}.{name}.bias", weight=inventory.take(f"{source}.{inside}.bias", shape[:1]))
    yield from norm(inventory, traits, "final_norm", "gpt_neox.final_layer_norm", hidden)
    if not traits.tied:
        yield Output(name="embed_out.weight", weight=inventory.take("output.weight", whole))
