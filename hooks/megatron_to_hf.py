"""Converts a Megatron-LM checkpoint of a Llama into a Hugging Face `LlamaForCausalLM`.

Try it by hand:

    python hooks/megatron_to_hf.py --checkpoint RUN/checkpoints/iter_0000200 --output RUN/hf/0000200

In a recipe, one job a checkpoint:

    convert: {each: {checkpoint: [pretrain], from: 1, every: 1}, hook: megatron_to_hf}

It writes model.safetensors, config.json, generation_config.json, and conversion.json, which says what was
made of what. It needs no torch, no Megatron and no GPU: each tensor of the result is some rows of one tensor
of the source, so its bytes are copied, in the source's number type.

Rule 1: every tensor is planned, name, shape and source, before one is read. A weight that is missing, left
over or of another shape stops the conversion with its name; so does an option of the training no Llama has.
Rule 2: everything in config.json comes from the checkpoint, nothing from a default.
Rule 3: the output folder appears whole, by a rename, or not at all. A finished one is left as it is.

Names and layouts: Megatron-LM `megatron/core/models/gpt`, transformers `models/llama/modeling_llama.py`,
https://huggingface.co/docs/safetensors.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import autoexp
from autoexp import files, inert, safetensorsfile, torchfile
from autoexp.checkpoints import MODEL_FILE, judge
from autoexp.errors import HookRefused
from autoexp.safetensorsfile import DTYPES, Cut
from autoexp.torchfile import Tensor

OUTPUT = "hf"

SHARD = f"mp_rank_00/{MODEL_FILE}"
EMBEDDING = "embedding.word_embeddings.weight"
WEIGHTS, MANIFEST = "model.safetensors", "conversion.json"
NO_TOKENS: dict[str, object] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
"""A checkpoint knows no tokenizer; without these, a Llama would get tokens 1 and 2."""
Rule = tuple[str, tuple[str, ...], tuple[int, ...], tuple[range, ...]]

LLAMA: dict[str, tuple[object, ...]] = {
    "normalization": ("RMSNorm",),
    "swiglu": (True,),
    "position_embedding_type": ("rope",),
    "add_bias_linear": (False,),
}
"""What a training must have said to be one of a Llama."""

NOT_LLAMA: dict[str, tuple[object, ...]] = {
    "tensor_model_parallel_size": (1,),
    "pipeline_model_parallel_size": (1,),
    "expert_model_parallel_size": (1,),
    "virtual_pipeline_model_parallel_size": (None, 1),
    "add_qkv_bias": (False, None),
    "qk_layernorm": (False, None),
    "qk_l2_norm": (False, None),
    "num_experts": (None, 0),
    "mtp_num_layers": (None, 0),
    "multi_latent_attention": (False, None),
    "attention_output_gate": (False, None),
    "experimental_attention_variant": (None,),
    "linear_attention_freq": (None,),
    "is_hybrid_model": (False, None),
    "heterogeneous_layers_config_path": (None,),
    "heterogeneous_layers_config_encoded_json": (None,),
    "apply_layernorm_1p": (False, None),
    "layernorm_zero_centered_gamma": (False, None),
    "apply_residual_connection_post_layernorm": (False, None),
    "softmax_type": ("vanilla", None),
    "window_size": (None,),
    "rope_type": ("rope", None),
    "rotary_percent": (1.0, None),
    "rotary_interleaved": (False, None),
    "rotary_seq_len_interpolation_factor": (None, 1),
    "use_rope_scaling": (False, None),
    "no_rope_freq": (None,),
    "mrope_section": (None,),
    "squared_relu": (False, None),
    "openai_gelu": (False, None),
    "quick_geglu": (False, None),
    "glu_linear_offset": (0.0, None),
    "activation_func_clamp_value": (None,),
    "use_legacy_models": (False, None),
}
"""Options that change what the model computes, or how it is split, and the values at which they do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama:
    """The model's sizes, by the names they have in config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when the output folder is there and whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="an iter_ folder of Megatron-LM")
    parser.add_argument("--output", type=Path, required=True, help="the folder to make")
    args = parser.parse_args(argv)
    try:
        print(convert(args.checkpoint, args.output))
    except HookRefused as refusal:
        print(f"megatron_to_hf: {refusal}", file=sys.stderr)
        return 1
    return 0


def convert(checkpoint: Path, output: Path) -> str:
    """Make `output` from `checkpoint`, unless it is made already; return what was done.

    Raises:
        HookRefused: The checkpoint is not whole, is no Llama, or changed meanwhile; or something else is at
            `output`, or it cannot be written.
    """
    try:
        return _finished(checkpoint, output) or _convert(checkpoint, output)
    except (OSError, inert.NotWholeError) as error:
        raise HookRefused(
            f"{checkpoint} cannot be converted into {output}",
            why=str(error),
            fix="see that the checkpoint stays in place and the disk has room, and run it again",
        ) from error


def _convert(checkpoint: Path, output: Path) -> str:
    started = time.monotonic()
    iteration = _judged(checkpoint)
    before = _source(checkpoint)
    llama, tensors = read_model(checkpoint / SHARD)
    cuts = plan(llama, {name: tensor.shape for name, tensor in tensors.items()})
    with _draft(output) as draft:
        made = _write_files(draft, checkpoint / SHARD, llama, cuts, tensors)
        if _source(checkpoint) != before:
            raise HookRefused(
                f"{checkpoint} changed while it was read",
                why="a save goes over it",
                fix="run it again when the save is done",
            )
        seconds = time.monotonic() - started
        manifest = {
            "source": str(checkpoint.resolve()),
            "target": str(output.absolute()),
            "format": "torch",
            "architecture": "LlamaForCausalLM",
            "iteration": iteration,
            "parameters": sum(math.prod(cut.shape) for cut in cuts),
            "inputs": before,
            "outputs": made,
            "versions": {"autoexp": autoexp.__version__, "python": sys.version.split()[0]},
            "seconds": round(seconds, 3),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        files.write_json(draft / MANIFEST, manifest, indent=1)
        _appear(draft, output, checkpoint)
    return f"{output}: iteration {iteration}, {manifest['parameters']} parameters, {seconds:.2f} s"


def _judged(checkpoint: Path) -> int | None:
    judgement = judge(checkpoint)
    if judgement.format != "torch" or not judgement.convertible:
        raise HookRefused(
            f"{checkpoint} cannot be converted",
            why=f"format {judgement.format}: {judgement.why}",
            fix="give an iter_ folder that Megatron-LM saved whole, with --ckpt-format torch",
        )
    if not (checkpoint / SHARD).is_file():
        raise _unknown(f"{checkpoint} has no {SHARD}", "it is split over pipeline or expert ranks")
    return judgement.iteration


# What is there already, and what appears.


def _finished(checkpoint: Path, output: Path) -> str | None:
    """Say that a whole output of this very checkpoint is there; None when nothing is."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    try:
        manifest = json.loads((output / MANIFEST).read_bytes())
        torn = [n for n, made in manifest["outputs"].items() if (output / n).stat().st_size != made["bytes"]]
        same = manifest["source"] == str(checkpoint.resolve())
        if (checkpoint / SHARD).exists():  # else it was deleted since, and its path must do
            same = manifest["inputs"] == _source(checkpoint)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _in_the_way(output, f"it is no finished conversion: {type(error).__name__} {error}") from error
    if torn or not same:
        raise _in_the_way(output, f"{torn[0]} is cut" if torn else "it was made of another checkpoint")
    return f"{output}: a finished conversion of {checkpoint} is there already"


