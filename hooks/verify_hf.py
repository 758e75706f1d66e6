"""Checks a converted model against its checkpoint, by another way than the one it was made by.

    python hooks/verify_hf.py --checkpoint RUN/checkpoints/iter_0000200 --output RUN/hf/0000200

The checkpoint's tensors are put together with torch, each piece where the checkpoint says it is, and the model computed
from them in plain torch, in fp32, as Megatron-LM does. The converted model is computed by transformers. Their logits of
the same random tokens must agree within 2e-5 of the largest. The whole model is held in memory twice.

Sources: megatron/core/transformer/{attention,mlp}.py, megatron/core/models/common/embeddings/rotary_pos_embedding.py,
megatron/core/transformer/moe/router.py.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoexp.conversion import job
from autoexp.conversion.job import Wishes
from autoexp.conversion.source import Source
from autoexp.conversion.traits import Traits, traits_of
from autoexp.errors import AutoexpError

TOLERANCE = 2e-5
"""Of the largest logit: fp32 differs by less than a tenth of it, the smallest real mistake known by 25 times it."""
TOKENS = (2, 32)
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when the logits agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="the iter_ folder that was converted")
    parser.add_argument("--output", type=Path, required=True, help="the folder that was made of it")
    arguments = parser.parse_args(argv)
    try:
        print(verify(arguments.checkpoint, arguments.output))
    except AutoexpError as error:
        print(f"verify_hf: {error}", file=sys.stderr)
        return 1
    return 0


def verify(checkpoint: Path, output: Path) -> str:
    """Compare the logits of a converted model with the checkpoint's own; return how near they are.

    Raises:
        AutoexpError: they are too far apart, or the converted model cannot be loaded whole.
    """
    planned = job.plan(checkpoint, Wishes())
    traits = traits_of(planned.source)
    weights = read(planned.source)
    converted = load(output)
    vocab = converted.get_input_embeddings().weight.shape[0]
    shape = (TOKENS[0], min(TOKENS[1], traits.positions))
    tokens = torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, got = logits(traits, weights, tokens)[..., :vocab], converted(tokens).logits
    apart = float((got - want).abs().max() / want.abs().max())
    if not apart <= TOLERANCE:
        raise AutoexpError(
            f"{output} is not the model of {checkpoint}",
            why=f"its logits are {apart:.1e} of the largest one apart, more than {TOLERANCE:.0e}",
            fix="do not use it, and report this with the checkpoint's arguments",
        )
    return f"{output}: its logits are within {apart:.1e} of those of {checkpoint}"


def load(output: Path) -> Any:
    """Load a converted model, in fp32.

    Raises:
        AutoexpError: transformers does not know it, or a weight is missing or left over.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds

    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            output, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
        )
    except (ValueError, OSError) as error:
        fix = "install transformers' version of that model, or put its modelling file beside the weights"
        raise AutoexpError(f"transformers cannot load {output}", why=str(error), fix=fix) from error
    wrong = {kind: names for kind, names in told.items() if names}
    if wrong:
        raise AutoexpError(f"{output} is not whole", why=f"transformers says {wrong}", fix="convert it again")
    return model.eval()


# Reading with torch.


def read(source: Source) -> dict[str, Tensor]:
    """Read every weight, by our names, in fp32: each piece with torch, put where the checkpoint says it is."""
    weights = {}
    for name, weight in source.weights.items():
        whole = torch.full(weight.shape, math.nan)
        for piece in weight.pieces:
            count = math.prod(piece.shape) * weight.item_bytes
            with piece.file.open("rb") as file:
                file.seek(piece.start_bytes)
                part = torch.frombuffer(bytearray(file.read(count)), dtype=_DTYPES[weight.dtype])
            place = tuple(slice(o, o + s) for o, s in zip(piece.offset, piece.shape, strict=True))
            whole[place] = part.view(piece.shape).float()
        weights[name] = whole
    return weights


# Computing with torch.


