"""Questions in SQuAD's format: read, written as prompts, judged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoexp.errors import AutoexpError
from autoexp.trainers.finetuning import squad
from autoexp.trainers.finetuning.squad import IGNORED, Question

ASKED = Question(question="Who?", context="It was Ada.", answers=("Ada", "It was Ada"))


class Letters:
    """A token a letter."""

    eos_token_id = 0

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return list(map(ord, text))


def spelled(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def folder(path: Path, *asked: dict[str, Any]) -> str:
    data = [{"title": "One", "paragraphs": [{"context": "It was Ada.", "qas": list(asked)}]}]
    for name in squad.FILES.values():
        (path / name).write_text(json.dumps({"version": "1.1", "data": data}))
    return str(path)


def qa(question: str, *answers: str) -> dict[str, Any]:
    return {"id": question, "question": question, "answers": [{"text": text, "answer_start": 0} for text in answers]}


# Reading


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_first_questions_with_an_answer_are_read_from_a_folder(tmp_path: Path, split: str) -> None:
    source = folder(tmp_path, qa("Who?", "Ada", "It was Ada"), qa("When?"), qa("What?", "It"), qa("Where?", "was"))

    assert squad.read(source, split, 2) == [
        ASKED,
        Question(question="What?", context="It was Ada.", answers=("It",)),
    ]


def test_fewer_questions_than_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="cannot take 3 questions"):
        squad.read(folder(tmp_path, qa("Who?", "Ada"), qa("When?")), "train", 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": 1}', '{"data": [{"paragraphs": [{"qas": [{}]}]}]}'])
def test_a_file_of_another_format_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    source = folder(tmp_path)
    (tmp_path / "train-v1.1.json").write_text(text)

    with pytest.raises(AutoexpError, match=r"train-v1.1.json is not in SQuAD's format"):
        squad.read(source, "train", 1)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match=r"cannot read .*dev-v1.1.json"):
        squad.read(str(tmp_path), "validation", 1)


def test_rows_of_a_dataset_are_read_as_the_hub_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets  # noqa: PLC0415  # seconds

    row = {"question": "Who?", "context": "It was Ada.", "answers": {"text": ["Ada", "It was Ada"]}}
    monkeypatch.setattr(
        datasets, "load_dataset", lambda _name, split: datasets.Dataset.from_list([row]) if split else 0
    )

    assert squad.read("rajpurkar/squad", "train", 1) == [ASKED]


def test_a_dataset_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets  # noqa: PLC0415  # seconds

    def load(name: str, split: str) -> None:
        raise ConnectionError(f"no network for {name} {split}")

    monkeypatch.setattr(datasets, "load_dataset", load)

    with pytest.raises(AutoexpError, match="cannot load the dataset rajpurkar/squad"):
        squad.read("rajpurkar/squad", "train", 1)


# Prompts and samples


def test_the_prompt_is_the_workshops() -> None:
    assert spelled(squad.prompt(Letters(), ASKED, 100)) == "Question: Who? Context: It was Ada. Answer:"


def test_of_a_context_that_is_too_long_the_end_is_left_out() -> None:
    whole = len("Question: Who? Context: It was Ada. Answer:")

    assert spelled(squad.prompt(Letters(), ASKED, whole - 5)) == "Question: Who? Context: It was Answer:"


def test_a_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AutoexpError, match="does not fit"):
        squad.prompt(Letters(), ASKED, 20)


def test_only_the_answer_and_its_end_are_learnt() -> None:
    sample = squad.sample(Letters(), ASKED, 64)

    learnt = [token for token in sample["labels"] if token != IGNORED]
    at = sample["labels"].index(learnt[0])
    assert {len(values) for values in sample.values()} == {64}
    assert (spelled(learnt[:-1]), learnt[-1]) == (" Ada", Letters.eos_token_id)
    assert sample["input_ids"][at : at + len(learnt)] == learnt  # in its place: the model itself shifts by one
    assert spelled(sample["input_ids"][:at]).endswith("Answer:")
    assert sum(sample["attention_mask"]) == at + len(learnt)


@given(st.text(max_size=80), st.text(min_size=1, max_size=80), st.integers(64, 120))
def test_a_sample_is_as_long_as_asked_for_and_learns_at_least_the_end(context: str, answer: str, length: int) -> None:
    sample = squad.sample(Letters(), Question(question="Who?", context=context, answers=(answer,)), length)

    assert {len(values) for values in sample.values()} == {length}
    assert sum(label != IGNORED for label in sample["labels"]) >= 1
    assert sum(sample["attention_mask"]) <= length


def test_samples_are_laid_below_each_other() -> None:
    laid = squad.collate([squad.sample(Letters(), ASKED, 50)] * 3)

    assert {name: tuple(rows.shape) for name, rows in laid.items()} == dict.fromkeys(laid, (3, 50))
    assert laid["labels"].dtype == torch.int64


# Judging


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("Ada", ("Ada",), 1, 1),
        ("the ADA.", ("Ada",), 1, 1),
        ("a  band", ("band",), 1, 1),
        ("Ada Lovelace", ("Ada",), 0, 2 / 3),
        ("Ada Lovelace", ("Bea", "Ada Lovelace"), 1, 1),
        ("Bea", ("Ada",), 0, 0),
        ("", ("Ada",), 0, 0),
        ("b b c", ("b c c",), 0, 2 / 3),
    ],
)
def test_answers_are_compared_as_squads_own_script_does(
    said: str, right: tuple[str, ...], exact: int, f1: float
) -> None:
    assert squad.exact_match(said, right) == exact
    assert squad.f1(said, right) == pytest.approx(f1)


@given(st.text(), st.text())
def test_f1_is_a_share_and_1_for_what_matches_exactly(said: str, right: str) -> None:
    f1 = squad.f1(said, (right,))

    assert 0 <= f1 <= 1
    assert not (squad.exact_match(said, (right,)) and squad.normal(said)) or f1 == 1