def _in_the_way(output: Path, why: str) -> HookRefused:
    return HookRefused(f"{output} is in the way", why=why, fix=f"rm -r {output}, or give another --output")


def _source(checkpoint: Path) -> dict[str, object]:
    """Tell one state of the source from another."""
    status = (checkpoint / SHARD).stat()
    return {SHARD: {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}}


@contextlib.contextmanager
def _draft(output: Path) -> Iterator[Path]:
    """Give a new folder beside `output`, and remove it in the end; those of killed runs are removed first."""
    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f".{output.name}.*.partial"):
        # Taken by a rename first: an owner that lives can then no longer make it the output, half deleted.
        taken = _own_name(output)
        with contextlib.suppress(FileNotFoundError):
            left.rename(taken)
        shutil.rmtree(taken, ignore_errors=True)
    draft = _own_name(output)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _own_name(output: Path) -> Path:
    """Return a name beside `output` that no process has or will have: not even one thought dead."""
    own = f"{os.uname().nodename}-{os.getpid()}-{time.monotonic_ns()}"
    return output.with_name(f".{output.name}.{own}.partial")


def _appear(draft: Path, output: Path, checkpoint: Path) -> None:
    try:
        draft.rename(output)  # which replaces an empty folder
    except OSError as error:
        # A copy of this job may have been quicker; then its output must be this one.
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY} or not _finished(checkpoint, output):
            raise
    files.sync_directory(output.parent)


# The source.


