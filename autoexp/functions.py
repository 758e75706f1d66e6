"""What `${calc:'...'}` can call: arithmetic, text, lists, and what recipes of trainings need again and again."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoexp.quantities import parse

LONGEST_LIST = 100_000
WIDEST = 100
"""What `pad` makes of a number at most: any more are two arguments in the wrong order."""


def listed(*limits: int) -> list[int]:
    """Count as Python's range does.

    Raises:
        ValueError: it would have more than `LONGEST_LIST` entries.
    """
    numbers = range(*limits)
    if len(numbers) > LONGEST_LIST:
        raise ValueError(f"a list of {len(numbers):,} numbers is too long")
    return list(numbers)


def spelled(value: object) -> str:
    """Write a value inside a text: true, false and null as in YAML, and not as in Python, in lists too."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_within, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_within(key)}: {_within(item)}' for key, item in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _within(value: object) -> str:
    return repr(value) if isinstance(value, str) else spelled(value)


def pad(number: int, width: int = 7) -> str:
    """Spell a number with leading zeros, seven digits as in `iter_0000200`.

    Raises:
        ValueError: nobody wants that many.
    """
    if not 0 <= width <= WIDEST:
        raise ValueError(f"pad(NUMBER, WIDTH) has a width of 0 to {WIDEST}, not {width}")
    return f"{number:0{width}d}"


_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?\d{0,3}[,_]?(?:\.\d{1,2})?[bcdeEfFgGosxX%]?", re.DOTALL)


def formatted(value: float | str, spec: str) -> str:
    """Spell a value as Python's format does.

    Raises:
        ValueError: it is no format, or none for such a value.
    """
    if not _SPEC.fullmatch(spec):
        raise ValueError(f"{spec!r} is no format such as '.1e', ',' or '>8'")
    return format(value, spec)


def join(separator: str, items: Sequence[Any]) -> str:
    """Put values side by side as text.

    Raises:
        TypeError: the separator does not come first.
    """
    if not isinstance(separator, str):
        raise TypeError("the separator comes first: join('-', [1, 2])")
    return separator.join(map(spelled, items))


def gpt_params(  # noqa: PLR0917 - each is one size of the model
    num_layers: int,
    hidden_size: int,
    vocab_size: int,
    ffn_hidden_size: int | None = None,
    gated: bool = False,  # noqa: FBT001, FBT002 - recipes call it by name
    tied: bool = True,  # noqa: FBT001, FBT002 - as above
) -> int:
    """Count a decoder's matrices, 12 L H^2 + V H where the MLP is four times as wide; norms and biases are left out.

    Source: https://arxiv.org/abs/2001.08361 (section 2.1), and with a gate a third matrix of the MLP.
    """
    wide = 4 * hidden_size if ffn_hidden_size is None else ffn_hidden_size
    layer = 4 * hidden_size**2 + (3 if gated else 2) * hidden_size * wide
    return num_layers * layer + (1 if tied else 2) * vocab_size * hidden_size


def tokens_to_iters(tokens: float, seq_length: int, global_batch_size: int) -> int:
    """Return how many iterations see at least so many tokens."""
    return math.ceil(tokens / (seq_length * global_batch_size))


def wsd_branch(train_iters: int, decay: float, save_interval: int = 1) -> int:
    """Return the iteration that a cooldown branches at: the last one saved before its decay begins.

    A decay below 1 is a share of all iterations, rounded down as Megatron-LM's users do; else it is iterations.

    Raises:
        ValueError: the decay is longer than all of the training.
    """
    length = int(decay * train_iters) if decay < 1 else int(decay)
    if not 0 <= length <= train_iters:
        raise ValueError(f"a decay of {length} iterations does not fit into {train_iters}")
    return (train_iters - length) // save_interval * save_interval


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "ceil": math.ceil, "floor": math.floor, "min": min, "max": max, "round": round, "abs": abs, "sqrt": math.sqrt,
    "exp": math.exp, "log": math.log, "log2": math.log2, "log10": math.log10, "int": int, "float": float,
    "str": spelled, "bool": bool, "len": len, "sum": sum, "prod": math.prod, "sorted": sorted, "any": any, "all": all,
    "range": listed, "lower": str.lower, "upper": str.upper, "strip": str.strip, "replace": str.replace,
    "split": str.split, "join": join, "startswith": str.startswith, "endswith": str.endswith, "pad": pad,
    "format": formatted, "quantity": parse, "gpt_params": gpt_params, "tokens_to_iters": tokens_to_iters,
    "wsd_branch": wsd_branch,
}  # fmt: skip
