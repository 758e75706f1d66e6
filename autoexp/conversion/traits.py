"""What kind of model a checkpoint holds: read from what the training was told, and from its weights' names and shapes.

Where both say something, the weights count: `num_query_groups` is often stored as 1, and the vocabulary's size as what
it was before padding. What changes the model's output and is not known here is refused, never ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from autoexp.conversion import demands, options
from autoexp.conversion.source import Source, refused
from autoexp.conversion.weights import Weight

LEGACY_ROTARY_BASE = 10000.0
"""Legacy models ignore --rotary-base (megatron/legacy/model/language_model.py)."""
_LEGACY_IGNORES = ("use_rope_scaling", "window_size", "qk_layernorm")
"""Options of Megatron core, that no language model in megatron/legacy/model reads (core 0.12 to 0.16)."""
_CORE_IGNORES = ("openai_gelu",)
"""An option of legacy models, that nothing in megatron/core reads."""
_TANH_KERNELS = ("use_te_activation_func", "use_transformer_engine_op_fuser")
"""With these it is Transformer Engine's, whose GELU is the tanh approximation (TEActivationOp, TEFusedMLP)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """A decoder's sizes and kinds of layers."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    groups: int
    """Key-value heads."""
    head: int
    """The width of one head."""
    vocab: int
    """Rows of the embedding, padding included."""
    positions: int
    norm: str
    """RMSNorm or LayerNorm."""
    norm_epsilon: float
    one_centred: bool
    """Norms are kept as their distance from 1."""
    rotary: bool
    rotary_base: float
    rotary_percent: float
    rope_scaling: Mapping[str, object] | None
    """As transformers spells it."""
    gated: bool
    activation: str
    """As transformers calls it."""
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    qk_norm: bool
    window: int | None
    """How many tokens back attention reaches, itself included."""
    experts: int
    experts_per_token: int
    tied: bool
    dtype: str


def traits_of(source: Source) -> Traits:
    """Read what kind of model it is.

    Raises:
        AutoexpError: an option is set that changes the model in a way that is not known here.
    """
    args, weights = _heard(source.args), source.weights
    options.check(args, source.differing)
    embedding, first = _needed(weights, "embedding.weight"), _needed(weights, "layers.0.attention.qkv.weight")
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
    if layers != _whole(args, "num_layers"):
        raise refused(f"num_layers is {args.get('num_layers')!r}", f"the files hold {layers} layers")
    demands.check(args, weights, layers)
    heads, head = _whole(args, "num_attention_heads"), _whole(args, "kv_channels")
    gated = _flag(args, "swiglu")
    experts = args.get("num_experts") or 0
    fc1 = _needed(weights, "layers.0.experts.0.fc1.weight" if experts else "layers.0.mlp.fc1.weight")
    ffn = fc1.shape[0] // (2 if gated else 1)
    _check_size(args, "hidden_size", embedding.shape[1], "embedding.weight")
    _check_size(args, _ffn_name(args), ffn, f"the first fc1.weight, with swiglu {gated},")
    return Traits(
        hidden=embedding.shape[1],
        ffn=ffn,
        layers=layers,
        heads=heads,
        groups=_groups(first, heads, head, args),
        head=head,
        vocab=embedding.shape[0],
        positions=_whole(args, "max_position_embeddings"),
        norm=_norm(args),
        norm_epsilon=_epsilon(args),
        one_centred=bool(args.get("layernorm_zero_centered_gamma") or args.get("apply_layernorm_1p")),
        rotary=_is_rotary(args),
        rotary_base=_rotary_base(args),
        rotary_percent=_number(args, "rotary_percent", default=1.0),
        rope_scaling=_rope_scaling(args),
        gated=gated,
        activation=_activation(args, gated=gated, biased="layers.0.mlp.fc1.bias" in weights),
        qkv_bias="layers.0.attention.qkv.bias" in weights,
        out_bias="layers.0.attention.out.bias" in weights,
        mlp_bias="layers.0.mlp.fc1.bias" in weights,
        qk_norm="layers.0.attention.q_norm.weight" in weights,
        window=_window(args),
        experts=int(experts) if isinstance(experts, int) else 0,
        experts_per_token=_experts_per_token(args, experts) if experts else 0,
        tied=not _flag(args, "untie_embeddings_and_output_weights"),
        dtype=embedding.dtype,
    )


