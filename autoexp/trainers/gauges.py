"""What a rank can tell of its device."""

import resource
from dataclasses import dataclass

import torch

from autoexp.trainers.ranks import World, total

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Each has a value for every rank, in their order."""

    allocated: tuple[int, ...]
    """The most bytes of tensors there ever were on the GPU; without one, of the process in memory (its peak RSS)."""
    reserved: tuple[int, ...]
    """The most bytes that torch's allocator ever held of the GPU; without one, as `allocated`."""
    busy: tuple[int, ...]
    """Per cent of the last moment in which some kernel ran on the GPU, by NVML; empty where nothing can tell."""


def read(device: torch.device) -> tuple[float, float, float]:
    """Return this rank's own: bytes allocated, bytes reserved, per cent busy (-1: unknown)."""
    if device.type != "cuda":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB  # KiB on Linux
        return peak, peak, -1
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return allocated, reserved, _busy(device)


def _busy(device: torch.device) -> float:
    try:
        return torch.cuda.utilization(device)
    except (ModuleNotFoundError, RuntimeError):  # no pynvml, or no NVML behind it
        return -1


def in_slots(own: tuple[float, ...], world: World) -> list[float]:
    """Put this rank's values in its place among all ranks', so that a sum over the ranks has them all."""
    slots = [0.0] * (len(own) * world.size)
    slots[world.rank * len(own) : (world.rank + 1) * len(own)] = own
    return slots


def of_slots(slots: list[float]) -> Gauges:
    """Read what the ranks put into their slots."""
    allocated, reserved, busy = (tuple(map(int, slots[start::3])) for start in range(3))
    return Gauges(allocated=allocated, reserved=reserved, busy=() if min(busy) < 0 else busy)


def of_all(world: World, own: int) -> list[int]:
    """Tell every rank what each of them has."""
    return [int(value) for value in total(world, in_slots((own,), world))]
