"""Checks a converted model against its checkpoint, by another way than the one it was made by.

    python hooks/verify_hf.py --checkpoint RUN/checkpoints/iter_0000200 --output RUN/hf/0000200

Rule 1: what is read is what was written. Each tensor's checksum in the checkpoint is verified, and each file of the
result has the SHA-256 that conversion.json says.
Rule 2: the checkpoint's tensors are put together with torch, each piece where the checkpoint says it is. The
result's tensors, read by safetensors, must be those, bit by bit.
Rule 3: the model is computed from the checkpoint's tensors in plain torch, in fp32, as Megatron-LM does, and the
result by transformers. Their logits of the same random tokens must agree within 2e-5 of the largest. The whole model
is held in memory twice. Where transformers is not installed, this is left out, and said.
Rule 4: no code that lies beside a model is run. Where transformers would have to (opensci), the result is computed in
plain torch from its own config.json and tensors, and what that leaves out is said.
Rule 5: with --dtype the checkpoint's tensors are rounded by torch before they are computed with, so the tolerance stays
as it is; how far the rounding alone moves the logits is said.

Sources: megatron/core/transformer/{attention,mlp}.py, megatron/core/models/common/embeddings/rotary_pos_embedding.py,
megatron/core/transformer/moe/router.py.
"""

import argparse
import json
import math
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoexp.conversion import copies, job
from autoexp.conversion.job import MANIFEST, Plan
from autoexp.conversion.outputs import Output
from autoexp.conversion.source import Source
from autoexp.conversion.stream import ROUNDING
from autoexp.conversion.traits import Traits, traits_of
from autoexp.conversion.weights import Weight
from autoexp.errors import AutoexpError
from autoexp.formats import parts
from autoexp.inert import NotWholeError

try:
    import torch
    from safetensors import safe_open
    from torch import Tensor
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise AutoexpError(
        "conversions cannot be verified here",
        why=f"{error.name} is not installed",
        fix="pip install 'autoexp[convert]'",
    ) from error

