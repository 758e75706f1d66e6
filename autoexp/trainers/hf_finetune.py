r"""Fine-tune a causal model on questions with transformers' Trainer: BLOOM-560M on SQuAD, as in the KAUST workshop.

    python -m autoexp.trainers.hf_finetune --model bigscience/bloom-560m --data rajpurkar/squad \
        --output_dir RUN/checkpoints --num_train_epochs 5

    torchrun --standalone --nproc-per-node 4 -m autoexp.trainers.hf_finetune ... --sharding_strategy full_shard

Its flags are those of `finetuning.options`, and every one of TrainingArguments; `--help` lists them. The same command
starts a run and continues it. With `--model tiny --data tiny` it takes a CPU, no network and half a minute.

On SIGTERM or SIGUSR2 the step under way is finished, a checkpoint saved, and the program ends.

Exit status: 0 trained and judged, or a signal was obeyed (the log tells which) · 1 the user's to mend, told on stderr ·
2 wrong usage.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from autoexp.errors import AutoexpError
from autoexp.trainers import boards, ranks
from autoexp.trainers.finetuning import judging, model, options, sharing, squad
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.finetuning.recorder import Recorder
from autoexp.trainers.jsonl import Lines
from autoexp.trainers.signals import Signals


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status."""
    signals = Signals()
    try:
        run(*options.parse(argv), signals)
    except AutoexpError as error:
        if ranks.leads():
            print(f"hf_finetune: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(asked: Options, args: TrainingArguments, signals: Signals) -> None:
    """Train, or go on; save the model and judge it, unless a signal came.

    Raises:
        AutoexpError: the user's to mend.
    """
    os.environ.setdefault(*boards.OFFLINE)  # for --report_to wandb
    sharing.check(asked, args)
    world = ranks.World(
        rank=args.process_index, size=args.world_size, device=args.device, grouped=torch.distributed.is_initialized()
    )
    learner, tokenizer = model.load(asked.model)
    if asked.sharding_strategy:
        sharing.shard(asked, args, learner)
    lessons = model.questions(asked.data, "train", asked.train_size)
    tests = model.questions(asked.data, "validation", asked.eval_size)
    with closing(Lines(Path(asked.metrics) if asked.metrics and not world.rank else None)) as written:
        trainer = sharing.Trainer(
            model=learner,
            args=args,
            train_dataset=[squad.sample(tokenizer, question, asked.max_length) for question in lessons],
            eval_dataset=[squad.sample(tokenizer, question, asked.max_length) for question in tests],
            processing_class=tokenizer,
            data_collator=squad.collate,
            callbacks=[Recorder(world, asked, written, lambda: signals.received)],
        )
        trainer.train(resume_from_checkpoint=_newest(args))
        if trainer.state.global_step >= trainer.state.max_steps:
            trainer.save_model()
            trainer.log(judging.judged(trainer, tests, asked, world))


def _newest(args: TrainingArguments) -> str | None:
    """Return the newest checkpoint there is, to go on from."""
    folder = args.output_dir
    return get_last_checkpoint(folder) if folder and os.path.isdir(folder) else None  # noqa: PTH112 - theirs are strings


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as in gpt.py
