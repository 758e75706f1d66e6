"""What each step of a fine-tuning came to, for programs: metrics.jsonl, in the words of `trainers.metrics`.

    {"kind": "start", "iteration": 0, "world": 4, "strategy": "full_shard", "units": 26, ...}
    {"kind": "step", "step": 1, "step_s": 0.2, "samples_per_s": 80.0, "tokens_per_s": 40960.0, ...}
    {"kind": "log", "step": 10, "loss": 2.5, "learning_rate": 4.5e-05, ...}

A step's time is from its first forward pass to its update: evaluations and saves do not count. The third kind is what
the Trainer itself logs: losses, evaluations and, at the end, its summary.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from autoexp.errors import AutoexpError
from autoexp.trainers import gauges
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.finetuning.sharing import units
from autoexp.trainers.jsonl import Lines
from autoexp.trainers.ranks import World, local, total


class Recorder(TrainerCallback):  # type: ignore[misc]  # it has no types
    """Writes what a step took and what every rank held, and ends a training that was asked to stop."""

    def __init__(self, world: World, options: Options, lines: Lines, asked_to_stop: Callable[[], bool]) -> None:
        self.world = world
        self.options = options
        self.lines = lines
        self.asked_to_stop = asked_to_stop
        self.began = 0.0
        self.parameters = 0

    def on_train_begin(self, _args: Any, state: Any, _control: Any, *, model: Any, **_: Any) -> None:
        """Tell how the model was shared.

        Raises:
            AutoexpError: it was to be in parts, and is not.
        """
        strategy, parts = self.options.sharding_strategy, units(model)
        if strategy and parts < 2:  # noqa: PLR2004 - the whole of it is one
            why = f"it is {parts} unit, so that every step gathers all of it at once"
            raise AutoexpError("the model was not sharded layer by layer", why=why, fix="see to its _no_split_modules")
        weights = list(model.parameters())
        self.parameters = sum(weight.numel() for weight in weights)
        self.lines.write(
            kind="start",
            iteration=state.global_step,
            world=self.world.size,
            strategy=strategy or ("ddp" if self.world.size > 1 else "none"),
            units=parts,
            parameters=self.parameters,
            parameter_bytes=gauges.of_all(
                self.world, sum(local(each).numel() * each.element_size() for each in weights)
            ),
            device=self.world.device.type,
            torch=torch.__version__,
        )

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Look at the clock."""
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell what the step took; save and end if any rank was asked to."""
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)
        seconds = time.perf_counter() - self.began
        slots = gauges.in_slots(gauges.read(self.world.device), self.world)
        stops, *seen = total(self.world, (float(self.asked_to_stop()), *slots))
        samples = args.per_device_train_batch_size * args.gradient_accumulation_steps * self.world.size
        self.lines.write(kind="step", step=state.global_step, **self._values(samples, seconds, gauges.of_slots(seen)))
        if stops:
            control.should_save = control.should_training_stop = True

    def on_log(self, _args: Any, state: Any, _control: Any, *, logs: dict[str, Any], **_: Any) -> None:
        """Keep what the Trainer says."""
        self.lines.write(**{"kind": "log", "step": state.global_step, **logs})

    def _values(self, samples: int, seconds: float, seen: gauges.Gauges) -> dict[str, Any]:
        tokens, peak = samples * self.options.max_length, self.options.peak_tflops
        flops = 6 * self.parameters * tokens / self.world.size / seconds / 1e12
        return {
            "step_s": seconds,
            "samples_per_s": samples / seconds,
            "tokens_per_s": tokens / seconds,
            "tflops_per_gpu": flops,
            "mfu": flops / peak if peak else None,
            "peak_allocated_bytes": seen.allocated,
            "peak_reserved_bytes": seen.reserved,
            "gpu_busy_percent": seen.busy,
        }