TOLERANCE = 2e-5
"""Of the largest logit: fp32 differs by less than a tenth of it, the smallest real mistake known by 25 times it."""
TOKENS = (2, 32)
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when the two agree."""
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
    """Compare a converted model with its checkpoint; return what was compared, how near it is, and what was not.

    Raises:
        AutoexpError: they are too far apart, a file of either is damaged, or the model cannot be loaded whole.
    """
    try:
        manifest = _manifest(output)
        planned = job.plan(checkpoint, job.made_by(manifest))
        unlisted = {"config.json", *(shard.name for shard in planned.shards)} - manifest["outputs"].keys()
        if unlisted:
            raise _differs(planned, output, f"{MANIFEST} does not list {min(unlisted)}")
        check_sums(planned.source)
        check_copies(planned.source)
        compare(planned, output)
        compared = _compared_logits(planned, output)
    except (OSError, NotWholeError) as error:
        fix = "see that both stay as they are; what is damaged has to come from a copy, or be saved again"
        raise AutoexpError(f"{output} cannot be compared with {checkpoint}", why=str(error), fix=fix) from error
    return f"{output}: its tensors are those of {checkpoint}{compared}"


def _differs(planned: Plan, output: Path, why: str) -> AutoexpError:
    what = f"{output} is not the model of {planned.checkpoint}"
    return AutoexpError(what, why=why, fix="do not use it, and report this with the checkpoint's arguments")


# The files.


def _manifest(output: Path) -> Mapping[str, Any]:
    """Read conversion.json, and make sure that each file is the one that it lists."""
    try:
        manifest: Mapping[str, Any] = json.loads((output / MANIFEST).read_bytes())
        listed = {name: made["sha256"] for name, made in manifest["outputs"].items()}
        job.made_by(manifest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"its {MANIFEST} cannot be read: {type(error).__name__} {error}"
        raise AutoexpError(f"{output} is no conversion of ours", why=why, fix="convert the checkpoint again") from error
    for name, said in listed.items():
        if parts.sha256(output / name) != said:
            why = f"its SHA-256 is not the one in {MANIFEST}" if said else f"{MANIFEST} has no SHA-256 of it yet"
            fix = "move the folder away and convert again" if said else "run the conversion again, which adds it"
            raise AutoexpError(f"{output / name} is not what was converted", why=why, fix=fix)
    return manifest


def check_sums(source: Source) -> None:
    """Compare every tensor that was converted with its checksum in the checkpoint.

    Raises:
        NotWholeError: one is wrong; it is named with its file.
        OSError: a file cannot be read.
    """
    places: dict[Path, set[int]] = defaultdict(set)
    for weight in source.weights.values():
        for piece in weight.pieces:
            places[piece.file].add(piece.start_bytes)
    ordered = {file: sorted(starts) for file, starts in places.items()}
    for file, begin, length in source.zips:
        own = ordered.get(file, [])
        end = None if length is None else bisect_left(own, begin + length)
        parts.check_sums(file, str(file), begin, length, holding=own[bisect_left(own, begin) : end])


def check_copies(source: Source) -> None:
    """Compare what several ranks hold of one weight, such as a tied embedding on both ends of a pipeline.

    Raises:
        AutoexpError: they have learned different things.
        OSError: a file cannot be read.
    """
    for name, copy in source.copies:
        held = _whole(source.weights[name])
        other = _whole(copy)[: len(held)]
        if not _same(other, held) and not _near(other, held, source.weights[name].dtype):
            raise copies.different(name, source.weights[name], copy)


def _near(one: Tensor, other: Tensor, dtype: str) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.allclose(one.float(), other.float(), rtol=0, atol=ROUNDING[dtype] * float(other.abs().max()))


def compare(planned: Plan, output: Path) -> None:
    """Compare every tensor with what the checkpoint's own make of it, bit by bit.

    Raises:
        AutoexpError: one is missing, left over, or another one.
        OSError: a file cannot be read.
    """
    for shard in planned.shards:
        with safe_open(output / shard.name, "pt") as file:
            strange = {made.name for made in shard.outputs} ^ set(file.keys())
            if strange:
                raise _differs(planned, output, f"{min(strange)} is missing in {shard.name}, or left over")
            for made in shard.outputs:
                if not _same(file.get_tensor(made.name), _made(made, planned.dtype)):
                    raise _differs(planned, output, f"{made.name} in {shard.name} has other numbers")


def _same(got: Tensor, want: Tensor) -> bool:
    """Say whether two tensors have the same bits, but for those of what is no number."""
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return False
    bits = torch.int32 if got.dtype is torch.float32 else torch.int16
    return bool(((got.view(bits) == want.view(bits)) | (got.isnan() & want.isnan())).all())


def _made(made: Output, dtype: str | None) -> Tensor:
    value = _whole(made.weight)
    value = value.T if made.transposed else value
    value = value.float() + 1 if made.plus_one else value
    return value.to(_DTYPES[dtype or made.dtype]).contiguous()


# The logits.


def _compared_logits(planned: Plan, output: Path) -> str:
    """Say how near they are and what that leaves out, or why they were not compared.

    Raises:
        AutoexpError: they are too far apart, or the model cannot be loaded whole.
    """
    if planned.config["model_type"] != "opensci" and find_spec("transformers") is None:
        return "; not compared: its logits, which transformers computes and is not installed: pip install transformers"
    apart, notes = _apart(planned, output)
    if not apart <= TOLERANCE:
        why = f"its logits are {apart:.1e} of the largest one apart, more than {TOLERANCE:.0e}"
        raise _differs(planned, output, why)
    return "; ".join((f", and its logits within {apart:.1e}", *notes))


def _apart(planned: Plan, output: Path) -> tuple[float, list[str]]:
    """Return how far the logits are apart, as a share of the largest, and what there is to know of that."""
    traits = traits_of(planned.source)
    shape = (TOKENS[0], min(TOKENS[1], traits.positions))
    tokens = torch.randint(0, traits.vocab, shape, generator=torch.Generator().manual_seed(1))
    notes = []
    with torch.no_grad():
        weights = read(planned.source)
        want = logits(traits, weights, tokens)
        if planned.dtype and any(made.dtype != planned.dtype for made in planned.outputs):
            exact, want = want, logits(traits, _rounded(traits, weights, _DTYPES[planned.dtype]), tokens)
            notes.append(f"{planned.dtype} moves them by {_share(want, exact):.1e}")
        _check_finite(planned, weights, want)
        del weights
        got, left_out = _converted(output, tokens)
    return _share(got, want), [*notes, *left_out]


def _check_finite(planned: Plan, weights: Mapping[str, Tensor], want: Tensor) -> None:
    """Refuse a checkpoint that computes nothing itself, whatever was made of it."""
    if want.isfinite().all():
        return
    odd = [name for name, weight in weights.items() if not weight.isfinite().all()]
    why = f"numbers of {', '.join(odd[:3])} are not finite" if odd else "its logits are not finite: numbers overflow"
    fix = "take one from before it diverged: the conversion is faithful, and so is what is wrong with it"
    raise AutoexpError(f"{planned.checkpoint} is no model to compare", why=why, fix=fix)


def _share(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


def _rounded(traits: Traits, weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Round every weight in its place, as it is written: norms around 1 with their 1."""
    for name, weight in weights.items():
        centre = 1.0 if traits.one_centred and "norm" in name and name.endswith(".weight") else 0.0
        weights[name] = (weight + centre).to(dtype).float() - centre
    return weights


