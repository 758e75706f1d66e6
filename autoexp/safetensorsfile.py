"""Safetensors files made of rows of other files' tensors, byte for byte.

Format: https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoexp.inert import NotWholeError
from autoexp.torchfile import Tensor

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Number types that are copied, by torch's name and by the format's."""
CHUNK_BYTES = 1 << 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A tensor of the result: some rows of one tensor of the source, in this order."""

    name: str
    source: str
    rows: tuple[range, ...]
    shape: tuple[int, ...]


def contents(file: Path, weights: Sequence[tuple[Cut, Tensor]]) -> Iterator[bytes]:
    """Yield a safetensors file: the header's length in 8 bytes, the header in JSON, the tensors end to end.

    Each cut is made of the rows of its tensor in `file`.

    Raises:
        NotWholeError: `file` ends before a tensor does.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for cut, tensor in weights:
        start, end = end, end + math.prod(cut.shape) * tensor.item_bytes
        header[cut.name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": cut.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    yield len(text).to_bytes(8, "little") + text
    with file.open("rb") as source:
        for cut, tensor in weights:
            yield from _rows(source, cut, tensor)


def _rows(source: BinaryIO, cut: Cut, tensor: Tensor) -> Iterator[bytes]:
    row_bytes = math.prod(tensor.shape[1:]) * tensor.item_bytes
    for rows in cut.rows:
        source.seek(tensor.start_bytes + rows.start * row_bytes)
        left = len(rows) * row_bytes
        while left:
            chunk = source.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise NotWholeError(f"{source.name} was cut while it was read, at {cut.source}")
            left -= len(chunk)
            yield chunk
