"""Convert a Megatron-LM checkpoint to Hugging Face's format, without Megatron, torch or a GPU.

autoexp convert RUN/checkpoints/iter_0000200 RUN/hf               the folder appears whole, or not at all
autoexp convert RUN/checkpoints/iter_0000200 RUN/hf --dry-run     every tensor that would be written
"""

import argparse
import json
from pathlib import Path

from autoexp import hooks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp convert`."""
    from autoexp.conversion import asking  # noqa: PLC0415 - numpy is slow to load

    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="an iter_ folder")
    parser.add_argument("output", metavar="OUT", type=Path, help="the folder to make")
    asking.add_options(parser)
    parser.add_argument("--verify", action="store_true", help="check every byte, and compare the models' logits")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Convert, or say what that would do."""
    from autoexp.conversion import asking, job  # noqa: PLC0415 - numpy is slow to load

    wishes = asking.wishes_of(arguments)
    if arguments.dry_run:
        planned = job.plan(arguments.checkpoint, wishes)
        print(json.dumps(asking.outline(planned)) if arguments.json else "\n".join(asking.table(planned)))
        return 0
    made = asking.convert(arguments.checkpoint, arguments.output, wishes)
    more = {}
    if arguments.verify:
        more["verification"] = hooks.run("verify_hf", "verify", arguments.checkpoint, arguments.output)
    if uploaded := asking.upload(arguments, made):
        more["uploaded"] = uploaded
    names = ("source", "target", "format", "architecture", "parameters", "seconds", "peak_rss_bytes")
    if arguments.json:
        print(json.dumps({**{name: made[name] for name in names}, "verified": arguments.verify, **more}))
    else:
        print(f"{made['target']}: {made['architecture']}, {made['parameters']:,} parameters, {made['seconds']:.2f} s")
        print(asking.needed(made), end="")
        print("".join(f"{name}: {said}\n" for name, said in more.items()), end="")
    return 0
