"""Converts a Megatron-LM checkpoint to Hugging Face's format.

Try it by hand; `autoexp convert` does the same:

    python hooks/megatron_to_hf.py --checkpoint RUN/checkpoints/iter_0000200 --output RUN/hf/0000200

In a recipe, one job a checkpoint:

    convert: {each: {checkpoint: [pretrain], from: 1, every: 1}, hook: megatron_to_hf}

It writes the weights, config.json, generation_config.json, and conversion.json, which says what was made of what.
It needs numpy, and neither torch nor Megatron nor a GPU: the weights' bytes are copied in the source's number type.

Rule 1: every tensor is planned, name, shape and source, before one is read. A weight that is missing, left
over or of another shape stops the conversion with its name; so does an option of the training that is not known.
Rule 2: everything in config.json comes from the checkpoint, nothing from a default.
Rule 3: the output folder appears whole, by a rename, or not at all. A finished one is left as it is.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autoexp.conversion import asking
from autoexp.errors import AutoexpError

OUTPUT = "hf"
TAKES = "arch tokenizer vocab-size dtype names shard-size ignore-arg upload private"


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a job; 0 when the output folder is there and whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="an iter_ folder of Megatron-LM")
    parser.add_argument("--output", type=Path, required=True, help="the folder to make")
    asking.add_options(parser)
    arguments = parser.parse_args(argv)
    try:
        made = asking.convert(arguments.checkpoint, arguments.output, asking.wishes_of(arguments))
        uploaded = asking.upload(arguments, made)
    except AutoexpError as error:
        print(f"megatron_to_hf: {error}", file=sys.stderr)
        return 1
    print(f"{made['target']}: iteration {made['iteration']}, {made['architecture']}, {made['parameters']} parameters")
    print(asking.needed(made), end="")
    if uploaded:
        print(f"uploaded: {uploaded}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
