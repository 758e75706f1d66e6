"""The lines of a training log, word for word Megatron-LM's, so that whatever reads its logs reads these.

Every function returns one line without its end. Throughput keeps at least three decimals below ten TFLOP/s, and three
digits, because a CPU's would otherwise read 0.0.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FROM_RANDOM = "    will not load any checkpoints and will start from random"
"""What follows `missing` when training begins all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one log line says about the iterations since the one before it."""

    iteration: int
    train_iters: int
    consumed: int
    """Samples since the very first iteration, earlier runs included."""
    iteration_s: float
    tflops: float
    """10^12 floating point operations per second and process."""
    lr: float
    global_batch_size: int
    loss: float
    """Mean over the iterations; not a number when one of theirs was not."""
    grad_norm: float
    """Of the last iteration, before clipping."""
    skipped: int
    """Iterations whose loss or gradient was not finite; their updates were left out."""


def progress(at: datetime, now: Progress) -> str:
    """Report the iterations of one log interval; what is not finite is left out, as Megatron does."""
    decimals = 1 if now.tflops >= 10 else max(3, 2 - math.floor(math.log10(now.tflops)))  # noqa: PLR2004  # see above
    fields = [
        f" [{stamp(at)}] iteration {now.iteration:8d}/{now.train_iters:8d}",
        f"consumed samples: {now.consumed:12d}",
        f"elapsed time per iteration (ms): {now.iteration_s * 1e3:.1f}",
        f"throughput per GPU (TFLOP/s/GPU): {now.tflops:.{decimals}f}",
        f"learning rate: {now.lr:.6E}",
        f"global batch size: {now.global_batch_size:5d}",
        f"lm loss: {now.loss:.6E}" if math.isfinite(now.loss) else "",
        "loss scale: 1.0",
        f"grad norm: {now.grad_norm:.3f}" if math.isfinite(now.grad_norm) else "",
        f"number of skipped iterations: {now.skipped:3d}",
        f"number of nan iterations: {now.skipped:3d}",
    ]
    return " | ".join(field for field in fields if field) + " |"


def datetime_of(event: str, at: datetime) -> str:
    """Date an event in brackets: the start of training, its end, or an early exit."""
    return f"[{event}] datetime: {stamp(at)} "


def parameters(count: int) -> str:
    """Report the size of the model."""
    return f" > number of parameters on (tensor, pipeline) model parallel rank (0, 0): {count}"


def validation(iteration: int, loss: float, *, last: bool) -> str:
    """Report the held-out loss, in nats a token; Megatron words the evaluation after training differently."""
    where = " on validation set" if last else ""
    perplexity = math.exp(min(20, loss))  # capped as Megatron's is
    losses = f"lm loss value: {loss:.6E} | lm loss PPL: {perplexity:.6E}"
    return f" validation loss at iteration {iteration}{where} | {losses} | "


def saving(iteration: int, folder: Path, at: datetime) -> str:
    """Announce a checkpoint."""
    return f"[{stamp(at)}] saving checkpoint at iteration {iteration:7d} to {folder} in torch format"


def saved(iteration: int, folder: Path, at: datetime) -> str:
    """Report a checkpoint that is whole on disk, tracker included."""
    what = f"successfully saved checkpoint from iteration {iteration:7d}"
    return f"  [{stamp(at)}] {what} to {folder} [ t 1/1, p 1/1 ]"


def loading(iteration: int, folder: Path) -> str:
    """Announce what the run continues from."""
    return f" loading checkpoint from {folder} at iteration {iteration}"


def loaded(iteration: int, folder: Path) -> str:
    """Report that model, optimizer and position were taken over."""
    return f"  successfully loaded checkpoint from {folder} [ t 1/1, p 1/1 ] at iteration {iteration}"


def missing(tracker: Path) -> str:
    """Report that there is nothing to continue from."""
    return f"WARNING: could not find the metadata file {tracker}"


def stamp(at: datetime) -> str:
    """Write a local time to the microsecond."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")