def _heard(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the options that the model's own tree ignores, and spell the one that had another name."""
    ignored = _LEGACY_IGNORES if args.get("use_legacy_models") else _CORE_IGNORES
    heard = {name: value for name, value in args.items() if name not in ignored}
    return {**heard, "position_embedding_type": "rope"} if args.get("use_rotary_position_embeddings") else heard


_WORDS: dict[str, tuple[str, str]] = {
    "rotary": ("learned positions", "rotary positions"),
    "gated": ("no SwiGLU", "SwiGLU"),
    "experts": ("no experts", "experts"),
    "window": ("no window", "a window"),
    "qk_norm": ("no norm of queries and keys", "norms of queries and keys"),
}
"""What to call a trait that is not there, and one that is."""


def differing(traits: Traits, **wanted: object) -> str | None:
    """Say by which of these traits a model is of another kind; None if it has them all."""
    apart = {name: value for name, value in wanted.items() if getattr(traits, name) != value}
    if not apart:
        return None
    theirs, ours = (
        ", ".join(_called(name, value) for name, value in values.items())
        for values in (apart, {name: getattr(traits, name) for name in apart})
    )
    return f"it has {theirs}; the checkpoint has {ours}"


def _called(name: str, value: object) -> str:
    return _WORDS[name][bool(value)] if name in _WORDS else str(value)


def _needed(weights: Mapping[str, Weight], name: str) -> Weight:
    if name not in weights:
        raise refused(f"{name} is missing", "every model has it")
    return weights[name]


def _groups(qkv: Weight, heads: int, head: int, args: Mapping[str, object]) -> int:
    """Count the key-value heads by the rows that are there: a query each head, a key and a value each group."""
    groups, rest = divmod(qkv.shape[0] - heads * head, 2 * head)
    if rest or groups < 1 or heads % groups:
        raise refused(
            f"the query, key and value of a layer have {qkv.shape[0]} rows",
            f"{heads} heads of {head} leave no whole groups; tensor-parallel ranks may have shared a group",
        )
    told = args.get("num_query_groups")
    if args.get("group_query_attention") and told != groups:
        raise refused(f"num_query_groups is {told!r}", f"the files hold {groups}")
    if args.get("group_query_attention") is False and groups != heads:
        raise refused("group_query_attention is False", f"the files hold {groups} keys and values for {heads} heads")
    return groups


def _check_size(args: Mapping[str, object], name: str, found: int, where: str) -> None:
    if args.get(name) not in (None, found):
        raise refused(f"{name} is {args[name]!r}", f"{where} makes it {found}")


def _ffn_name(args: Mapping[str, object]) -> str:
    """Experts have a size of their own; where there is none, they have that of other layers."""
    own = args.get("num_experts") and args.get("moe_ffn_hidden_size") is not None
    return "moe_ffn_hidden_size" if own else "ffn_hidden_size"


def _experts_per_token(args: Mapping[str, Any], experts: int) -> int:
    chosen = _whole(args, "moe_router_topk")
    if chosen > experts:
        raise refused(f"moe_router_topk is {chosen}", f"there are {experts} experts to choose from")
    return chosen


def _whole(args: Mapping[str, Any], name: str) -> int:
    value = args.get(name)
    if not isinstance(value, int) or value < 1:
        raise refused(f"{name} is {value!r}", "a model needs a positive whole number")
    return value


def _number(args: Mapping[str, Any], *names: str, default: float | None = None) -> float:
    """Read a number that has had several names."""
    value = next((args[name] for name in names if args.get(name) is not None), default)
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise refused(f"{names[0]} is {value!r}", "a model needs a positive number")
    return float(value)


def _flag(args: Mapping[str, object], name: str) -> bool:
    value = args.get(name)
    if not isinstance(value, bool):
        raise refused(f"{name} is {value!r}", "it must be true or false")
    return value


def _norm(args: Mapping[str, object]) -> str:
    norm = args.get("normalization")
    if norm not in ("RMSNorm", "LayerNorm"):
        raise refused(f"normalization is {norm!r}", "RMSNorm and LayerNorm are converted")
    return str(norm)


def _epsilon(args: Mapping[str, Any]) -> float:
    """Megatron-LM calls it norm_epsilon up to core 0.15, and layernorm_epsilon since."""
    found = {name: args[name] for name in ("layernorm_epsilon", "norm_epsilon") if args.get(name) is not None}
    if any(value != other for value, other in pairwise(found.values())):
        raise refused(f"there are two epsilons, {found}", "one of them is wrong")
    return _number(args, "layernorm_epsilon", "norm_epsilon")


def _is_rotary(args: Mapping[str, object]) -> bool:
    kind = args.get("position_embedding_type")
    if kind not in ("rope", "learned_absolute"):
        raise refused(f"position_embedding_type is {kind!r}", "rope and learned_absolute are converted")
    return kind == "rope"


def _rotary_base(args: Mapping[str, object]) -> float:
    if args.get("use_legacy_models"):
        return LEGACY_ROTARY_BASE
    return _number(args, "rotary_base") if _is_rotary(args) else LEGACY_ROTARY_BASE


def _rope_scaling(args: Mapping[str, object]) -> Mapping[str, object] | None:
    """Spell what stretches positions; the numbers but the factor are fixed in Megatron-LM (rotary_pos_embedding.py)."""
    interpolated = args.get("rotary_seq_len_interpolation_factor")
    if args.get("use_rope_scaling"):
        if interpolated not in (None, 1):
            raise refused("use_rope_scaling and an interpolation factor are both set", "no config says both")
        factor = _number(args, "rope_scaling_factor", default=8.0)
        corners = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        return {"rope_type": "llama3", "factor": factor, **corners}
    if interpolated not in (None, 1):
        return {"rope_type": "linear", "factor": _number(args, "rotary_seq_len_interpolation_factor")}
    return None


def _activation(args: Mapping[str, object], *, gated: bool, biased: bool) -> str:
    """Name it; the fused kernel of GELU with a bias is its tanh approximation (fusions/fused_bias_gelu.py)."""
    if gated:
        return "silu"
    fused = args.get("bias_gelu_fusion", True) and biased
    return "gelu_new" if fused or any(map(args.get, ("openai_gelu", *_TANH_KERNELS))) else "gelu"


_ENDLESS = -1
"""How a window says that it reaches back to the beginning."""


def _window(args: Mapping[str, object]) -> int | None:
    """Count the tokens attention reaches: Megatron-LM names how many there are beside the token itself."""
    window = args.get("window_size")
    if window is None:
        return None
    match window:
        case (int(past), 0) if past >= _ENDLESS:
            return None if past == _ENDLESS else past + 1
        case _:
            raise refused(f"window_size is {window!r}", "windows into the past are converted")
