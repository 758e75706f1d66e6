"""What a machine file says of a batch scheduler's partitions, held against what a job asks for. Pure.

Only what the file says is judged. A partition it does not name, and a limit it does not give, are the scheduler's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from autoexp.machine import Machine, Partition
from autoexp.model import Resources
from autoexp.quantities import SECONDS

GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Excess:
    """More than a partition allows: the key of the stage's resources that asks for it, and what to do."""

    key: str
    asked: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that is limited: what a job asks for, what a partition allows, and how a person writes it."""

    asked: Callable[[Resources], int | None]
    allowed: Callable[[Partition], int | None]
    spell: Callable[[int], str] = str


def duration(seconds: int) -> str:
    """Spell a duration as recipes do: 2d, 1h30m."""
    parts = []
    for unit, size in sorted(SECONDS.items(), key=lambda known: -known[1]):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def size(count: int) -> str:
    """Spell a size as recipes do: 480GiB, 500MiB."""
    return f"{count // GIB}GiB" if count % GIB == 0 else f"{-(-count // _MIB)}MiB"


LIMITS: Mapping[str, Limit] = {
    "walltime": Limit(lambda asked: asked.walltime_s, lambda partition: partition.walltime_s, duration),
    "nodes": Limit(lambda asked: asked.nodes, lambda partition: partition.nodes),
    "gpus_per_node": Limit(lambda asked: asked.gpus_per_node, lambda partition: partition.gpus_per_node),
    "cpus": Limit(lambda asked: asked.cpus, lambda partition: partition.cpus),
    "memory": Limit(lambda asked: asked.memory_bytes, lambda partition: partition.memory_bytes, size),
}
"""By the key of a stage's resources."""


def named(machine: Machine, resources: Resources) -> tuple[str, ...]:
    """Name the partitions a job may run in; none where the scheduler chooses."""
    text = resources.options.get("partition", machine.options.get("partition", ""))
    return tuple(name.strip() for name in text.split(",") if name.strip())


def excess(machine: Machine, resources: Resources) -> Excess | None:
    """Say what a job asks for that none of the partitions it names allows; None where one does, or nobody knows."""
    if machine.executor == "local":
        return _of_one_computer(machine, resources)
    names = named(machine, resources)
    if unknown := [name for name in names if name not in machine.partitions]:
        return _unknown(machine, unknown[0]) if machine.all_partitions else None
    broken = [next(_broken(machine.partitions[name], resources), None) for name in names]
    return _over(machine, names[0], broken[0], resources) if broken and broken[0] and None not in broken else None


def _of_one_computer(machine: Machine, resources: Resources) -> Excess | None:
    here = Partition(nodes=1, gpus_per_node=machine.gpus)
    key = next(_broken(here, resources), None)
    if key is None:
        return None
    asked, allowed = LIMITS[key].asked(resources), LIMITS[key].allowed(here)
    fix = "lower it, or plan for another machine: --machine NAME"
    return Excess(key, f"{key}: {asked}", f"machine {machine.name} is one computer, and allows {allowed}", fix)


def _broken(partition: Partition, resources: Resources) -> Iterator[str]:
    """Name what a job asks too much of."""
    for key, limit in LIMITS.items():
        asked, allowed = limit.asked(resources), limit.allowed(partition)
        if asked is not None and allowed is not None and asked > allowed:
            yield key


def _unknown(machine: Machine, name: str) -> Excess:
    return Excess(
        "partition",
        f"the partition {name}",
        f"machine {machine.name} has {', '.join(machine.partitions)}",
        "name one of them, or add it to partitions: of the machine file",
    )


def _over(machine: Machine, name: str, key: str, resources: Resources) -> Excess:
    limit = LIMITS[key]
    asked, allowed = limit.asked(resources) or 0, limit.allowed(machine.partitions[name]) or 0
    less = f"ask for at most {limit.spell(allowed)}" if allowed else f"leave {key} out"
    others = [other for other, known in machine.partitions.items() if not any(_broken(known, resources))]
    return Excess(
        key,
        f"{key}: {limit.spell(asked)}",
        f"partition {name} of machine {machine.name} allows {limit.spell(allowed)}",
        f"{less}, or name another partition: {', '.join(others)}" if others else less,
    )


def peak_tflops(machine: Machine, resources: Resources) -> float | None:
    """Return what one of a job's GPUs could do at most; None where the machine file does not say, or says several."""
    partitions = [machine.partitions.get(name, Partition()) for name in named(machine, resources)]
    peaks = {partition.peak_tflops for partition in partitions}
    return peaks.pop() if len(peaks) == 1 else None
