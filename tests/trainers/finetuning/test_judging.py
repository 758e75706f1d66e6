"""Answers of a model, counted."""

from typing import Any

import pytest
import torch

from autoexp.trainers.finetuning import judging, model
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.ranks import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
ASKED = model.questions(model.TINY, "validation", 4)


class Knowing:
    """A model that says the answers one after the other, and a word more to the last."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.said = [*(f" {asked.answers[0]}\nand so on" for asked in ASKED[:-1]), f" {ASKED[-1].answers[0]} or so"]

    def eval(self) -> None:
        """Be asked."""

    def generate(self, tokens: torch.Tensor, **_: Any) -> torch.Tensor:
        """Go on behind the prompt."""
        words = self.tokenizer.encode(self.said.pop(0), add_special_tokens=False)
        return torch.cat((tokens, torch.tensor([words])), dim=1)


class Trained:
    """What is asked of a Trainer."""

    def __init__(self) -> None:
        self.model, self.processing_class = model.tiny()


def test_what_the_model_says_is_compared_to_the_end_of_a_line() -> None:
    trainer = Trained()
    trainer.model = Knowing(trainer.processing_class)

    said = judging.judged(trainer, ASKED, Options(max_length=128), ALONE)

    assert said == pytest.approx({"eval_exact_match": 75.0, "eval_f1": 100 * (3 + 0.5) / 4})


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of transformers about its own defaults
def test_a_real_model_answers_in_at_most_so_many_tokens() -> None:
    trainer = Trained()

    said = judging.answer(trainer, ASKED[0], Options(max_length=128, answer_tokens=3), ALONE)

    assert len(trainer.processing_class.encode(said, add_special_tokens=False)) <= 3
