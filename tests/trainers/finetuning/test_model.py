"""The tiny BLOOM and its questions; models that cannot be loaded."""

from pathlib import Path

import pytest
import torch

from autoexp.errors import AutoexpError
from autoexp.trainers.finetuning import model, squad


def test_the_tiny_model_is_the_same_every_time_and_its_tokens_are_bytes() -> None:
    one, tokenizer = model.load(model.TINY)
    other, _ = model.load(model.TINY)

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    text = "Question: wie viele Äpfel?"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer.encode(text, add_special_tokens=False)) == len(text.encode())
    assert type(one).__name__ == "BloomForCausalLM"


def test_the_questions_made_here_can_be_answered_from_their_context() -> None:
    asked = model.questions(model.TINY, "train", 50)

    assert asked == model.questions(model.TINY, "train", 50)
    assert asked[:20] != model.questions(model.TINY, "validation", 20)
    assert all(one.answers[0] in one.context for one in asked)


def test_questions_of_a_folder_are_read(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match=squad.FILES["train"]):
        model.questions(str(tmp_path), "train", 1)


def test_a_model_of_a_folder_is_loaded_in_float32(tmp_path: Path) -> None:
    learner, tokenizer = model.load(model.TINY)
    learner.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    loaded, _ = model.load(str(tmp_path))

    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="cannot load the model"):
        model.load(str(tmp_path))
