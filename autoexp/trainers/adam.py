"""AdamW on the shards that a rank holds.

Adam works element by element, so each rank steps its own shard and gathers nothing. `torch.optim` is left
alone because building any of its optimizers imports the compiler, which takes longer than importing torch
itself: too much for runs of seconds. The numbers are those of `torch.optim.AdamW` (decoupled weight decay,
bias correction). The stored form is Megatron-LM's for a model trained in fp32: parameters with weight decay
come first, then those without, each with `step`, `exp_avg` and `exp_avg_sq`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from autoexp.trainers.ranks import fill, local, whole


class AdamW:
    """Adam with decoupled weight decay on matrices; norm weights, being one-dimensional, do not decay."""

    def __init__(self, model: nn.Module, *, betas: tuple[float, float], epsilon: float, weight_decay: float) -> None:
        """Start at step 0; `model` must have been sharded before."""
        weights = list(model.parameters())
        self.decaying = [weight for weight in weights if weight.dim() > 1]
        self.weights = self.decaying + [weight for weight in weights if weight.dim() == 1]
        self.first = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        self.second = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        self.betas, self.epsilon, self.weight_decay = betas, epsilon, weight_decay
        self.steps = 0

    def squared_norm(self) -> float:
        """Return the squared norm of the gradients on this rank's shards; over all ranks it sums up."""
        squares = [local(weight.grad).square().sum() for weight in self.weights if weight.grad is not None]
        return float(torch.stack(squares).sum())

    @torch.no_grad()
    def step(self, lr: float, scale: float) -> None:
        """Move every weight by its gradient times `scale`; the gradients are used up."""
        self.steps += 1
        beta1, beta2 = self.betas
        rate = lr / (1 - beta1**self.steps)
        spread = math.sqrt(1 - beta2**self.steps)
        for index, weight in enumerate(self.weights):
            if weight.grad is None:
                continue
            shard, gradient = local(weight), local(weight.grad).mul_(scale)
            first, second = local(self.first[index]), local(self.second[index])
            if index < len(self.decaying):
                shard.mul_(1 - lr * self.weight_decay)
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            shard.addcdiv_(first, second.sqrt().div_(spread).add_(self.epsilon), value=-rate)
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self, lr: float) -> dict[str, Any]:
        """Gather the state from all ranks, which must all call this."""
        step = torch.tensor(float(self.steps))
        moments = zip(self.first, self.second, strict=True)
        split = len(self.decaying)
        return {
            "state": {
                index: {"step": step, "exp_avg": whole(first), "exp_avg_sq": whole(second)}
                for index, (first, second) in enumerate(moments)
            },
            "param_groups": [
                self._group(lr, 1.0, range(split)),
                self._group(lr, 0.0, range(split, len(self.weights))),
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, each rank its own shard.

        Raises:
            KeyError, RuntimeError: the state is another model's.
        """
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            held = state["state"][index]
            self.steps = int(held["step"])
            fill(first, held["exp_avg"])
            fill(second, held["exp_avg_sq"])

    def _group(self, lr: float, share: float, members: range) -> dict[str, Any]:
        return {
            "lr": lr,
            "betas": self.betas,
            "eps": self.epsilon,
            "weight_decay": self.weight_decay * share,
            "wd_mult": share,
            "lr_mult": 1.0,
            "params": list(members),
        }
