"""The rules of Llama's relatives: their tensors' names are the same, and differ by what a layer has besides.

Source: transformers models/llama/modeling_llama.py, and those of its relatives.
"""

from collections.abc import Iterator
from typing import Any

from autoexp.conversion.outputs import Inventory, Output, norm, queries_keys_values
from autoexp.conversion.traits import Traits

Names = dict[str, str]
QK_NAMES: Names = {"q": "q_norm", "k": "k_norm"}


def fits(traits: Traits) -> str | None:
    """Say what keeps a model from being one of Llama's relatives."""
    if traits.norm != "RMSNorm" or not traits.rotary or not traits.gated:
        return "it needs RMSNorm, rotary positions and SwiGLU"
    return "rotary_percent is not 1" if traits.rotary_percent != 1 else None


def config(traits: Traits, model_type: str, architecture: str, **more: Any) -> dict[str, Any]:
    """Return what config.json says of every relative."""
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": traits.hidden,
        "intermediate_size": traits.ffn,
        "num_hidden_layers": traits.layers,
        "num_attention_heads": traits.heads,
        "num_key_value_heads": traits.groups,
        "head_dim": traits.head,
        "vocab_size": traits.vocab,
        "max_position_embeddings": traits.positions,
        "rms_norm_eps": traits.norm_epsilon,
        "rope_theta": traits.rotary_base,
        "rope_scaling": traits.rope_scaling,
        "tie_word_embeddings": traits.tied,
        "hidden_act": traits.activation,
        **more,
    }


def outputs(traits: Traits, inventory: Inventory, qk_names: Names = QK_NAMES) -> Iterator[Output]:
    """Yield every tensor."""
    whole = (traits.vocab, traits.hidden)
    yield Output(name="model.embed_tokens.weight", weight=inventory.take("embedding.weight", whole))
    for layer in range(traits.layers):
        yield from _layer(traits, inventory, f"layers.{layer}", f"model.layers.{layer}", qk_names)
    yield from norm(inventory, traits, "final_norm", "model.norm", traits.hidden)
    if not traits.tied:
        yield Output(name="lm_head.weight", weight=inventory.take("output.weight", whole))


def _layer(traits: Traits, inventory: Inventory, source: str, target: str, qk_names: Names) -> Iterator[Output]:
    yield from norm(inventory, traits, f"{source}.attention_norm", f"{target}.input_layernorm", traits.hidden)
    yield from _attention(traits, inventory, f"{source}.attention", f"{target}.self_attn")
    if traits.qk_norm:
        for letter, name in qk_names.items():
            inside = f"{source}.attention.{letter}_norm"
            yield from norm(inventory, traits, inside, f"{target}.self_attn.{name}", traits.head)
    yield from norm(inventory, traits, f"{source}.mlp_norm", f"{target}.post_attention_layernorm", traits.hidden)
    if traits.experts:
        yield from _experts(traits, inventory, source, f"{target}.block_sparse_moe")
    else:
        yield from _mlp(traits, inventory, f"{source}.mlp", f"{target}.mlp", ("gate_proj", "up_proj", "down_proj"))


def _attention(traits: Traits, inventory: Inventory, source: str, target: str) -> Iterator[Output]:
    rows = (traits.heads + 2 * traits.groups) * traits.head
    kinds = [("weight", (rows, traits.hidden)), *([("bias", (rows,))] if traits.qkv_bias else [])]
    for kind, shape in kinds:
        parts = queries_keys_values(inventory.take(f"{source}.qkv.{kind}", shape), traits)
        for letter, part in zip("qkv", parts, strict=True):
            yield Output(name=f"{target}.{letter}_proj.{kind}", weight=part)
    out = inventory.take(f"{source}.out.weight", (traits.hidden, traits.heads * traits.head))
    yield Output(name=f"{target}.o_proj.weight", weight=out)
    if traits.out_bias:
        yield Output(name=f"{target}.o_proj.bias", weight=inventory.take(f"{source}.out.bias", (traits.hidden,)))


def _mlp(
    traits: Traits, inventory: Inventory, source: str, target: str, names: tuple[str, str, str]
) -> Iterator[Output]:
    """Yield a gated layer: the rows of its gate come first, then those of what it gates."""
    gate, up, down = names
    both = [("weight", (2 * traits.ffn, traits.hidden)), *([("bias", (2 * traits.ffn,))] if traits.mlp_bias else [])]
    for kind, shape in both:
        halves = inventory.take(f"{source}.fc1.{kind}", shape).split(2)
        for name, half in zip((gate, up), halves, strict=True):
            yield Output(name=f"{target}.{name}.{kind}", weight=half)
    weight = inventory.take(f"{source}.fc2.weight", (traits.hidden, traits.ffn))
    yield Output(name=f"{target}.{down}.weight", weight=weight)
    if traits.mlp_bias:
        yield Output(name=f"{target}.{down}.bias", weight=inventory.take(f"{source}.fc2.bias", (traits.hidden,)))


def _experts(traits: Traits, inventory: Inventory, source: str, target: str) -> Iterator[Output]:
    router = inventory.take(f"{source}.router.weight", (traits.experts, traits.hidden))
    yield Output(name=f"{target}.gate.weight", weight=router)
    for number in range(traits.experts):
        inside, name = f"{source}.experts.{number}", f"{target}.experts.{number}"
        yield from _mlp(traits, inventory, inside, name, ("w1", "w3", "w2"))
