"""The rows of the embedding that are tokens: Megatron-LM pads them, and keeps a tied one twice."""

import math
from collections.abc import Mapping
from dataclasses import replace

from autoexp.conversion.source import Source, refused


def without_copy(source: Source) -> Source:
    """Set the copy of a tied embedding aside that the last stage of a pipeline holds."""
    tied = source.args.get("untie_embeddings_and_output_weights") is False
    several = source.args.get("pipeline_model_parallel_size") not in (None, 1)
    if not tied or not several or "output.weight" not in source.weights:
        return source
    weights = dict(source.weights)
    return replace(source, copies=(*source.copies, ("embedding.weight", weights.pop("output.weight"))), weights=weights)


def trimmed(source: Source, vocab_size: int | None) -> Source:
    """Leave the padding out, that makes the vocabulary divisible among ranks, and nothing else."""
    if vocab_size is None:
        return source
    weights = dict(source.weights)
    for name in ("embedding.weight", "output.weight"):
        if name in weights:
            _check_padding(name, weights[name].shape[0], vocab_size, source.args)
            weights[name] = weights[name].rows(0, vocab_size)
    return replace(source, weights=weights)


def _check_padding(name: str, rows: int, kept: int, args: Mapping[str, object]) -> None:
    """Refuse to cut rows that were trained: Megatron-LM pads to the next multiple, so by less than one.

    Source: megatron/training/tokenizer/tokenizer.py, _vocab_size_with_padding.
    """
    if not 0 < kept <= rows:
        fix = "give the tokenizer that the model was trained with"
        raise refused(f"{kept} tokens do not fit", f"{name} has {rows} rows", fix)
    multiple, told = _padded_to(args)
    fix = f"give the tokenizer that the model was trained with, or keep every row: --vocab-size {rows}"
    what = f"{kept} tokens would leave out {rows - kept} of the {rows} rows of {name}"
    if kept < rows and (multiple < 1 or rows % multiple):
        raise refused(what, f"how many of them are padding is not known: {rows} is no multiple of {told}", fix)
    if rows - kept >= max(multiple, 1):
        raise refused(what, f"at most {multiple - 1} are padding, of {told}; the others were trained", fix)


def _padded_to(args: Mapping[str, object]) -> tuple[int, str]:
    """Return the number that the vocabulary's rows are a multiple of, and where that comes from."""
    defaults = {"make_vocab_size_divisible_by": 128, "tensor_model_parallel_size": 1}  # Megatron-LM's own
    found = {name: default if args.get(name) is None else args[name] for name, default in defaults.items()}
    multiple = math.prod(size if isinstance(size, int) else 0 for size in found.values())
    return multiple, " x ".join(f"{name} {size!r}" for name, size in found.items())
