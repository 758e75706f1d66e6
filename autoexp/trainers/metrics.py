"""What each iteration came to, for programs: metrics.jsonl, and the curves of boards.

The first line of a start says what runs, each other one what an iteration came to:

    {"kind": "start", "iteration": 0, "world": 4, "strategy": "full_shard", "units": 5, "replicas": 1,
     "parameters": 3412224, "parameter_bytes": [3412224, ...], "device": "cpu", "torch": "2.13.0"}
    {"kind": "step", "step": 1, "tokens": 4096, "loss": 5.52, "grad_norm": 2.1, "lr": 0.001, "taken": true,
     "step_s": 0.21, "tokens_per_s": 19504.8, "tflops_per_gpu": 0.12, "mfu": null,
     "peak_allocated_bytes": [...], "peak_reserved_bytes": [...], "gpu_busy_percent": []}

`tokens` are those of all iterations so far; lists have one value for each rank; what is not finite is null. A run that
is continued appends, so that a step may stand there twice: the last one counts.
"""

import math
from typing import Any, Self

import torch

from autoexp import scaling
from autoexp.trainers import boards, flags, gauges
from autoexp.trainers.jsonl import Lines
from autoexp.trainers.loop import Step
from autoexp.trainers.state import Training

CURVES = ("loss", "grad_norm", "lr", "step_s", "tokens_per_s", "tflops_per_gpu", "mfu")
"""What boards draw."""


class Metrics:
    """Writes metrics where the command line wants them; the first rank's words, the others write nothing."""

    def __init__(self, training: Training) -> None:
        """Begin, or go on behind what is there already; all ranks must call this."""
        args, sharding, world = training.args, training.sharding, training.world
        held = gauges.of_all(world, sharding.held_bytes())
        self._lines = Lines(None if world.rank else args.metrics)
        self._boards = [] if world.rank else boards.open_all(args)
        if world.rank:
            return
        self._lines.write(
            kind="start",
            iteration=training.iteration,
            world=world.size,
            strategy=sharding.strategy,
            units=sharding.units,
            replicas=sharding.replicas,
            parameters=scaling.parameters(flags.shape(args)),
            parameter_bytes=held,
            device=_named(world.device),
            torch=torch.__version__,
        )

    def add(self, training: Training, made: Step, seconds: float) -> None:
        """Write down an iteration that took so many seconds."""
        if not self._lines and not self._boards:
            return
        said = _values(training, made, seconds)
        self._lines.write(kind="step", **said)
        curves = {f"train/{name}": said[name] for name in CURVES if said[name] is not None}
        for board in self._boards:
            board.draw(curves, training.iteration)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        for board in self._boards:
            board.close()


def _values(training: Training, made: Step, seconds: float) -> dict[str, Any]:
    args = training.args
    flops = training.flops_per_sample * args.global_batch_size / training.world.size / seconds / 1e12
    return {
        "step": training.iteration,
        "tokens": training.consumed * args.seq_length,
        "loss": _finite(made.loss),
        "grad_norm": _finite(made.grad_norm),
        "lr": made.lr,
        "taken": made.taken,
        "step_s": seconds,
        "tokens_per_s": args.global_batch_size * args.seq_length / seconds,
        "tflops_per_gpu": flops,
        "mfu": flops / args.peak_tflops if args.peak_tflops else None,
        "peak_allocated_bytes": made.gauges.allocated,
        "peak_reserved_bytes": made.gauges.reserved,
        "gpu_busy_percent": made.gauges.busy,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
