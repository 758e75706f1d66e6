"""How ranks share a model: what each holds of the weights, and how gradients meet.

    strategy        a rank holds, at rest               while a layer works
    full_shard      its share of everything             the layer whole, before each use
    shard_grad_op   its share of everything             the model whole, from its forward to its backward pass
    hybrid_shard    its group's share of everything     as full_shard; groups hold the same, and add up gradients
    ddp             everything                          gradients are added up while the backward pass goes on
    none            everything                          gradients are added up after the backward pass

The first three are FSDP2 (`fully_shard`), ZeRO's stages 3 and 2 and MiCS; `ddp` is DistributedDataParallel. All of
them train alike: gradients are means over the global batch.
"""

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from autoexp.errors import AutoexpError
from autoexp.trainers.model import GPT
from autoexp.trainers.ranks import World, groups, local

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.nn.parallel import DistributedDataParallel

BY_FSDP = ("full_shard", "shard_grad_op", "hybrid_shard")
STRATEGIES = (*BY_FSDP, "ddp", "none")
WORTH_A_GATHER = 500_000
"""A layer of fewer parameters is not gathered by itself: the exchange costs more than the memory is worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """A model, shared among ranks."""

    compute: nn.Module
    """What is called with tokens."""
    world: World
    strategy: str
    replicas: int
    """How many ranks hold the same share."""
    units: int
    """Parts of the model that FSDP gathers by themselves."""

    @property
    def casts(self) -> bool:
        """Whether a precision to compute in was chosen already."""
        return self.strategy in BY_FSDP

    @contextmanager
    def exchanging(self, *, now: bool) -> Iterator[None]:
        """Let the backward pass inside add up gradients over the ranks, or add to this rank's own."""
        with self._exchange(now):
            yield
        if now and self.strategy == "none" and self.world.size > 1:
            for weight in self.compute.parameters():
                if weight.grad is not None:
                    torch.distributed.all_reduce(weight.grad)
                    weight.grad /= self.world.size

    def _exchange(self, now: bool) -> AbstractContextManager[None]:  # noqa: FBT001 - the only thing there is to say
        if self.strategy in BY_FSDP:
            cast("FSDPModule", self.compute).set_requires_gradient_sync(now)
        if self.strategy == "ddp" and not now:
            return cast("DistributedDataParallel", self.compute).no_sync()
        return nullcontext()

    def held_bytes(self) -> int:
        """Return the bytes of parameters that this rank holds at rest."""
        return sum(local(weight).numel() * weight.element_size() for weight in self.compute.parameters())


def share(model: GPT, world: World, args: argparse.Namespace) -> Sharding:
    """Share a model among the ranks as `--sharding-strategy` says; a rank alone has it for itself.

    Raises:
        AutoexpError: the ranks do not make whole groups, or there is no GPU to off-load from.
    """
    strategy = args.sharding_strategy or BY_FSDP[0] if world.grouped else "none"
    if args.cpu_offload and (strategy not in BY_FSDP or world.device.type == "cpu"):
        why = f"the strategy is {strategy}" if world.device.type != "cpu" else "there is no GPU to take them from"
        raise AutoexpError("cannot keep the weights off the GPU", why=why, fix="leave --cpu-offload out")
    if not args.cpu_offload:
        model.to(world.device)
    model.decoder.recomputes = args.recompute_granularity == "full"
    if strategy in BY_FSDP:
        return _by_fsdp(model, world, args, strategy)
    compute = _by_ddp(model, world) if strategy == "ddp" else model
    return Sharding(compute=compute, world=world, strategy=strategy, replicas=world.size, units=0)


def _by_fsdp(model: GPT, world: World, args: argparse.Namespace, strategy: str) -> Sharding:
    from torch.distributed.fsdp import (  # noqa: PLC0415  # see the first lines of `ranks`
        CPUOffloadPolicy,
        MixedPrecisionPolicy,
        fully_shard,
    )

    replicas = groups(args.shard_group_size) if strategy == "hybrid_shard" else 1
    options: dict[str, Any] = {"mesh": _mesh(world, replicas), "mp_policy": MixedPrecisionPolicy()}
    if args.bf16:
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if args.cpu_offload:
        options["offload_policy"] = CPUOffloadPolicy()
    if strategy == "shard_grad_op":
        options["reshard_after_forward"] = False
    layers: list[Any] = [layer for layer in model.decoder.layers if _size(layer) >= WORTH_A_GATHER]
    for layer in layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    if args.prefetch:
        for layer, following in pairwise(layers):
            layer.set_modules_to_forward_prefetch([following])
            following.set_modules_to_backward_prefetch([layer])
    return Sharding(compute=model, world=world, strategy=strategy, replicas=replicas, units=len(layers) + 1)


def _by_ddp(model: GPT, world: World) -> nn.Module:
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415  # see the first lines of `ranks`

    devices = None if world.device.type == "cpu" else [world.device]
    return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def _mesh(world: World, replicas: int) -> Any:
    """Lay the ranks out: those that share a model side by side, those that hold the same below each other."""
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415  # see the first lines of `ranks`

    if replicas == 1:
        return init_device_mesh(world.device.type, (world.size,))
    names = ("replicate", "shard")
    return init_device_mesh(world.device.type, (replicas, world.size // replicas), mesh_dim_names=names)


def _size(layer: nn.Module) -> int:
    return sum(weight.numel() for weight in layer.parameters())
