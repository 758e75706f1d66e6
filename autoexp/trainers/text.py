"""The training text: bytes are tokens, and a sample's window depends on nothing but the seed and its number.

Without a path the text is the Python standard library's own sources, which every machine has (about ten
megabytes; the exact bytes are the Python version's). It is split by file, one in twenty held out, by a hash
of the file's relative path: the split is the same everywhere, and no held-out file is seen in training.

Every epoch has a shuffled order of its own, and a sample's number its place there. The world size, the micro
batch and the number of iterations do not enter, so a longer run begins with a shorter one's samples, and a
resumed run goes on where it stopped.
"""

import os
import sysconfig
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from autoexp.errors import AutoexpError

VOCABULARY = 256
_ONE_IN = 20  # files held out
_NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})


def training(path: Path | None = None) -> bytes:
    """Return the text to train on; `path` is a file or a folder, nothing means the standard library.

    Raises:
        AutoexpError: the path cannot be read, or too little is there to split.
    """
    return _text(path, held=False)


def held_out(path: Path | None = None) -> bytes:
    """Return the text that training never sees: one file in twenty, or a single file's last twentieth.

    Raises:
        AutoexpError: the path cannot be read, or too little is there to split.
    """
    return _text(path, held=True)


def windows(text: bytes, seq_length: int) -> Tensor:
    """Cut `text` into windows, uint8 [windows, seq_length + 1].

    Neighbours share one byte, the last target of one being the first input of the next: over all windows each
    byte but the first is predicted once (a rest shorter than a window is dropped).

    Raises:
        AutoexpError: the text is shorter than one window.
    """
    if len(text) <= seq_length:
        raise AutoexpError(
            f"a text of {len(text)} bytes holds no window of {seq_length} tokens",
            why="a window is --seq-length bytes and the one that follows",
            fix="give a longer text with --data-path, or a shorter --seq-length",
        )
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).unfold(0, seq_length + 1, seq_length)


def samples(cut: Tensor, seed: int, first: int, count: int) -> Tensor:
    """Return samples `first` to `first + count - 1` of the windows `cut`, int64 [count, seq_length + 1]."""
    epochs = (divmod(number, len(cut)) for number in range(first, first + count))
    return cut[[int(_order(len(cut), seed, epoch)[place]) for epoch, place in epochs]].long()


def spread(cut: Tensor, first: int, count: int, total: int) -> Tensor:
    """Return windows `first` to `first + count - 1` of `total` evenly spread ones, always the same."""
    return cut[[number * len(cut) // total for number in range(first, first + count)]].long()


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    """Shuffle an epoch; two are kept because a batch may reach into the next one."""
    return torch.randperm(size, generator=torch.Generator().manual_seed((seed << 20) + epoch))


def _text(path: Path | None, *, held: bool) -> bytes:
    """Read one side of the split."""
    root = path or Path(sysconfig.get_path("stdlib"))
    try:
        if root.is_file():
            text = _side(root.read_bytes(), held=held)
        else:
            text = _joined(root, _names(root, library=path is None), held=held)
    except OSError as error:
        raise _unusable(root, str(error)) from error
    if not text:
        raise _unusable(root, f"nothing there falls to the {'held-out' if held else 'training'} side")
    return text


def _unusable(root: Path, why: str) -> AutoexpError:
    fix = "give a readable text file, or a folder of some dozens of them"
    return AutoexpError(f"cannot take the text from {root}", why=why, fix=fix)


def _side(text: bytes, *, held: bool) -> bytes:
    """Split a single file by position."""
    end = len(text) - len(text) // _ONE_IN
    return text[end:] if held else text[:end]


def _joined(root: Path, names: list[str], *, held: bool) -> bytes:
    """Join one side's files; the hash of a name, not its place in the list, tells the sides apart."""
    chosen = (name for name in names if (zlib.crc32(os.fsencode(name)) % _ONE_IN == 0) == held)
    return b"".join((root / name).read_bytes() for name in chosen)


def _names(root: Path, *, library: bool) -> list[str]:
    """Return a folder's visible files in order; of the standard library only its readable sources."""
    if not library:
        return sorted(_walk(root, frozenset()))
    sources = (name for name in _walk(root, _NOT_LIBRARY) if name.endswith(".py"))
    return sorted(name for name in sources if os.access(root / name, os.R_OK))


def _walk(root: Path, skipped: frozenset[str]) -> Iterator[str]:
    """Yield the path of every visible file below `root`, relative to it, with `/` between its parts."""
    for folder, inner, names in os.walk(root, onerror=_raise):
        inner[:] = [name for name in inner if name not in skipped and not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _raise(error: OSError) -> None:
    raise error
