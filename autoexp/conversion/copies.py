"""Weights that several ranks hold whole, such as norms: what each has must be what the first one has.

Ranks that train the same weight apart, each on its own share, have had it drift without a word.
"""

import math

from autoexp.conversion.source import Source, refused
from autoexp.conversion.stream import Files, blocks, near
from autoexp.conversion.weights import Weight
from autoexp.errors import AutoexpError

MOST_BYTES = 1 << 20
"""Of a weight that is compared while converting: norms and biases; larger ones are when a conversion is verified."""


def check(source: Source) -> None:
    """Compare the small ones.

    Raises:
        AutoexpError: ranks hold different numbers.
        NotWholeError: a file was cut.
        OSError: one cannot be read.
    """
    files = Files()
    try:
        for name, copy in source.copies:
            held = source.weights[name]
            if math.prod(held.shape) * held.item_bytes <= MOST_BYTES and not _agree(held, copy, files):
                raise different(name, held, copy)
    finally:
        files.close()


def different(name: str, held: Weight, copy: Weight) -> AutoexpError:
    """Say which two files do not agree."""
    return refused(
        f"{copy.pieces[0].file} holds another {name}",
        f"its numbers are not those of {held.pieces[0].file}, though each rank is to have the same",
        "take a save whose ranks agree; or let Megatron-LM load it and save it as torch_dist, which keeps one of them",
    )


def _agree(held: Weight, copy: Weight, files: Files) -> bool:
    kept = copy.rows(0, held.shape[0])  # the vocabulary's padding may have been cut
    if (kept.dtype, kept.shape, copy.shape[1:]) != (held.dtype, held.shape, held.shape[1:]) or not kept.is_whole():
        return False
    return all(
        near(ours.ravel(), theirs.ravel(), held.dtype)
        for ours, theirs in zip(blocks(held, files), blocks(kept, files), strict=True)
    )