def logits(traits: Traits, weights: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Compute the logits [batch, length, vocab] of tokens [batch, length] from Megatron-LM's own tensors."""
    hidden = weights["embedding.weight"][tokens]
    if not traits.rotary:
        hidden = hidden + weights["positions.weight"][: tokens.shape[1]]
    for layer in range(traits.layers):
        own = {name.split(".", 2)[2]: value for name, value in weights.items() if name.startswith(f"layers.{layer}.")}
        hidden = hidden + _attention(traits, own, _norm(traits, own, "attention_norm", hidden))
        inner = _norm(traits, own, "mlp_norm", hidden)
        hidden = hidden + (_experts(traits, own, inner) if traits.experts else _mlp(traits, own, "mlp", inner))
    hidden = _norm(traits, weights, "final_norm", hidden)
    return hidden @ weights["embedding.weight" if traits.tied else "output.weight"].T


def _norm(traits: Traits, weights: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"] + (1.0 if traits.one_centred else 0.0)
    if traits.norm == "LayerNorm":
        return functional.layer_norm(value, weight.shape, weight, weights[f"{name}.bias"], traits.norm_epsilon)
    return value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + traits.norm_epsilon) * weight


def _linear(weights: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    return functional.linear(value, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def _attention(traits: Traits, weights: Mapping[str, Tensor], value: Tensor) -> Tensor:
    batch, length, _ = value.shape
    shared = traits.heads // traits.groups
    mixed = _linear(weights, "attention.qkv", value).view(batch, length, traits.groups, shared + 2, traits.head)
    query, key, worth = mixed[..., :shared, :], mixed[..., shared : shared + 1, :], mixed[..., shared + 1 :, :]
    if traits.qk_norm:
        query = _norm(traits, weights, "attention.q_norm", query)
        key = _norm(traits, weights, "attention.k_norm", key)
    if traits.rotary:
        query, key = _turned(traits, query), _turned(traits, key)
    scores = torch.einsum("bqghd,bkgxd->bghqk", query, key) / math.sqrt(traits.head)
    away = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    hidden = (away < 0) | (away >= (traits.window or length))
    scores = scores.masked_fill(hidden, -math.inf).softmax(-1)
    mixed_worth = torch.einsum("bghqk,bkgxd->bqghd", scores, worth)
    return _linear(weights, "attention.out", mixed_worth.reshape(batch, length, traits.heads * traits.head))


def _turned(traits: Traits, value: Tensor) -> Tensor:
    """Turn pairs of a head's numbers [batch, length, groups, heads, width] by angles that grow with the position."""
    turning = int(traits.head * traits.rotary_percent)
    speeds = traits.rotary_base ** -(torch.arange(0, turning, 2).float() / turning)
    angles = torch.arange(value.shape[1])[:, None].float() * _scaled(traits, speeds)
    cosine, sine = (angle.repeat(1, 2)[None, :, None, None] for angle in (angles.cos(), angles.sin()))
    moved, kept = value[..., :turning], value[..., turning:]
    first, second = moved.chunk(2, -1)
    return torch.cat([moved * cosine + torch.cat([-second, first], -1) * sine, kept], -1)


def _scaled(traits: Traits, speeds: Tensor) -> Tensor:
    """Slow the turning down, as Llama 3.1 does: the slow ones by the factor, the fast ones not at all."""
    scaling: Any = traits.rope_scaling
    if scaling is None:
        return speeds
    slow: Tensor = speeds / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return slow
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns: Tensor = scaling["original_max_position_embeddings"] * speeds / (2 * math.pi)
    smooth: Tensor = ((turns - low) / (high - low)).clamp(0, 1)
    return speeds * smooth + slow * (1 - smooth)


def _mlp(traits: Traits, weights: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    inner = _linear(weights, f"{name}.fc1", value)
    if traits.gated:
        gate, up = inner.chunk(2, -1)
        inner = functional.silu(gate) * up
    else:
        inner = functional.gelu(inner, approximate="tanh" if traits.activation == "gelu_new" else "none")
    return _linear(weights, f"{name}.fc2", inner)


def _experts(traits: Traits, weights: Mapping[str, Tensor], value: Tensor) -> Tensor:
    """Add up what the experts with the highest scores say, weighed by a softmax over those."""
    scores, chosen = _linear(weights, "router", value).topk(traits.experts_per_token, -1)
    shares = torch.zeros((*value.shape[:-1], traits.experts)).scatter(-1, chosen, scores.softmax(-1))
    said = [_mlp(traits, weights, f"experts.{number}", value) for number in range(traits.experts)]
    return torch.stack([share[..., None] * each for share, each in zip(shares.unbind(-1), said, strict=True)]).sum(0)


if __name__ == "__main__":
    raise SystemExit(main())
