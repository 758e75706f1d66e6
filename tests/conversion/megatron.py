"""Writes tiny checkpoints of every kind as Megatron-LM lays them out: random weights, cut for ranks and files."""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

Style = Literal["local", "te", "legacy"]

KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama tied": {"untie_embeddings_and_output_weights": False},
    "llama biased": {"add_bias_linear": True, "add_qkv_bias": True},
    "llama stretched": {"use_rope_scaling": True, "rope_scaling_factor": 8.0, "max_position_embeddings": 64},
    "mistral": {"window_size": (6, 0)},
    "qwen2": {"add_qkv_bias": True, "kv_channels": 8, "untie_embeddings_and_output_weights": False},
    "qwen3": {"qk_layernorm": True, "layernorm_epsilon": 1e-6},
    "opensci": {"qk_layernorm": True, "add_bias_linear": True, "add_qkv_bias": True, "group_query_attention": False},
    "mixtral": {"num_experts": 4, "moe_router_topk": 2},
    "one-centred": {"layernorm_zero_centered_gamma": True},
    "gpt2": {
        "normalization": "LayerNorm", "position_embedding_type": "learned_absolute", "swiglu": False,
        "add_bias_linear": True, "add_qkv_bias": True, "group_query_attention": False, "kv_channels": 8,
        "bias_gelu_fusion": False, "untie_embeddings_and_output_weights": False,
    },
    "gpt_neox": {
        "normalization": "LayerNorm", "swiglu": False, "rotary_percent": 0.5, "add_bias_linear": True,
        "add_qkv_bias": True, "group_query_attention": False, "kv_channels": 8, "bias_gelu_fusion": True,
    },
}  # fmt: skip
"""What a training was told to become one of each kind."""

