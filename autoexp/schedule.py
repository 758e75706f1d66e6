"""The learning rate as a pure function of the samples seen so far.

Megatron-LM's rules (`OptimizerParamScheduler`), so that a recipe trains the same way there:

- Steps are samples, not iterations. The iteration that follows `samples` consumed ones is made with
  `learning_rate(schedule, samples)`; so the first iteration of a warm-up is made with 0, and the log, written
  after the step, shows the rate of the iteration to come.
- Warm-up is linear from 0 to `lr`, whatever the style.
- WSD (warm-up, stable, decay) stays at `lr` until `decay - wsd_decay`, then falls to `min_lr` at `decay`.
- Past `decay`, every style but `constant` stays at `min_lr`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STYLES = ("constant", "linear", "cosine", "WSD")

FALLS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (math.cos(math.pi * done) + 1),
    "exponential": lambda done: 2 * 0.5**done - 1,
    "minus_sqrt": lambda done: 1 - math.sqrt(done),
}
"""How much of `lr - min_lr` is left when a share `done` of the decay is over: 1 at 0, 0 at 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A learning rate's course; lengths are in samples (iterations times the global batch)."""

    lr: float
    min_lr: float
    warmup: int
    decay: int
    wsd_decay: int
    style: str
    wsd_style: str


def learning_rate(schedule: Schedule, samples: int) -> float:
    """Return the rate for the iteration after `samples` consumed samples."""
    if samples <= schedule.warmup and schedule.warmup > 0:
        return schedule.lr * samples / schedule.warmup
    if schedule.style == "constant":
        return schedule.lr
    if samples > schedule.decay:
        return schedule.min_lr
    return schedule.min_lr + _left(schedule, samples) * (schedule.lr - schedule.min_lr)


def _left(schedule: Schedule, samples: int) -> float:
    """Return the share of `lr - min_lr` that stands after `samples`, of which no more than `decay`."""
    if schedule.style == "WSD":
        start, fall = schedule.decay - schedule.wsd_decay, FALLS[schedule.wsd_style]
    else:
        start, fall = schedule.warmup, FALLS[schedule.style]
    return 1.0 if samples <= start else fall((samples - start) / (schedule.decay - start))
