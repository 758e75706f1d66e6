"""Tensors as they lie in files: pieces of a whole, which are cut and joined without reading a byte.

A checkpoint spreads one tensor over ranks and files. Each piece is a box of the whole, whose elements follow each
other in its file in rows; so taking rows, or putting boxes beside each other, only moves offsets.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Number types that weights have, and the size of one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor, and where its elements lie."""

    file: Path
    start_bytes: int
    offset: tuple[int, ...]
    """Where its first element is in the whole."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor made of pieces."""

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def item_bytes(self) -> int:
        """The size of one element."""
        return ITEM_BYTES[self.dtype]

    def is_whole(self) -> bool:
        """Say whether the pieces lie inside, none upon another, and their elements are as many as there are to be.

        Ranks cut a tensor along its axes: each piece reaches to where the next ones begin.
        """
        begins = [{piece.offset[axis] for piece in self.pieces} for axis in range(len(self.shape))]
        ends = [dict(pairwise(sorted({*found, size}))) for found, size in zip(begins, self.shape, strict=True)]
        fits = all(
            start >= 0 and start + size == ends[axis].get(start)
            for piece in self.pieces
            for axis, (start, size) in enumerate(zip(piece.offset, piece.shape, strict=True))
        )
        places = {piece.offset for piece in self.pieces}
        held = sum(math.prod(piece.shape) for piece in self.pieces)
        return fits and held == math.prod(self.shape) and len(places) == len(self.pieces)

    def at(self, index: int) -> "Weight":
        """Take one entry of the first axis."""
        taken = self.rows(index, index + 1)
        pieces = tuple(replace(piece, offset=piece.offset[1:], shape=piece.shape[1:]) for piece in taken.pieces)
        return Weight(self.dtype, self.shape[1:], pieces)

    def rows(self, first: int, last: int) -> "Weight":
        """Take entries of the first axis, `last` not among them."""
        pieces = tuple(taken for piece in self.pieces if (taken := _rows(piece, first, last, self.item_bytes)))
        return Weight(self.dtype, (last - first, *self.shape[1:]), pieces)

    def split(self, count: int) -> list["Weight"]:
        """Cut the first axis into equal parts."""
        size = self.shape[0] // count
        return [self.rows(number * size, (number + 1) * size) for number in range(count)]


def _rows(piece: Piece, first: int, last: int, item_bytes: int) -> Piece | None:
    start, size = piece.offset[0], piece.shape[0]
    begin, end = max(first, start), min(last, start + size)
    if begin >= end:
        return None
    row_bytes = math.prod(piece.shape[1:]) * item_bytes
    return Piece(
        piece.file,
        piece.start_bytes + (begin - start) * row_bytes,
        (begin - first, *piece.offset[1:]),
        (end - begin, *piece.shape[1:]),
    )


def join(parts: Sequence[Weight], axis: int = 0) -> Weight:
    """Put tensors beside each other.

    Raises:
        ValueError: their other axes or number types differ.
    """
    if len(parts) == 1:
        return parts[0]
    rests = {(part.dtype, part.shape[:axis], part.shape[axis + 1 :]) for part in parts}
    if len(rests) != 1:
        raise ValueError(f"shapes {', '.join(str(list(part.shape)) for part in parts)} do not fit together")
    pieces: list[Piece] = []
    place = 0
    for part in parts:
        pieces += _shifted(part.pieces, axis, place)
        place += part.shape[axis]
    first = parts[0]
    return Weight(first.dtype, (*first.shape[:axis], place, *first.shape[axis + 1 :]), tuple(pieces))


def _shifted(pieces: Iterable[Piece], axis: int, by: int) -> list[Piece]:
    return [
        replace(piece, offset=(*piece.offset[:axis], piece.offset[axis] + by, *piece.offset[axis + 1 :]))
        for piece in pieces
    ]
