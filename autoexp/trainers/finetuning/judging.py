"""How well a fine-tuned model answers: exact match and F1, by its own words."""

from collections.abc import Sequence
from typing import Any

import torch

from autoexp.trainers.finetuning import squad
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.finetuning.squad import Question
from autoexp.trainers.ranks import World, total


def judged(trainer: Any, asked: Sequence[Question], options: Options, world: World) -> dict[str, float]:
    """Let the model answer; return per cent of exact matches, and mean F1 in per cent.

    The ranks share the questions. All of them answer equally many, for ranks that share a model take part in each
    other's words: what is asked beyond the last question counts for nothing.
    """
    trainer.model.eval()
    right = f1 = 0.0
    for number in range(world.rank, len(asked) + world.rank, world.size):
        question = asked[min(number, len(asked) - 1)]
        said = answer(trainer, question, options, world)
        if number < len(asked):
            right += squad.exact_match(said, question.answers)
            f1 += squad.f1(said, question.answers)
    right, f1 = total(world, (right, f1))
    return {"eval_exact_match": 100 * right / len(asked), "eval_f1": 100 * f1 / len(asked)}


@torch.no_grad()
def answer(trainer: Any, question: Question, options: Options, world: World) -> str:
    """Let the model answer a question, by the likeliest token each time, to the end of a line."""
    tokenizer, most = trainer.processing_class, options.answer_tokens
    tokens = torch.tensor([squad.prompt(tokenizer, question, options.max_length)], device=world.device)
    said = trainer.model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=most,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
        synced_gpus=world.size > 1,
    )
    words: str = tokenizer.decode(said[0, tokens.shape[1] :], skip_special_tokens=True)
    return words.partition("\n")[0].strip()