def _converted(output: Path, tokens: Tensor) -> tuple[Tensor, list[str]]:
    """Compute the result's logits, and say what was not computed as its users will."""
    try:
        config = json.loads((output / "config.json").read_bytes())
        if config["model_type"] != "opensci":
            return load(output)(tokens).logits, []
        modelling = config["auto_map"]["AutoModelForCausalLM"].partition(".")[0]
        left_out = f"not compared: {modelling}.py, which transformers would run; here plain torch computed its tensors"
        return logits(*read_opensci(output, config), tokens), [left_out]
    except AutoexpError:
        raise
    except Exception as error:  # a configuration can be wrong in ways of which transformers has no list
        why = f"{type(error).__name__}: {error}"
        raise AutoexpError(f"{output} cannot be computed", why=why, fix="convert the checkpoint again") from error


def load(output: Path) -> Any:
    """Load a converted model, in fp32.

    Raises:
        AutoexpError: transformers does not know it, or a weight is missing or left over.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - all else is verified without it

    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            output, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
        )
    except (ValueError, OSError) as error:
        fix = "install a version of transformers that knows that model"
        raise AutoexpError(f"transformers cannot load {output}", why=str(error), fix=fix) from error
    wrong = {kind: names for kind, names in told.items() if names}
    if wrong:
        raise AutoexpError(f"{output} is not whole", why=f"transformers says {wrong}", fix="convert it again")
    return model.eval()


# Reading with torch.


def read(source: Source) -> dict[str, Tensor]:
    """Read every weight, by our names, in fp32."""
    return {name: _whole(weight).float() for name, weight in source.weights.items()}


def _whole(weight: Weight) -> Tensor:
    """Read a weight: each piece with torch, put where the checkpoint says it is."""
    whole = torch.full(weight.shape, math.nan, dtype=_DTYPES[weight.dtype])
    for piece in weight.pieces:
        count = math.prod(piece.shape) * weight.item_bytes
        with piece.file.open("rb") as file:
            file.seek(piece.start_bytes)
            part = torch.frombuffer(bytearray(file.read(count)), dtype=_DTYPES[weight.dtype])
        place = tuple(slice(o, o + s) for o, s in zip(piece.offset, piece.shape, strict=True))
        whole[place] = part.view(piece.shape)
    return whole


def read_opensci(output: Path, config: Mapping[str, Any]) -> tuple[Traits, dict[str, Tensor]]:
    """Read a converted model as its published modelling files do, with nothing but its own config.json.

    Source: https://github.com/LAION-AI/Open-Sci-hf modeling_opensci.py: a Llama that norms queries and keys.
    """
    written: dict[str, Tensor] = {}
    for path in sorted(output.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            written |= {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    traits = _opensci_traits(config)
    weights = {"embedding.weight": written["model.embed_tokens.weight"]}
    weights |= {"final_norm.weight": written["model.norm.weight"]}
    if not traits.tied:
        weights["output.weight"] = written["lm_head.weight"]
    for layer in range(traits.layers):
        start = f"model.layers.{layer}."
        own = {name.removeprefix(start): value for name, value in written.items() if name.startswith(start)}
        weights |= {f"layers.{layer}.{name}": value for name, value in _opensci_layer(traits, own)}
    return traits, weights


def _opensci_layer(traits: Traits, own: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Name a layer's weights as Megatron-LM has them: each group's queries, then its key and its value."""
    yield "attention_norm.weight", own["input_layernorm.weight"]
    yield "mlp_norm.weight", own["post_attention_layernorm.weight"]
    for letter in "qk":
        names = (f"self_attn.{letter}_{kind}.weight" for kind in ("norm", "layernorm"))
        yield f"attention.{letter}_norm.weight", next(own[name] for name in names if name in own)
    for kind in ("weight", "bias"):
        whole = [own[f"self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
        grouped = [each.view(traits.groups, -1, *each.shape[1:]) for each in whole]
        yield f"attention.qkv.{kind}", torch.cat(grouped, 1).flatten(0, 1)
        yield f"attention.out.{kind}", own[f"self_attn.o_proj.{kind}"]
        yield f"mlp.fc1.{kind}", torch.cat([own[f"mlp.{part}_proj.{kind}"] for part in ("gate", "up")])
        yield f"mlp.fc2.{kind}", own[f"mlp.down_proj.{kind}"]


def _opensci_traits(config: Mapping[str, Any]) -> Traits:
    return Traits(
        hidden=config["hidden_size"],
        ffn=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        groups=config["num_key_value_heads"],
        head=config["head_dim"],
        vocab=config["vocab_size"],
        positions=config["max_position_embeddings"],
        norm="RMSNorm",
        norm_epsilon=config["rms_norm_eps"],
        one_centred=False,
        rotary=True,
        rotary_base=config["rope_theta"],
        rotary_percent=1.0,
        rope_scaling=config["rope_scaling"],
        gated=True,
        activation=config["hidden_act"],
        qkv_bias=config["attention_bias"],
        out_bias=config["attention_bias"],
        mlp_bias=config["mlp_bias"],
        qk_norm=config["qk_layernorm"],
        window=None,
        experts=0,
        experts_per_token=0,
        tied=config["tie_word_embeddings"],
        dtype=config["dtype"],
    )


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