def read_model(file: Path) -> tuple[Llama, dict[str, Tensor]]:
    """Return the sizes and the weights of the model in a model_optim_rng.pt; no weight is read.

    Raises:
        HookRefused: It is no Llama, or one that is not known here; the text names what is different.
    """
    state = torchfile.read(file)
    args = inert.state_of(state.get("args"))
    _check_version(state.get("checkpoint_version"))
    _check_options(args)
    model = state.get("model")
    if not isinstance(model, dict):
        raise _unknown("the checkpoint's model is split in chunks", "model0 stands in place of model")
    weights = {str(name): value for name, value in model.items() if not str(name).endswith("_extra_state")}
    tensors = torchfile.tensors(file, weights)
    for name in weights:
        _check_weight(name, tensors.get(name))
    return read_llama(args, tensors), tensors


def _unknown(what: str, why: str) -> HookRefused:
    fix = "take another converter; this one knows Llamas that one model-parallel rank saved"
    return HookRefused(what, why=why, fix=fix)


def _check_version(version: object) -> None:
    """Before 2.0 the rows of query, key and value lay in another order."""
    if not isinstance(version, int | float) or version not in {2.0, 3.0}:
        raise _unknown(f"checkpoint_version is {version!r}", "the order of rows is known for 2.0 and 3.0")


def _check_options(args: Mapping[str, object]) -> None:
    for name, values in LLAMA.items():
        if args.get(name) not in values:
            raise _unknown(f"{name} is {args.get(name)!r}", f"a Llama has {values[0]!r}")
    for name, values in NOT_LLAMA.items():
        if args.get(name, values[0]) not in values:
            raise _unknown(f"{name} is {args[name]!r}", f"only {values[0]!r} is converted")


def _check_weight(name: str, tensor: Tensor | None) -> None:
    if tensor is None:
        raise _unknown(f"{name} is no tensor", "weights are plain tensors of numbers")
    if tensor.dtype not in DTYPES or not tensor.contiguous:
        kind = tensor.dtype if tensor.contiguous else "not laid out in rows"
        raise _unknown(f"{name} is {kind}", f"weights in rows of {', '.join(DTYPES)} are copied")


