"""Which rows of the embedding are tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autoexp.conversion.job import Wishes, convert, plan
from autoexp.errors import AutoexpError
from tests.conversion.megatron import Model, save_torch


@pytest.mark.parametrize("told", [32, 128])
def test_a_vocabulary_of_another_size_than_the_training_had_is_refused(tmp_path: Path, told: int) -> None:
    source = save_torch(Model(), tmp_path / "iter_0000006")
    path = source / "mp_rank_00" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["args"].padded_vocab_size = told
    torch.save(state, path)

    with pytest.raises(AutoexpError, match=f"padded_vocab_size is {told}"):
        plan(source, Wishes(vocab_size=20))


@pytest.mark.parametrize("tokens", [0, 65])
def test_no_tokens_and_more_tokens_than_rows_are_refused(tmp_path: Path, tokens: int) -> None:
    with pytest.raises(AutoexpError, match=f"{tokens} tokens do not fit"):
        plan(save_torch(Model(), tmp_path / "iter_0000006"), Wishes(vocab_size=tokens))


@pytest.mark.parametrize(
    ("told", "ranks", "most"),
    [
        ({}, 1, 15),
        ({}, 2, 31),
        ({"make_vocab_size_divisible_by": 1}, 2, 1),
        ({"make_vocab_size_divisible_by": 64, "padded_vocab_size": 128}, 1, 63),
        ({"make_vocab_size_divisible_by": None, "padded_vocab_size": 256}, 1, 127),
        ({"make_vocab_size_divisible_by": None}, 1, 0),  # 64 rows are no multiple of Megatron-LM's 128
        ({"make_vocab_size_divisible_by": 48}, 1, 0),
        ({"make_vocab_size_divisible_by": 0}, 1, 0),
        ({"make_vocab_size_divisible_by": "16"}, 1, 0),
    ],
)
def test_only_rows_that_can_be_padding_are_cut(tmp_path: Path, told: dict[str, Any], ranks: int, most: int) -> None:
    source = save_torch(Model(told=told), tmp_path / "iter_0000006", tensor=ranks)
    rows = told.get("padded_vocab_size", 64)

    assert plan(source, Wishes(vocab_size=rows - most)).config["vocab_size"] == rows - most
    with pytest.raises(AutoexpError, match=f"would leave out {most + 1} of the {rows} rows") as refusal:
        plan(source, Wishes(vocab_size=rows - most - 1))
    assert refusal.value.fix.endswith(f"--vocab-size {rows}")


def test_another_tokenizer_than_the_trainings_is_copied_where_every_row_is_kept(tmp_path: Path) -> None:
    words = tmp_path / "tokenizer"
    words.mkdir()
    (words / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}))
    source = save_torch(Model(), tmp_path / "iter_0000006")

    with pytest.raises(AutoexpError, match="2 tokens would leave out 62 of the 64 rows"):
        convert(source, tmp_path / "hf", Wishes(tokenizer=words))
    made = convert(source, tmp_path / "hf", Wishes(tokenizer=words, vocab_size=64))

    assert made["vocabulary"] == {"rows": 64, "kept": 64}
    assert (tmp_path / "hf" / "tokenizer.json").is_file()
