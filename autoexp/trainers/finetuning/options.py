"""The command line of `hf_finetune`: its own flags, and every one of transformers' TrainingArguments."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from autoexp.trainers.sharding import BY_FSDP

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 5,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 4,
    "learning_rate": 5e-5,
    "weight_decay": 0.01,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "logging_steps": 10,
    "report_to": "none",
    "remove_unused_columns": False,
}
"""The workshop's, where they are not transformers' own."""


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class Options:
    """What the program takes besides TrainingArguments' flags."""

    model: str = _flag("bigscience/bloom-560m", "a name of the hub's, a folder, or tiny")
    data: str = _flag("rajpurkar/squad", "a dataset of the hub's, a folder, or tiny")
    max_length: int = _flag(512, "tokens a sample, prompt and answer together")
    train_size: int = _flag(500, "questions to learn from")
    eval_size: int = _flag(100, "questions to be judged by")
    answer_tokens: int = _flag(32, "the most tokens an answer is given")
    sharding_strategy: str | None = _flag(None, f"one of {', '.join(BY_FSDP)}; DDP without it")
    shard_group_size: int | None = _flag(None, "ranks that share a model under hybrid_shard (those of a node)")
    cpu_offload: bool = _flag(default=False, text="keep the weights in the computer's memory while they rest")
    metrics: str | None = _flag(None, "file to append what each step came to, a JSON object a line")
    peak_tflops: float | None = _flag(None, "what a GPU can do at best, in 10^12 operations a second")


def parse(argv: Sequence[str] | None) -> tuple[Options, TrainingArguments]:
    """Read the command line.

    Raises:
        SystemExit: a flag is unknown, missing or malformed (status 2).
    """
    parser = HfArgumentParser((Options, TrainingArguments), prog="hf_finetune")
    parser.set_defaults(**DEFAULTS)
    words = None if argv is None else list(argv)
    options, args, unknown = parser.parse_args_into_dataclasses(words, return_remaining_strings=True)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options, args
