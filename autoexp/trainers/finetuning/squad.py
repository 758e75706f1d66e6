"""Questions with their contexts and answers, as SQuAD v1.1 has them: read, put into words for a causal model, judged.

    {"data": [{"paragraphs": [{"context": "...", "qas": [{"id": "1", "question": "...",
                                                         "answers": [{"text": "...", "answer_start": 0}]}]}]}]}

The prompt is `Question: ... Context: ... Answer:`. Only the answer's tokens, and the end that follows them, are learnt:
every other label is -100.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from autoexp.errors import AutoexpError

IGNORED = -100
"""The label of a token that is not learnt: torch's cross entropy leaves it out."""
FILES = {"train": "train-v1.1.json", "validation": "dev-v1.1.json"}
"""As SQuAD's authors name them."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Tokenizer(Protocol):
    """What is asked of a tokenizer of transformers'."""

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the text's tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with all the answers that count as right; the first one is learnt."""

    question: str
    context: str
    answers: tuple[str, ...]


def read(source: str, split: str, count: int) -> list[Question]:
    """Read the first questions of a split, "train" or "validation", from a folder with SQuAD's files, or a dataset.

    Raises:
        AutoexpError: it cannot be read, is of another format, or holds fewer than `count`.
    """
    folder = Path(source)
    found = list(_first(_of_file(folder / FILES[split]) if folder.is_dir() else _of_hub(source, split), count))
    if len(found) < count:
        why = f"its split {split} has {len(found)} questions with an answer"
        raise AutoexpError(f"cannot take {count} questions from {source}", why=why, fix="ask for fewer of them")
    return found


def _first(questions: Iterator[Question], count: int) -> Iterator[Question]:
    """Leave out what has no answer: SQuAD v2 has such questions."""
    for found in questions:
        if count == 0:
            return
        if found.answers:
            count -= 1
            yield found


def _of_file(path: Path) -> Iterator[Question]:
    fix = f"give a folder that holds {' and '.join(FILES.values())}, or a dataset's name"
    try:
        data = json.loads(path.read_bytes())["data"]
        for paragraph in (paragraph for article in data for paragraph in article["paragraphs"]):
            for asked in paragraph["qas"]:
                answers = tuple(answer["text"] for answer in asked["answers"])
                yield Question(question=asked["question"], context=paragraph["context"], answers=answers)
    except OSError as error:
        raise AutoexpError(f"cannot read {path}", why=error.strerror or str(error), fix=fix) from error
    except (ValueError, LookupError, TypeError) as error:
        raise AutoexpError(
            f"{path} is not in SQuAD's format", why=f"{type(error).__name__}: {error}", fix=fix
        ) from error


def _of_hub(name: str, split: str) -> Iterator[Question]:
    from datasets import load_dataset  # noqa: PLC0415  # seconds, and folders do without

    try:
        rows = load_dataset(name, split=split)
    except Exception as error:  # whatever the library raises: no network, no such name, another split
        fix = f"give a folder that holds {' and '.join(FILES.values())}, or a dataset that can be reached"
        raise AutoexpError(f"cannot load the dataset {name}", why=str(error).splitlines()[0], fix=fix) from error
    for row in rows:
        yield Question(question=row["question"], context=row["context"], answers=tuple(row["answers"]["text"]))


def prompt(tokenizer: Tokenizer, asked: Question, room: int) -> list[int]:
    """Write the prompt in at most `room` tokens; of a context that is too long the end is left out.

    Raises:
        AutoexpError: not even the question fits.
    """
    before, context, after = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (f"Question: {asked.question} Context:", f" {asked.context}", " Answer:")
    )
    left = room - len(before) - len(after)
    if left < 0:
        why = f"the question alone has {len(before) + len(after)} tokens, and there is room for {room}"
        raise AutoexpError("a question does not fit", why=why, fix="raise --max_length")
    return [*before, *context[:left], *after]


def sample(tokenizer: Tokenizer, asked: Question, length: int) -> dict[str, list[int]]:
    """Make a sample of `length` tokens: the prompt, the answer, the end, and padding that nobody looks at.

    Returns input_ids, attention_mask and labels, each [length].
    """
    end = [tokenizer.eos_token_id or 0]
    answer = [*tokenizer.encode(f" {asked.answers[0]}", add_special_tokens=False)[: length // 2], *end]
    before = prompt(tokenizer, asked, length - len(answer))
    used = len(before) + len(answer)
    padding = length - used
    return {
        "input_ids": [*before, *answer, *end * padding],
        "attention_mask": [1] * used + [0] * padding,
        "labels": [IGNORED] * len(before) + answer + [IGNORED] * padding,
    }


def normal(text: str) -> str:
    """Leave out what must not count: case, punctuation, articles, white space.

    Source: SQuAD's own evaluate-v1.1.py.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(said: str, answers: Sequence[str]) -> float:
    """Say whether this is one of the answers: 1 or 0."""
    return float(any(normal(said) == normal(answer) for answer in answers))


def f1(said: str, answers: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of its words, by the answer that fits best; 0 to 1."""
    return max(_overlap(normal(said).split(), normal(answer).split()) for answer in answers)


def _overlap(said: list[str], right: list[str]) -> float:
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right)) if common else 0.0


def collate(samples: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Lay samples of one length below each other; each tensor is [samples, length]."""
    return {name: torch.tensor([sample[name] for sample in samples]) for name in samples[0]}
