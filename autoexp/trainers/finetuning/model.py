"""The model and the tokenizer to be trained: of the hub, of a folder, or a tiny BLOOM made here.

The tiny one has random weights and a token a byte; with its questions (`tiny`) a run needs no network and seconds.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from autoexp.errors import AutoexpError
from autoexp.trainers.finetuning.squad import Question, read

TINY = "tiny"
"""The name of the model, and of the questions, that are made here."""
_NAMES = ("Ada", "Bea", "Carl", "Dora", "Emil", "Fritz", "Gerda", "Hans")
_END = "</s>"
_THINGS = ("apples", "books", "coins", "drums", "eggs", "forks")


def load(name: str) -> tuple[Any, Any]:
    """Return the model, with weights in float32, and its tokenizer.

    Raises:
        AutoexpError: they cannot be loaded.
    """
    if name == TINY:
        return tiny()
    import torch  # noqa: PLC0415  # seconds
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415  # seconds

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), tokenizer
    except (OSError, ValueError) as error:
        fix = f"give a model's folder, a name that the hub has and can be reached, or {TINY}"
        raise AutoexpError(f"cannot load the model {name}", why=str(error).splitlines()[0], fix=fix) from error


def tiny() -> tuple[Any, Any]:
    """Make a BLOOM of four layers whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415  # seconds
    from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast, set_seed  # noqa: PLC0415

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate([_END, *letters])}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=_END, pad_token=_END)
    shape = {"hidden_size": 64, "n_layer": 4, "n_head": 4, "vocab_size": len(letters) + 1}
    set_seed(0)  # all ranks begin alike
    return BloomForCausalLM(BloomConfig(**shape, bos_token_id=0, eos_token_id=0, pad_token_id=0)), tokenizer


def questions(source: str, split: str, count: int) -> list[Question]:
    """Return the first questions of a split: made here, of a folder, or of the hub.

    Raises:
        AutoexpError: they cannot be read, or are too few.
    """
    return list(_made(split, count)) if source == TINY else read(source, split, count)


def _made(split: str, count: int) -> Iterator[Question]:
    """Ask who has how many: the answer stands in the context."""
    chance = Random(split)  # noqa: S311 - the same questions every time
    for _ in range(count):
        name, thing, number = chance.choice(_NAMES), chance.choice(_THINGS), str(chance.randrange(2, 10))
        context = f"{name} has {number} {thing}."
        yield Question(question=f"How many {thing} has {name}?", context=context, answers=(number,))
