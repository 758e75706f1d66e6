"""A tokenizer's files, as they are to lie beside a converted model."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from autoexp.conversion import pieces
from autoexp.errors import AutoexpError
from autoexp.files import read_regular

FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""What transformers keeps a tokenizer in."""
SENTENCEPIECE = ("tokenizer.model", "spiece.model")
LARGEST_BYTES = 1 << 28
"""The largest tokenizers have some ten MB."""

T = TypeVar("T")
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _Added(msgspec.Struct):
    content: str
    id: Number


class _Model(msgspec.Struct):
    vocab: dict[str, Number] | list[tuple[str, float]] | None = None


class _Words(msgspec.Struct):
    """tokenizer.json: https://github.com/huggingface/tokenizers."""

    model: _Model
    added_tokens: list[_Added] | None = None


class _Special(msgspec.Struct):
    content: str


class _Config(msgspec.Struct):
    """tokenizer_config.json, as transformers writes it."""

    bos_token: str | _Special | None = None
    eos_token: str | _Special | None = None
    pad_token: str | _Special | None = None


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A folder with a tokenizer, and what a model has to know of it."""

    folder: Path
    size: int | None
    """One more than the highest token's number; None if its files do not say."""
    specials: Mapping[str, int | None]
    """The numbers of the tokens with a task, by their names in config.json."""

    def copy(self, folder: Path) -> list[str]:
        """Copy its files; return their names."""
        names = [name for name in FILES if (self.folder / name).is_file()]
        for name in names:
            shutil.copyfile(self.folder / name, folder / name)
        return names


def digest(folder: Path) -> str:
    """Fingerprint a tokenizer's files: another one may stand in its place by now."""
    found = hashlib.sha256()
    for name in FILES:
        if (folder / name).is_file():
            found.update(f"{name}\n".encode() + hashlib.sha256(read_regular(folder / name)).digest())
    return found.hexdigest()


def read(folder: Path) -> Tokenizer:
    """Read a tokenizer's folder, without transformers.

    Raises:
        AutoexpError: there is none, or its files are damaged.
    """
    if not any(os.path.isfile(folder / name) for name in FILES):  # noqa: PTH113 - unlike Path's it never raises
        why = f"none of {', '.join(FILES)} is there"
        raise AutoexpError(f"{folder} holds no tokenizer", why=why, fix="give the folder that holds them")
    vocabulary = _vocabulary(folder)
    config = _load(folder / "tokenizer_config.json", _Config) or _Config()
    tokens = {"bos": config.bos_token, "eos": config.eos_token, "pad": config.pad_token}
    specials = {f"{kind}_token_id": vocabulary.get(_text(token)) for kind, token in tokens.items()}
    return Tokenizer(folder, max(vocabulary.values()) + 1 if vocabulary else None, specials)


def _vocabulary(folder: Path) -> dict[str, int]:
    """Return every token's number; none where the files do not say."""
    found = _load(folder / "tokenizer.json", _Words)
    words = found.model.vocab if found else None
    if isinstance(words, list):  # a unigram model lists its tokens in order
        words = {word: number for number, (word, _) in enumerate(words)}
    words = words or _load(folder / "vocab.json", dict[str, Number]) or _pieces(folder)
    added = {each.content: each.id for each in (found.added_tokens if found else None) or ()}
    vocabulary = {**words, **added, **(_load(folder / "added_tokens.json", dict[str, Number]) or {})}
    if found and not vocabulary:
        raise _damaged(folder / "tokenizer.json", "it has no tokens")
    return vocabulary


def _pieces(folder: Path) -> dict[str, int]:
    """Number the tokens of a SentencePiece model, where there is one."""
    for path in (folder / name for name in SENTENCEPIECE):
        if path.is_file():
            try:
                return {piece: number for number, piece in enumerate(pieces.read(read_regular(path)))}
            except ValueError as error:  # undecodable text too
                raise _damaged(path, f"it is no SentencePiece model: {error}") from error
    return {}


def _text(token: str | _Special | None) -> str:
    return token.content if isinstance(token, _Special) else token or ""


def _load(path: Path, kind: type[T]) -> T | None:
    """Read a file of a format, None where there is none."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _damaged(path, f"it has more than {LARGEST_BYTES >> 20} MiB")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> AutoexpError:
    return AutoexpError(f"{path} is damaged", why=why, fix="copy the tokenizer again")
