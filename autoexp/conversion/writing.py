"""Safetensors files: a header that says where each tensor is, and the tensors end to end.

Format: https://huggingface.co/docs/safetensors, and for several files transformers' index of them.
"""

import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp import files
from autoexp.conversion.outputs import Output
from autoexp.conversion.stream import CHUNK_BYTES, Files, Range, chunks
from autoexp.conversion.weights import ITEM_BYTES

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Number types, by torch's name and by the format's."""
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
Chunk = bytes | memoryview | Range
Told = Callable[[int], None]
"""Told how many bytes were written since the last time."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of weights."""

    name: str
    outputs: tuple[Output, ...]


def size_of(output: Output, dtype: str | None) -> int:
    """Count the bytes of a tensor in the result."""
    return math.prod(output.shape) * ITEM_BYTES[dtype or output.dtype]


def shards(outputs: Sequence[Output], dtype: str | None, most_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Divide tensors among files, in order."""
    groups: list[list[Output]] = [[]]
    filled = 0
    for output in outputs:
        size = size_of(output, dtype)
        if groups[-1] and filled + size > most_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(output)
        filled += size
    if len(groups) == 1:
        return [Shard("model.safetensors", tuple(groups[0]))]
    names = (f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1))
    return [Shard(name, tuple(group)) for name, group in zip(names, groups, strict=True)]


def index_of(parts: Sequence[Shard], dtype: str | None) -> Mapping[str, Any]:
    """Say which file each tensor is in."""
    total = sum(size_of(output, dtype) for part in parts for output in part.outputs)
    places = {output.name: part.name for part in parts for output in part.outputs}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}


def write_shards(folder: Path, parts: Sequence[Shard], dtype: str | None, plan: str, told: Told) -> dict[str, int]:
    """Write the files, several at once; those that an earlier process finished for the same plan are kept.

    Returns their sizes.

    Raises:
        NotWholeError: a file of the checkpoint was cut.
        OSError: one cannot be read or written.
    """
    workers = min(len(parts), len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        sizes = list(pool.map(lambda part: _finished_or_written(folder, part, dtype, plan, told), parts))
    return {part.name: size for part, size in zip(parts, sizes, strict=True)}


def _finished_or_written(folder: Path, part: Shard, dtype: str | None, plan: str, told: Told) -> int:
    note, length = folder / f".{part.name}.json", _length(part, dtype)
    path = folder / part.name
    if (files.read_json(note) or {}).get("plan") == plan and path.exists() and path.stat().st_size == length:
        told(length)
        return length
    path.unlink(missing_ok=True)
    source = Files()
    try:
        size = write(path, _contents(part, dtype, source), told, source, length)
    except BaseException:
        path.unlink(missing_ok=True)  # what others have finished stays, and this takes room
        raise
    finally:
        source.close()
    files.write_json(note, {"plan": plan})
    return size


def clear(folder: Path, parts: Sequence[Shard]) -> None:
    """Remove what an earlier process left, but for files of weights that may be finished."""
    kept = {name for part in parts for name in (part.name, f".{part.name}.json")}
    for path in [path for path in folder.iterdir() if path.name not in kept]:
        path.unlink()


def forget_notes(folder: Path) -> None:
    """Remove what says which files are finished."""
    for note in folder.glob(".*.json"):
        note.unlink()


def _header(part: Shard, dtype: str | None) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for output in part.outputs:
        start, end = end, end + size_of(output, dtype)
        kind = DTYPES[dtype or output.dtype]
        header[output.name] = {"dtype": kind, "shape": output.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    return len(text).to_bytes(8, "little") + text


def _length(part: Shard, dtype: str | None) -> int:
    return len(_header(part, dtype)) + sum(size_of(output, dtype) for output in part.outputs)


def _contents(part: Shard, dtype: str | None, source: Files) -> Iterator[Chunk]:
    yield _header(part, dtype)
    for output in part.outputs:
        yield from chunks(output, dtype or output.dtype, source)


def write(path: Path, data: Iterable[Chunk], told: Told, source: Files, length: int = 0) -> int:
    """Write a file durably; return its size."""
    with path.open("xb", buffering=0) as file:
        if length:
            _reserve(file.fileno(), length)
        for chunk in data:
            for count in _copy(file.fileno(), chunk, source) if isinstance(chunk, Range) else [_write_all(file, chunk)]:
                told(count)
        size_bytes = file.tell()
        os.fsync(file.fileno())
    return size_bytes


def _copy(descriptor: int, chunk: Range, source: Files) -> Iterator[int]:
    """Let the kernel copy, where it can; tell how much each time."""
    done = 0
    while done < chunk.length_bytes:
        at, most = chunk.start_bytes + done, min(chunk.length_bytes - done, CHUNK_BYTES)
        try:
            count = os.copy_file_range(source.open(chunk.path), descriptor, most, offset_src=at)
        except OSError as error:
            if error.errno not in files.NO_COPY_RANGE:
                raise
            count = 0
        if count == 0:  # the kernel cannot, or the file ends here, which reading it tells
            buffer = memoryview(bytearray(most))
            source.read(chunk.path, at, buffer)
            count = os.write(descriptor, buffer)
        done += count
        yield count


def _reserve(descriptor: int, length: int) -> None:
    """Claim the room at once, where the file system can: a full disk shows before the work."""
    try:
        os.posix_fallocate(descriptor, 0, length)
    except OSError as error:
        if error.errno not in files.NO_FALLOCATE:
            raise


def _write_all(file: io.FileIO, data: bytes | memoryview) -> int:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]
    return len(data)