ARGS: dict[str, Any] = {
    "num_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "group_query_attention": True,
    "num_query_groups": 2,
    "kv_channels": 12,
    "ffn_hidden_size": 40,
    "max_position_embeddings": 40,
    "padded_vocab_size": 64,
    "make_vocab_size_divisible_by": 16,
    "vocab_size": None,
    "layernorm_epsilon": 3e-4,
    "normalization": "RMSNorm",
    "swiglu": True,
    "position_embedding_type": "rope",
    "rotary_base": 50_000,
    "rotary_percent": 1.0,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "untie_embeddings_and_output_weights": True,
    "bias_gelu_fusion": True,
    "num_experts": None,
    "no_save_optim": None,
    "use_distributed_optimizer": False,
    "iteration": 0,  # stale in real ones too
}
NAMES: dict[str, tuple[str, str, str]] = {
    "attention_norm.": ("input_layernorm.", "self_attention.linear_qkv.layer_norm_", "input_norm."),
    "mlp_norm.": ("pre_mlp_layernorm.", "mlp.linear_fc1.layer_norm_", "post_attention_norm."),
    "attention.qkv.": ("self_attention.linear_qkv.",) * 2 + ("self_attention.query_key_value.",),
    "attention.out.": ("self_attention.linear_proj.",) * 2 + ("self_attention.dense.",),
    "attention.q_norm.": ("self_attention.q_layernorm.",) * 3,
    "attention.k_norm.": ("self_attention.k_layernorm.",) * 3,
    "mlp.fc1.": ("mlp.linear_fc1.",) * 2 + ("mlp.dense_h_to_4h.",),
    "mlp.fc2.": ("mlp.linear_fc2.",) * 2 + ("mlp.dense_4h_to_h.",),
    "router.": ("mlp.router.",) * 3,
}
"""The names in a layer: of the local spec, of Transformer Engine, of the legacy models."""
STYLES: tuple[Style, ...] = ("local", "te", "legacy")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A training's arguments, and its weights by our own names, whole."""

    kind: str = "llama"
    dtype: torch.dtype = torch.float32
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def args(self) -> dict[str, Any]:
        args = {**ARGS, **KINDS[self.kind], **self.told}
        if not args["group_query_attention"]:
            args["num_query_groups"] = 1  # as old ones store it
        return args

    def weights(self) -> dict[str, Tensor]:
        """Draw them."""
        generator = torch.Generator().manual_seed(7)
        drawn = {}
        for name, shape in self._shapes():
            values = torch.randn(shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            centre = 0.0 if self.args.get("layernorm_zero_centered_gamma") else 1.0
            scaled = centre + 0.3 * values if is_norm else values / math.sqrt(shape[-1])
            drawn[name] = scaled.to(self.dtype)
        return drawn

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        args = self.args
        hidden, head = args["hidden_size"], args["kv_channels"]
        yield "embedding.weight", (args["padded_vocab_size"], hidden)
        if args["position_embedding_type"] != "rope":
            yield "positions.weight", (args["max_position_embeddings"], hidden)
        groups = args["num_query_groups"] if args["group_query_attention"] else args["num_attention_heads"]
        qkv = (args["num_attention_heads"] + 2 * groups) * head
        for layer in range(args["num_layers"]):
            start = f"layers.{layer}."
            yield from self._norm(f"{start}attention_norm", hidden)
            yield f"{start}attention.qkv.weight", (qkv, hidden)
            if args["add_qkv_bias"]:
                yield f"{start}attention.qkv.bias", (qkv,)
            yield f"{start}attention.out.weight", (hidden, args["num_attention_heads"] * head)
            if args["add_bias_linear"]:
                yield f"{start}attention.out.bias", (hidden,)
            if args.get("qk_layernorm"):
                yield from self._norm(f"{start}attention.q_norm", head)
                yield from self._norm(f"{start}attention.k_norm", head)
            yield from self._norm(f"{start}mlp_norm", hidden)
            if args["num_experts"]:
                yield f"{start}router.weight", (args["num_experts"], hidden)
            experts = [f"{start}experts.{number}" for number in range(args["num_experts"] or 0)]
            for name in experts or [f"{start}mlp"]:
                yield from self._mlp(name)
        yield from self._norm("final_norm", hidden)
        if args["untie_embeddings_and_output_weights"]:
            yield "output.weight", (args["padded_vocab_size"], hidden)

    def _norm(self, name: str, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (size,)
        if self.args["normalization"] == "LayerNorm":
            yield f"{name}.bias", (size,)

    def _mlp(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        hidden, ffn = self.args["hidden_size"], self.args["ffn_hidden_size"]
        inner = ffn * (2 if self.args["swiglu"] else 1)
        yield f"{name}.fc1.weight", (inner, hidden)
        yield f"{name}.fc2.weight", (hidden, ffn)
        if self.args["add_bias_linear"]:
            yield f"{name}.fc1.bias", (inner,)
            yield f"{name}.fc2.bias", (hidden,)


def megatron_name(name: str, style: Style, layer: int) -> str:
    """Spell one of our names as Megatron-LM does, with another number of its layer."""
    column, body = STYLES.index(style), {"legacy": "language_model.encoder"}.get(style, "decoder")
    top = "language_model." if style == "legacy" else ""
    whole = {
        "embedding.weight": f"{top}embedding.word_embeddings.weight",
        "positions.weight": f"{top}embedding.position_embeddings.weight",
        "output.weight": f"{top}output_layer.weight",
    }
    if name in whole:
        return whole[name]
    if name.startswith("final_norm."):
        return f"{body}.{'final_norm' if style == 'legacy' else 'final_layernorm'}.{name.partition('.')[2]}"
    _, _, inside = name.split(".", 2)
    if inside.startswith("experts."):
        _, number, linear, kind = inside.split(".")
        if style == "te":
            return f"{body}.layers.{layer}.mlp.experts.linear_{linear}.{kind}{number}"
        return f"{body}.layers.{layer}.mlp.experts.local_experts.{number}.linear_{linear}.{kind}"
    ours = next(known for known in NAMES if inside.startswith(known))
    return f"{body}.layers.{layer}.{NAMES[ours][column]}{inside.removeprefix(ours)}"


def part_of(name: str, whole: Tensor, rank: int, ranks: int, *, gated: bool) -> Tensor:
    """Cut a tensor-parallel rank's part."""
    if ".fc1." in name and gated:
        return torch.cat([half.chunk(ranks)[rank] for half in whole.chunk(2)])
    if name in {"embedding.weight", "output.weight"} or ".qkv." in name or ".fc1." in name:
        return whole.chunk(ranks)[rank]
    if name.endswith((".attention.out.weight", ".fc2.weight")):
        return whole.chunk(ranks, 1)[rank]
    return whole


def save_torch(
    model: Model,
    folder: Path,
    *,
    tensor: int = 1,
    stages: tuple[tuple[int, ...], ...] = (),
    experts: int = 1,
    style: Style = "local",
    **state: Any,
) -> Path:
    """Write an iter_ folder; `stages` says for each stage how many layers each of its chunks has."""
    stages = stages or ((model.args["num_layers"],),)
    args = {
        **model.args,
        "tensor_model_parallel_size": tensor,
        "pipeline_model_parallel_size": len(stages),
        "expert_model_parallel_size": experts,
        "use_legacy_models": style == "legacy",
    }
    for rank, stage, expert in product(range(tensor), range(len(stages)), range(experts)):
        whole = _parts(model, rank, tensor, expert, experts)
        chunks = [_chunk(model, whole, stages, (chunk, stage), style) for chunk in range(len(stages[0]))]
        names = ["model"] if len(chunks) == 1 else [f"model{number}" for number in range(len(chunks))]
        content = {
            "args": argparse.Namespace(**args), "checkpoint_version": 3.0, "iteration": 6,
            **dict(zip(names, chunks, strict=True)), "optimizer": {"state": {}}, **state,
        }  # fmt: skip
        suffixes = [f"_{number:03d}" for number, count in ((stage, len(stages)), (expert, experts)) if count > 1]
        place = folder / f"mp_rank_{rank:02d}{''.join(suffixes)}"
        place.mkdir(parents=True)
        torch.save(content, place / "model_optim_rng.pt")
    return folder


def _parts(model: Model, rank: int, ranks: int, expert: int, experts: int) -> dict[str, Tensor]:
    """Cut what one tensor and one expert rank hold of all layers; experts are counted from the rank's first."""
    weights = model.weights()
    if not model.args["untie_embeddings_and_output_weights"]:
        weights["output.weight"] = weights["embedding.weight"]
    found = {}
    for name, whole in weights.items():
        own = _own_expert(name, expert, experts, model.args["num_experts"])
        if own is not None:
            found[own] = part_of(name, whole, rank, ranks, gated=model.args["swiglu"]).clone()
    return found


def _chunk(
    model: Model, parts: Mapping[str, Tensor], stages: tuple[tuple[int, ...], ...], here: tuple[int, int], style: Style
) -> dict[str, Any]:
    """Choose what one stage holds in one of its chunks; the last one has a copy of a tied embedding."""
    places = list(product(range(len(stages[0])), range(len(stages))))
    first = sum(stages[stage][chunk] for chunk, stage in places if (chunk, stage) < here)
    count, found = stages[here[1]][here[0]], {}
    ends = {"first": here == places[0], "last": here == places[-1]}
    tied = not model.args["untie_embeddings_and_output_weights"]
    for name, part in parts.items():
        if name.startswith("layers."):
            layer = int(name.split(".")[1]) - first
            if 0 <= layer < count:
                found[megatron_name(name, style, layer)] = part
        elif name == "output.weight" and tied and len(stages) == 1:
            continue
        elif ends["last" if name.startswith(("final_norm", "output")) else "first"]:
            found[megatron_name(name, style, 0)] = part
    extra = {name.replace(".weight", "._extra_state"): None for name in found if "linear_fc1.weight" in name}
    return nested({**found, **extra}) if style == "legacy" else {**found, **extra}


def _own_expert(name: str, expert: int, experts: int, count: int | None) -> str | None:
    """Count an expert from the first of its rank; None if another rank has it."""
    if ".experts." not in name or count is None:
        return name
    start, _, rest = name.partition(".experts.")
    number, _, rest = rest.partition(".")
    local = int(number) - expert * (count // experts)
    return f"{start}.experts.{local}.{rest}" if 0 <= local < count // experts else None


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Put a legacy model's entries into its modules' dictionaries: those of the transformer are flat."""
    made: dict[str, Any] = {}
    for name, value in flat.items():
        words = name.split(".", 2) if ".encoder." in f".{name}" else name.split(".")
        place = made
        for word in words[:-1]:
            place = place.setdefault(word, {})
        place[words[-1]] = value
    return made


def save_dist(
    model: Model,
    folder: Path,
    *,
    numbered: bool = False,
    apart: bool = False,
    common: Literal["file", "item"] = "file",
    beside: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write an iter_ folder with torch's own writer: layers in one tensor, or numbered; or all of them numbered and
    apart, gates too, as with singleton_local_shards."""
    state: dict[str, Any] = {"optimizer.state.exp_avg.x": torch.zeros(3), **(beside or {})}
    stacked: dict[str, dict[int, Tensor]] = {}
    for name, whole in model.weights().items():
        if not name.startswith("layers."):
            state[megatron_name(name, "te", 0)] = whole
            continue
        layer = int(name.split(".")[1])
        key = _dist_name(name)
        if apart:
            place = megatron_name(name, "local" if ".experts." in name else "te", layer).replace(".local_", ".")
            halves = whole.chunk(2) if ".fc1." in name and model.args["swiglu"] else (whole,)
            suffixes = ("_w", "_v") if len(halves) == 2 else ("",)
            state |= {f"{place}{suffix}": half.clone() for suffix, half in zip(suffixes, halves, strict=True)}
        elif numbered and ".experts." not in name:
            state[key.replace("layers.", f"layers.{layer}.", 1)] = whole
        else:
            number = int(name.split(".")[3]) if ".experts." in name else 0
            stacked.setdefault(key, {})[layer * (model.args["num_experts"] or 1) + number] = whole
    for key, parts in stacked.items():
        whole = torch.stack([parts[number] for number in sorted(parts)])
        if ".experts." in key:
            whole = whole.view(model.args["num_layers"], model.args["num_experts"], *whole.shape[1:])
        state[key] = whole
    shared = {"args": argparse.Namespace(**model.args), "checkpoint_version": 3.0, "iteration": 6}
    if common == "item":
        state["common_state/shard_0_1"] = [shared]
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it saves in a single process
        writer = FileSystemWriter(folder, single_file_per_rank=False)
        save(state, storage_writer=writer, planner=DefaultSavePlanner(flatten_state_dict=False), no_dist=True)
    if common == "file":
        torch.save(shared, folder / "common.pt")
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", "sharded_backend_version": 1}))
    return folder


def _dist_name(name: str) -> str:
    """Spell a layer's weight without its number."""
    if ".experts." in name:
        _, _, _, _, linear, kind = name.split(".")
        return f"decoder.layers.mlp.experts.experts.linear_{linear}.{kind}"
    return megatron_name(name, "te", 0).replace("layers.0.", "layers.")


Saver = Callable[[Model, Path], Path]
