"""The bytes of a result's tensors, a few megabytes at a time, read from where the checkpoint has them."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoexp.conversion.outputs import Output
from autoexp.conversion.source import refused
from autoexp.conversion.weights import Piece, Weight
from autoexp.errors import AutoexpError
from autoexp.inert import NotWholeError

try:
    import numpy as np
    import numpy.typing as npt
except ModuleNotFoundError as error:
    raise AutoexpError(
        "checkpoints cannot be converted here", why="numpy is not installed", fix="pip install 'autoexp[convert]'"
    ) from error

CHUNK_BYTES = 8 << 20
MOST_OPEN = 512
"""Files at once, for as many threads as there are cores: a process may often open no more than 1,024."""
MOST_OPEN_EACH = 64
Bits = npt.NDArray[np.uint16 | np.uint32]
"""Numbers as their bits: numpy has no bfloat16, and copying needs none."""
ROUNDING = {"float32": 1e-5, "float16": 2**-10, "bfloat16": 2**-7}
"""How far two ranks' numbers may be apart, as a share of the largest: they add up the same in another order."""
_BITS = {"float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16}


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes that stand in a file as they are to stand in the result."""

    path: Path
    start_bytes: int
    length_bytes: int


class Files:
    """Open files to be read from at any place; those that were read last stay open."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._most = max(min(MOST_OPEN_EACH, MOST_OPEN // len(os.sched_getaffinity(0))), 1)

    def open(self, path: Path) -> int:
        """Return a file's descriptor, which is good until the next call."""
        descriptor = self._open.pop(path, None)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY)
        self._open[path] = descriptor  # at the end: the first is the one that was used longest ago
        if len(self._open) > self._most:
            os.close(self._open.pop(next(iter(self._open))))
        return descriptor

    def read(self, path: Path, start_bytes: int, into: memoryview) -> None:
        """Fill a buffer.

        Raises:
            NotWholeError: the file ends before.
            OSError: it cannot be read.
        """
        done = 0
        while done < len(into):
            count = os.preadv(self.open(path), [into[done:]], start_bytes + done)
            if count == 0:
                raise NotWholeError(f"{path} was cut while it was read")
            done += count

    def close(self) -> None:
        """Close them all."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def chunks(output: Output, dtype: str, files: Files) -> Iterator[memoryview | Range]:
    """Yield a tensor's bytes in order, as numbers of a type; each chunk is good until the one after the next.

    What has to be neither moved nor changed is only named.

    Raises:
        AutoexpError: a number is too large for the type.
        NotWholeError: a file was cut.
        OSError: one cannot be read.
    """
    weight = output.weight
    as_it_is = not output.transposed and not output.plus_one and dtype == weight.dtype
    if as_it_is and all(piece.shape[1:] == weight.shape[1:] for piece in weight.pieces):
        yield from _ranges(weight)
        return
    for block in _transposed(weight, files) if output.transposed else blocks(weight, files):
        if output.plus_one or dtype != weight.dtype:
            floats = to_float32(block, weight.dtype) + np.float32(output.plus_one)
            yield _rounded(floats, dtype, output.name).data.cast("B")
        else:
            yield block.data.cast("B")


def _rounded(floats: npt.NDArray[np.float32], dtype: str, name: str) -> Bits:
    try:
        with np.errstate(over="raise"):
            return from_float32(floats, dtype)
    except FloatingPointError as error:
        raise refused(
            f"{name} has numbers too large for {dtype}",
            "they would become infinite",
            "--dtype bfloat16, or leave it out",
        ) from error


def _ranges(weight: Weight) -> Iterator[Range]:
    """Name a tensor's rows, where they lie side by side in a file as one."""
    path, start, end = Path(), 0, 0
    for piece in sorted(weight.pieces, key=lambda piece: piece.offset):
        if (piece.file, piece.start_bytes) != (path, end):
            if end > start:
                yield Range(path, start, end - start)
            path, start = piece.file, piece.start_bytes
        end = piece.start_bytes + math.prod(piece.shape) * weight.item_bytes
    if end > start:
        yield Range(path, start, end - start)


def blocks(weight: Weight, files: Files) -> Iterator[Bits]:
    """Yield some rows after the others, from two buffers in turn."""
    count, width = weight.shape[0], _width(weight.shape)
    row_bytes = width * weight.item_bytes
    most = max(min(CHUNK_BYTES // max(row_bytes, 1), count), 1)
    buffers = [np.empty((most, width), _BITS[weight.dtype]) for _ in range(2 if most < count else 1)]
    pieces = sorted(weight.pieces, key=lambda piece: piece.offset)
    for turn, first in enumerate(range(0, count, most)):
        last = min(first + most, count)
        block = buffers[turn % 2][: last - first]
        for piece in pieces:
            begin, end = max(first, piece.offset[0]), min(last, piece.offset[0] + piece.shape[0])
            if begin < end:
                _read_rows(piece, begin, block[begin - first : end - first], files)
        yield block


def _transposed(weight: Weight, files: Files) -> Iterator[Bits]:
    """Yield the weight's columns as rows, some after the others; the whole is held in memory, once."""
    whole = np.empty(weight.shape[::-1], _BITS[weight.dtype])
    done = 0
    for block in blocks(weight, files):
        whole[:, done : done + len(block)] = block.T
        done += len(block)
    most = max(CHUNK_BYTES // max(whole.strides[0], 1), 1)
    yield from (whole[first : first + most] for first in range(0, len(whole), most))


def _read_rows(piece: Piece, begin: int, block: Bits, files: Files) -> None:
    """Read as many rows of a piece as a block has, from row `begin` of the whole on, to their columns."""
    width = _width(piece.shape)
    start = piece.start_bytes + (begin - piece.offset[0]) * width * block.itemsize
    if width == block.shape[1]:
        files.read(piece.file, start, block.data.cast("B"))
        return
    part = np.empty((len(block), width), block.dtype)
    files.read(piece.file, start, part.data.cast("B"))
    column = piece.offset[1]
    block[:, column : column + width] = part


def _width(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


def to_float32(bits: Bits, dtype: str) -> npt.NDArray[np.float32]:
    """Read numbers from their bits: bfloat16 is the upper half of a float32."""
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16).astype(np.float32) if dtype == "float16" else bits.view(np.float32)


def from_float32(values: npt.NDArray[np.float32], dtype: str) -> Bits:
    """Round numbers to a type, to the even neighbour where two are as near."""
    if dtype == "float32":
        return values.view(np.uint32)
    if dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def near(ours: Bits, theirs: Bits, dtype: str) -> bool:
    """Say whether numbers differ by no more than rounding."""
    if np.array_equal(ours, theirs):
        return True
    one, other = to_float32(ours, dtype), to_float32(theirs, dtype)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other) > ROUNDING[dtype] * np.abs(one).max()
    return not (apart | (np.isfinite(one) != np.isfinite(other))).any()
