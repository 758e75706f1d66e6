"""Converts a Megatron-LM checkpoint to Hugging Face's format, then evaluates what came of it: two hooks in one job.

Try it by hand:

    python hooks/convert_eval.py --checkpoint RUN/checkpoints/iter_0000200 --output OUT --tasks arc_easy,piqa

In a recipe, one job a checkpoint, where a job of its own for the evaluation would be one too many:

    convert_eval: {each: {checkpoint: [pretrain, cooldown]}, hook: convert_eval, with: {tasks: [arc_easy, piqa]}}

OUT/hf is the model, OUT/eval what the evaluation found. The options are those of the hooks megatron_to_hf (arch,
tokenizer, vocab-size, dtype, names, shard-size) and evaluate (tasks, task-folder, few-shot, limit, text, ...).

Rule 1: a failed evaluation is a failed job; tried again, it finds the finished model, and only evaluates.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autoexp import hooks
from autoexp.conversion import asking
from autoexp.errors import AutoexpError

TAKES = (
    "arch tokenizer vocab-size dtype names shard-size ignore-arg upload private "
    "text windows seq-length batch-size tasks task-folder few-shot limit"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when the model and its results are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path, required=True, help="an iter_ folder of Megatron-LM")
    parser.add_argument("--output", type=Path, required=True, help="the folder for hf/ and eval/")
    asking.add_options(parser)
    arguments, of_evaluation = parser.parse_known_args(argv)
    model = arguments.output / "hf"
    try:
        made = asking.convert(arguments.checkpoint, model, asking.wishes_of(arguments))
        asking.upload(arguments, made)
        print(f"{made['target']}: iteration {made['iteration']}, {made['architecture']}")
        told = ["--model", str(model), "--checkpoint", str(arguments.checkpoint)]
        told += ["--output", str(arguments.output / "eval"), *of_evaluation]
        return int(hooks.run("evaluate", "main", told))
    except AutoexpError as error:
        print(f"convert_eval: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
