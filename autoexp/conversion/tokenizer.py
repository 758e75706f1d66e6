"""A tokenizer's files, as they are to lie beside a converted model."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp.errors import AutoexpError

FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""What transformers keeps a tokenizer in."""


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


def read(folder: Path) -> Tokenizer:
    """Read a tokenizer's folder, without transformers.

    Raises:
        AutoexpError: there is none, or its files are damaged.
    """
    if not any((folder / name).is_file() for name in FILES):
        raise AutoexpError(
            f"{folder} holds no tokenizer", why=f"none of {', '.join(FILES)} is there", fix="--tokenizer DIR"
        )
    vocabulary = _vocabulary(folder)
    config = _load(folder / "tokenizer_config.json")
    kinds = ("bos", "eos", "pad")
    specials = {f"{kind}_token_id": vocabulary.get(_text(config.get(f"{kind}_token"))) for kind in kinds}
    return Tokenizer(folder, max(vocabulary.values()) + 1 if vocabulary else None, specials)


def _vocabulary(folder: Path) -> dict[str, int]:
    """Return every token's number, where the files are JSON."""
    data = _load(folder / "tokenizer.json")
    model = data.get("model") or {}
    words = model.get("vocab") or _load(folder / "vocab.json")
    if isinstance(words, list):  # a unigram model lists its tokens in order
        words = {entry[0]: number for number, entry in enumerate(words)}
    added = {entry["content"]: entry["id"] for entry in data.get("added_tokens", [])}
    return {**words, **added, **_load(folder / "added_tokens.json")}


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise AutoexpError(f"{path} is damaged", why=str(error), fix="copy the tokenizer again") from error
    return data if isinstance(data, dict) else {}
