"""What jobs do on a node, in virtual time: each program writes its files, and yields how long it takes to the next.

A program returns its exit code; one that is ended meanwhile never comes to it.
"""

import io
import pickle
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from autoexp import checkpoints
from autoexp.model import JobSpec
from autoexp.orders import Order
from autoexp.simulation.disk import Disk

Program = Iterator[float]
"""Waits between what a program does; it raises StopIteration when it is done."""

ITERATION_S = 1500.0
COMMAND_S = 3600.0
LOG_EVERY = 20
"""Iterations between two reports."""


def program_of(spec: JobSpec, order: Order, disk: Disk, chance: Random) -> Program:
    """Return what a job does, as far as its recipe tells."""
    if spec.backend == "megatron":
        return _train(spec, order, disk, chance)
    return _run(order, disk, chance)


def _run(order: Order, disk: Disk, chance: Random) -> Program:
    yield chance.uniform(0.2, 2.0) * COMMAND_S
    say("done", order, disk, chance)


def _train(spec: JobSpec, order: Order, disk: Disk, chance: Random) -> Program:
    """Continue from where the tracker says, report and save, as Megatron-LM does."""
    last = int(str(spec.args["train-iters"]))
    every = int(str(spec.args.get("save-interval", last)))
    folder = order.job_dir / "checkpoints"
    tracker = checkpoints.read_tracker(folder)
    first = tracker if isinstance(tracker, int) else 0
    yield chance.uniform(30, 300)
    if first:
        say(f" loading checkpoint from {folder} at iteration {first}", order, disk, chance)
    for iteration in range(first + LOG_EVERY, last + 1, LOG_EVERY):
        yield LOG_EVERY * ITERATION_S * chance.uniform(0.9, 1.1)
        say(_report(iteration, last), order, disk, chance)
        if iteration == last:
            say("[after training is done] datetime: now", order, disk, chance)
        if iteration % every == 0 or iteration == last:
            yield from _save(folder, iteration, order, disk, chance)


def _save(folder: Path, iteration: int, order: Order, disk: Disk, chance: Random) -> Program:
    shard = folder / checkpoints.folder_name(iteration) / "mp_rank_00" / checkpoints.MODEL_FILE
    disk.put(order.job_dir, shard, _shard()[:-100], chance)
    yield chance.uniform(1, 100)
    disk.put(order.job_dir, shard, _shard(), chance)
    yield chance.uniform(0, 5)
    disk.put(order.job_dir, folder / checkpoints.TRACKER, f"{iteration}\n".encode(), chance)
    say(f"  successfully saved checkpoint from iteration {iteration:7d} to {folder}", order, disk, chance)


def say(line: str, order: Order, disk: Disk, chance: Random) -> None:
    """Write a line to an attempt's log."""
    disk.append(order.job_dir, order.attempt_dir / "output.log", f"{line}\n", chance)


def _report(iteration: int, last: int) -> str:
    loss = 10 / iteration**0.3
    milliseconds = ITERATION_S * 1000
    return (
        f" iteration {iteration:8d}/{last:8d} | elapsed time per iteration (ms): {milliseconds:.1f}"
        f" | global batch size:    64 | lm loss: {loss:.6E} | number of nan iterations:   0 |"
    )


@cache
def _shard() -> bytes:
    """Make the one file of a checkpoint of one rank, as torch.save lays it out, without a tensor."""
    written = io.BytesIO()
    state = {"args": Namespace(a=1), "model": {}, "optimizer": {}}
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("data.pkl", pickle.dumps(state, protocol=2)), ("byteorder", b"little"), ("version", b"3")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return written.getvalue()