def read_llama(args: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Llama:
    """Return the model's sizes, from the arguments of the training, and its vocabulary's from the embedding.

    The vocabulary keeps its padding: `vocab_size` in the arguments is often absent or off by one.
    """
    if EMBEDDING not in tensors:
        raise _unknown(f"{EMBEDDING} is missing", "a Llama has it")
    rows = tensors[EMBEDDING].shape[0]
    if args.get("padded_vocab_size") not in {None, rows}:
        raise _unknown(f"padded_vocab_size is {args['padded_vocab_size']!r}", f"{EMBEDDING} has {rows} rows")
    heads = _number(args, "num_attention_heads")
    # Without grouped queries num_query_groups means nothing, and is often stored as 1.
    grouped = args.get("group_query_attention")
    return Llama(
        hidden_size=_number(args, "hidden_size"),
        intermediate_size=_number(args, "ffn_hidden_size"),
        num_hidden_layers=_number(args, "num_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_number(args, "num_query_groups") if grouped else heads,
        head_dim=_number(args, "kv_channels"),
        vocab_size=rows,
        max_position_embeddings=_number(args, "max_position_embeddings"),
        rms_norm_eps=_epsilon(args),
        rope_theta=_positive(args, "rotary_base"),
        tie_word_embeddings=not _flag(args, "untie_embeddings_and_output_weights"),
    )


def _number(args: Mapping[str, object], name: str) -> int:
    value = args.get(name)
    if not isinstance(value, int) or value < 1:
        raise _unknown(f"{name} is {value!r}", "a Llama needs a positive whole number")
    return value


def _positive(args: Mapping[str, object], name: str) -> float:
    value = args.get(name)
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _unknown(f"{name} is {value!r}", "a Llama needs a positive number")
    return float(value)


def _flag(args: Mapping[str, object], name: str) -> bool:
    value = args.get(name)
    if not isinstance(value, bool):
        raise _unknown(f"{name} is {value!r}", "it must be true or false")
    return value


def _epsilon(args: Mapping[str, object]) -> float:
    """Megatron calls it norm_epsilon up to core 0.15, and layernorm_epsilon since."""
    names = [name for name in ("norm_epsilon", "layernorm_epsilon") if name in args]
    values = [_positive(args, name) for name in names]
    if not values or values[0] != values[-1]:
        raise _unknown("the norms' epsilon is unknown", f"norm_epsilon and layernorm_epsilon are {values}")
    return values[0]


# The plan.


def plan(llama: Llama, found: Mapping[str, tuple[int, ...]]) -> list[Cut]:
    """Return every tensor of the result, of the weights `found` by name and shape.

    Raises:
        HookRefused: A weight is missing, has another shape, or is left over.
    """
    cuts: list[Cut] = []
    used: set[str] = set()
    for name, sources, shape, rows in _rules(llama):
        source = next((source for source in sources if source in found), None)
        if source is None:
            raise _unknown(f"{sources[0]} is missing", f"{name} is made of it")
        if found[source] != shape:
            raise _unknown(f"{source} is {list(found[source])}", f"the training's sizes give {list(shape)}")
        used.add(source)
        cuts.append(Cut(name=name, source=source, rows=rows, shape=(sum(map(len, rows)), *shape[1:])))
    unused = sorted(found.keys() - used)
    if unused:
        raise _unknown(f"{unused[0]} has no place in a Llama", f"{len(unused)} weights would be left out")
    return cuts


def _rules(llama: Llama) -> Iterator[Rule]:
    """Yield each result's name, the names its source may have, the source's shape, and the rows to take."""
    whole = (llama.vocab_size, llama.hidden_size)
    yield "model.embed_tokens.weight", (EMBEDDING,), whole, (range(llama.vocab_size),)
    for layer in range(llama.num_hidden_layers):
        for name, sources, shape, rows in _layer_rules(llama):
            inside = tuple(f"decoder.layers.{layer}.{source}" for source in sources)
            yield f"model.layers.{layer}.{name}", inside, shape, rows
    norms = ("decoder.final_layernorm.weight", "decoder.final_norm.weight")
    yield "model.norm.weight", norms, (llama.hidden_size,), (range(llama.hidden_size),)
    if not llama.tie_word_embeddings:
        yield "lm_head.weight", ("output_layer.weight",), whole, (range(llama.vocab_size),)


def _layer_rules(llama: Llama) -> Iterator[Rule]:
    """Yield the rules of one layer; Transformer Engine keeps each norm with the linear layer after it.

    The rows of linear_qkv are grouped: for each group its queries' heads, then its key, then its value.
    """
    hidden, ffn, head = llama.hidden_size, llama.intermediate_size, llama.head_dim
    groups = llama.num_key_value_heads
    queries = llama.num_attention_heads // groups * head
    group = queries + 2 * head
    starts = range(0, groups * group, group)
    qkv, mixed = ("self_attention.linear_qkv.weight",), (groups * group, hidden)
    fc1, both = ("mlp.linear_fc1.weight",), (2 * ffn, hidden)
    first = ("input_layernorm.weight", "self_attention.linear_qkv.layer_norm_weight")
    second = ("pre_mlp_layernorm.weight", "mlp.linear_fc1.layer_norm_weight")
    out, inner = llama.num_attention_heads * head, ("self_attention.linear_proj.weight",)
    yield "input_layernorm.weight", first, (hidden,), (range(hidden),)
    yield "self_attn.q_proj.weight", qkv, mixed, tuple(range(s, s + queries) for s in starts)
    yield "self_attn.k_proj.weight", qkv, mixed, tuple(range(s + queries, s + queries + head) for s in starts)
    yield "self_attn.v_proj.weight", qkv, mixed, tuple(range(s + queries + head, s + group) for s in starts)
    yield "self_attn.o_proj.weight", inner, (hidden, out), (range(hidden),)
    yield "post_attention_layernorm.weight", second, (hidden,), (range(hidden),)
    yield "mlp.gate_proj.weight", fc1, both, (range(ffn),)
    yield "mlp.up_proj.weight", fc1, both, (range(ffn, 2 * ffn),)
    yield "mlp.down_proj.weight", ("mlp.linear_fc2.weight",), (hidden, ffn), (range(hidden),)


# The files of the result.


def _write_files(
    folder: Path, file: Path, llama: Llama, cuts: Sequence[Cut], tensors: Mapping[str, Tensor]
) -> dict[str, dict[str, object]]:
    """Write all but the manifest; return each file's size and SHA-256."""
    weights = ((cut, tensors[cut.source]) for cut in cuts)
    config = _config(llama, tensors[EMBEDDING].dtype)
    texts = {"config.json": config, "generation_config.json": NO_TOKENS}
    chunks: dict[str, Iterable[bytes]] = {WEIGHTS: safetensorsfile.contents(file, list(weights))}
    chunks |= {name: [f"{json.dumps(value, indent=2)}\n".encode()] for name, value in texts.items()}
    return {name: _write(folder / name, data) for name, data in chunks.items()}


def _write(path: Path, chunks: Iterable[bytes]) -> dict[str, object]:
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        size_bytes = file.tell()
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size_bytes, "sha256": digest.hexdigest()}


def _config(llama: Llama, dtype: str) -> dict[str, object]:
    """Return config.json; both names of the number type are written, for transformers 4 and 5."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(llama),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": None,
        **NO_TOKENS,
        "torch_dtype": dtype,
        "dtype": dtype,
    }


if __name__ == "__main__":
    raise SystemExit(main())
