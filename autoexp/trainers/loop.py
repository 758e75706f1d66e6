"""The two things a trainer does with a batch: learn from it, or be judged by it."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from autoexp.trainers import gauges, ranks, text
from autoexp.trainers.gauges import Gauges
from autoexp.trainers.state import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of one iteration; the same on every rank."""

    loss: float
    """Mean over the global batch, in nats a token, before the update."""
    grad_norm: float
    """Before clipping."""
    taken: bool
    """Whether the weights moved: not when the loss or the gradient is not finite."""
    lr: float
    """The rate it was taken with."""
    gauges: Gauges
    stop: bool
    """Whether any rank was asked to stop."""


def step(training: Training, cut: Tensor, stop: Callable[[], bool]) -> Step:
    """Learn from the next global batch of the windows `cut`; `stop` tells whether this rank should end."""
    args, world, adam, replicas = training.args, training.world, training.adam, training.sharding.replicas
    share = args.global_batch_size // world.size
    first = training.consumed + world.rank * share
    starts = range(first, first + share, args.micro_batch_size)
    own = 0.0
    for start in starts:
        batch = text.samples(cut, args.seed, start, args.micro_batch_size)
        own += _learn(training, batch, len(starts), last=start == starts[-1])
    # One reduction for all that ranks must agree on: a rank that ended alone would leave the others waiting.
    said = (own / world.size, adam.squared_norm() / replicas, float(stop()))
    loss, squares, stops, *slots = ranks.total(world, (*said, *gauges.in_slots(gauges.read(world.device), world)))
    norm = math.sqrt(squares)
    taken = math.isfinite(loss) and math.isfinite(norm)
    lr = training.lr
    if taken:
        adam.step(lr, _clip(norm, args.clip_grad))
    else:
        adam.forget()
    training.iteration += 1
    training.consumed += args.global_batch_size
    seen = gauges.of_slots(slots)
    return Step(loss=loss, grad_norm=norm, taken=taken, lr=lr, gauges=seen, stop=stops > 0)


@torch.no_grad()
def evaluate(training: Training, cut: Tensor) -> float:
    """Return the mean loss, in nats a token, over always the same windows of the held-out windows `cut`."""
    args, world = training.args, training.world
    count = args.eval_iters * args.global_batch_size
    share = count // world.size
    starts = range(world.rank * share, (world.rank + 1) * share, args.micro_batch_size)
    losses = (_loss(training, text.spread(cut, start, args.micro_batch_size, count)) for start in starts)
    mean = sum(float(loss) for loss in losses) / len(starts)
    return ranks.total(world, (mean / world.size,))[0]


def _learn(training: Training, batch: Tensor, parts: int, *, last: bool) -> float:
    """Add one micro batch's gradient and return its part of the loss; at the last one, ranks exchange."""
    with training.sharding.exchanging(now=last):
        loss = _loss(training, batch) / parts
        torch.autograd.backward(loss)
    return float(loss.detach())


def _loss(training: Training, batch: Tensor) -> Tensor:
    """Return the mean cross entropy of `batch` [samples, seq_length + 1]."""
    device = training.world.device
    tokens = batch.to(device)
    with _precision(training):
        logits = training.sharding.compute(tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def _precision(training: Training) -> AbstractContextManager[object]:
    """Choose the precision to compute in; under FSDP its own policy has chosen already."""
    if training.args.bf16 and not training.sharding.casts:
        return torch.autocast(training.world.device.type, torch.bfloat16)
    return nullcontext()


def _clip(norm: float, limit: float) -> float:
    """Return what to scale the gradients by; 0 is no limit."""
    return min(1.0, limit / (norm + 1e-6)) if limit else 1.0
