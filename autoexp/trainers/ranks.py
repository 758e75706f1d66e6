"""One training on one process or on many.

Several processes, under `torchrun`, meet over NCCL on GPUs and Gloo on CPUs. A single one, with or without `torchrun`,
never touches `torch.distributed` unless it is to be sharded all the same: importing its parts alone costs as much as
importing torch.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoexp.errors import AutoexpError


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process's place among those that train together."""

    rank: int
    size: int
    device: torch.device
    grouped: bool = False
    """Whether there is a process group, be it of one."""


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def groups(size: int | None) -> int:
    """Return how many groups of `size` ranks there are; each is a node's ranks where none is given.

    Raises:
        AutoexpError: the ranks do not make whole groups.
    """
    group = size or int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
    if processes() % group:
        why = f"{processes()} ranks are no multiple of {group}"
        raise AutoexpError("cannot make groups that share the model", why=why, fix="change the size of a group")
    return processes() // group


def leads() -> bool:
    """Say whether this process speaks for all; true before `join`, too."""
    return os.environ.get("RANK", "0") == "0"


def join(*, alone_too: bool = False) -> World:
    """Take the place that `torchrun` assigned, or the only one, `alone_too` as a group; call `leave` at the end."""
    size, local = processes(), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads.partition(",")[0]))  # OpenMP takes a list, one number a level
    if device.type == "cuda":
        torch.cuda.set_device(device)
    rank, grouped = int(os.environ.get("RANK", "0")), size > 1 or alone_too
    if grouped:
        on_gpu = device.type == "cuda"
        store = None if size > 1 else torch.distributed.HashStore()  # type: ignore[attr-defined]
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            device_id=device if on_gpu else None,
            store=store,
            rank=rank,
            world_size=size,
        )
    return World(rank=rank, size=size, device=device, grouped=grouped)


def leave(world: World) -> None:
    """Give the place back."""
    if world.grouped:
        torch.distributed.destroy_process_group()


def wait(world: World) -> None:
    """Return when every rank has come here."""
    if world.size > 1:
        torch.distributed.barrier()


def total(world: World, values: Sequence[float]) -> list[float]:
    """Sum each of `values` over the ranks; every rank gets the same sums."""
    if world.size == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(sums)
    return [float(value) for value in sums.tolist()]


def local(tensor: Tensor) -> Tensor:
    """Return the part of a parameter, or of its gradient, that this rank holds."""
    shard: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor from all ranks, which must all call this; detached, on the CPU."""
    gathered: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered.detach().cpu()


@torch.no_grad()
def fill(tensor: Tensor, values: Tensor) -> None:
    """Set a tensor, sharded or not, to `values`, which every rank holds in full.

    Raises:
        RuntimeError: the shapes differ.
    """
    if values.shape != tensor.shape:
        raise RuntimeError(f"{list(values.shape)} does not fit {list(tensor.shape)}")
    if hasattr(tensor, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415  # see the first lines

        mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]  # a DTensor
        values = distribute_tensor(values.to(tensor.device), mesh, placements, src_data_rank=None)
    tensor.copy_(values)
