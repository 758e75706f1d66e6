"""What the command `autoexp convert` and the hook have in common: their options, and what they tell."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoexp.conversion import hub, job
from autoexp.conversion.job import Plan, Wishes
from autoexp.conversion.outputs import Output
from autoexp.conversion.weights import ITEM_BYTES
from autoexp.conversion.writing import SHARD_BYTES, Told
from autoexp.errors import AutoexpError
from autoexp.quantities import size_bytes

_MOST_DIGITS = 18


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what a conversion may do otherwise than usual."""
    parser.add_argument("--arch", metavar="NAME", help="the architecture, where several would do")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="copy it, and cut the vocabulary to its length")
    parser.add_argument("--vocab-size", type=_count, metavar="N", help="cut the vocabulary to so many tokens")
    parser.add_argument("--dtype", choices=tuple(ITEM_BYTES), help="the numbers' type, if not the checkpoint's")
    parser.add_argument(
        "--shard-size", type=_size, metavar="SIZE", default=SHARD_BYTES, help="of a file of weights: 5GB, 500MB"
    )
    parser.add_argument("--names", metavar="SCHEME", help="how the tensors are named, where there are several ways")
    parser.add_argument(
        "--ignore-arg", nargs="+", metavar="NAME", help="arguments of the training that are known to change nothing"
    )
    parser.add_argument(
        "--upload", metavar="OWNER/NAME", help="then upload it to the hub, to a branch of its iteration"
    )
    parser.add_argument("--private", action="store_true", help="make that repository private")


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of tokens: write one from 1 on")
    return int(text)


def _size(text: str) -> int:
    try:
        return size_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def wishes_of(arguments: argparse.Namespace) -> Wishes:
    """Read those options.

    Raises:
        AutoexpError: one would have no effect.
    """
    if arguments.private and not arguments.upload:
        raise AutoexpError(
            "--private would have no effect", why="nothing is uploaded", fix="give --upload OWNER/NAME, or leave it out"
        )
    return Wishes(
        arch=arguments.arch,
        tokenizer=arguments.tokenizer,
        vocab_size=arguments.vocab_size,
        dtype=arguments.dtype,
        names=arguments.names,
        ignore_args=tuple(arguments.ignore_arg or ()),
        shard_bytes=arguments.shard_size,
    )


def convert(checkpoint: Path, output: Path, wishes: Wishes) -> dict[str, Any]:
    """Convert, with a progress bar if somebody looks; return the manifest.

    Raises:
        AutoexpError: as `job.convert` does.
    """
    return job.convert(checkpoint, output, wishes, _bar)


def needed(made: Mapping[str, Any]) -> str:
    """Say on a line what the model needs beside it; nothing if it needs nothing."""
    return f"needs beside it: {made['needs']}\n" if made.get("needs") else ""


def upload(arguments: argparse.Namespace, made: Mapping[str, Any]) -> str | None:
    """Upload what was converted, if that is asked for; return where it is.

    Raises:
        AutoexpError: as `hub.upload` does.
    """
    return (
        hub.upload(Path(made["target"]), made, arguments.upload, private=arguments.private)
        if arguments.upload
        else None
    )


@contextmanager
def _bar(total_bytes: int) -> Iterator[Told]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, and only needed on a terminal
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("converting", total=total_bytes)
        yield lambda count: bar.update(task, advance=count)


def outline(planned: Plan) -> dict[str, Any]:
    """Return what a conversion would do, for a program to read."""
    return {
        "source": str(planned.checkpoint),
        "format": planned.source.format,
        "iteration": planned.source.iteration,
        "architecture": planned.config["architectures"][0],
        "needs": planned.needs,
        "parameters": planned.parameters,
        "bytes": planned.total_bytes,
        "files": {
            shard.name: {
                each.name: {"shape": list(each.shape), "dtype": _dtype(planned, each)} for each in shard.outputs
            }
            for shard in planned.shards
        },
    }


def _dtype(planned: Plan, output: Output) -> str:
    return planned.dtype or output.dtype


def table(planned: Plan) -> Iterator[str]:
    """Yield what a conversion would do, for a person to read."""
    yield f"{planned.checkpoint}: {planned.source.format}, iteration {planned.source.iteration}"
    yield f"{planned.config['architectures'][0]} ({planned.choice.name}: {planned.choice.why})"
    if planned.needs:
        yield f"needs beside it: {planned.needs}"
    yield f"{planned.parameters:,} parameters, {planned.total_bytes:,} bytes in {len(planned.shards)} files"
    for shard in planned.shards:
        yield shard.name
        for output in shard.outputs:
            yield f"  {output.name} {list(output.shape)} {_dtype(planned, output)}"
