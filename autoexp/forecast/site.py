"""A machine in virtual time: who is submitted, who waits, who runs. Pure.

This computer has cores and GPUs, as the local executor counts them: what lacks something does not hold up others that
do not need it. A cluster has nodes, as many as it is asked for unless it is told how many, and the limits that its
machine file gives: of what waits to be submitted the highest priority goes first.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.machine import Machine, Partition
from autoexp.model import Job, Resources
from autoexp.partitions import named
from autoexp.throttle import Throttle, limits_of, places_of

CRUMB = 1e-9
"""Shares of nodes that sums may be off by."""
Needs = tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Site:
    """What a machine has, and who has it."""

    machine: Machine
    room: Mapping[str, float]
    """How much there is of each kind in all: cores and GPUs, or nodes; what is not named is without end."""
    throttle: Throttle = field(init=False)
    _free: dict[str, float] = field(init=False)
    _backlog: dict[tuple[str, ...], list[tuple[int, int, Job]]] = field(default_factory=dict)
    """What is not submitted yet, by the places where it counts: the highest priority, then the oldest, first."""
    _queues: dict[Needs, deque[tuple[int, Job]]] = field(default_factory=dict)
    """What is submitted and has not begun, by what it needs, each with its number in the line."""
    _kept: dict[str, tuple[Needs, tuple[str, ...]]] = field(default_factory=dict)
    """What the jobs that run have."""
    _count: int = 0

    def __post_init__(self) -> None:
        self._free = dict(self.room)
        self.throttle = Throttle({} if self.machine.executor == "local" else limits_of(self.machine))
        self.throttle.heard({})

    def refusal(self, job: Job) -> str:
        """Say why a job can never run here; nothing if it can."""
        wanted = job.spec.resources
        if self.machine.executor == "local" and wanted.nodes > 1:
            return f"it asks for {wanted.nodes} nodes, and machine {self.machine.name} is one computer"
        for kind, amount in self._needs(wanted):
            if amount > self.room.get(kind, amount) + CRUMB:
                return f"it asks for {amount:g} {kind}, and machine {self.machine.name} has {self.room[kind]:g}"
        return ""

    def submit(self, job: Job) -> None:
        """Take a job, to be submitted as soon as there is room for it."""
        self._count += 1
        waiting = self._backlog.setdefault(self._places(job), [])
        heapq.heappush(waiting, (-job.spec.priority, self._count, job))

    def withdraw(self, name: str) -> None:
        """Take a job back that has not begun."""
        for places, waiting in self._backlog.items():
            self._backlog[places] = sorted(entry for entry in waiting if entry[2].id != name)
        for queue in self._queues.values():
            for entry in [entry for entry in queue if entry[1].id == name]:
                queue.remove(entry)
                self.throttle.left(self._places(entry[1]))

    def leave(self, name: str) -> None:
        """Free what a job had."""
        needs, places = self._kept.pop(name, ((), None))
        if places is not None:
            self.throttle.left(places)
        self._take(needs, -1)

    def send(self) -> Iterator[Job]:
        """Submit what may be."""
        while fitting := [(waiting[0][:2], places) for places, waiting in self._backlog.items() if self._may(places)]:
            _, places = min(fitting)
            _, _, job = heapq.heappop(self._backlog[places])
            self.throttle.took(places)
            self._queues.setdefault(self._needs(job.spec.resources), deque()).append((self._count, job))
            self._count += 1
            yield job

    def begin(self) -> Iterator[Job]:
        """Start what fits, in the order of submission."""
        short_of: set[str] = set()
        while heads := [
            (queue[0][0], needs) for needs, queue in self._queues.items() if queue and self._fair(needs, short_of)
        ]:
            _, needs = min(heads)
            lacks = {kind for kind, amount in needs if amount > self._free.get(kind, amount) + CRUMB}
            if lacks:
                short_of |= lacks
                continue
            _, job = self._queues[needs].popleft()
            self._take(needs, 1)
            self._kept[job.id] = needs, self._places(job)
            yield job

    def _take(self, needs: Needs, times: int) -> None:
        for kind, amount in needs:
            if kind in self._free:
                self._free[kind] -= times * amount

    def _may(self, places: tuple[str, ...]) -> bool:
        return bool(self._backlog[places]) and not self.throttle.full(places)

    @staticmethod
    def _fair(needs: Needs, short_of: set[str]) -> bool:
        """Say whether somebody may begin although earlier ones lack these."""
        return short_of.isdisjoint(kind for kind, amount in needs if amount)

    def _places(self, job: Job) -> tuple[str, ...]:
        return places_of({**self.machine.options, **job.spec.resources.options})

    def _needs(self, wanted: Resources) -> Needs:
        if self.machine.executor == "local":
            cores = min(float(wanted.cpus), self.room.get("cpus", float(wanted.cpus)))  # more than there are means all
            return (("cpus", cores), ("gpus", float(wanted.gpus_per_node)))
        return (("nodes", wanted.nodes * self._share(wanted)),)

    def _share(self, wanted: Resources) -> float:
        """Say which part of a node a job takes: all of it where the machine file does not tell what a node has."""
        names = named(self.machine, wanted)
        node = self.machine.partitions.get(names[0], Partition()) if names else Partition()
        shares = [wanted.gpus_per_node / node.gpus_per_node] if node.gpus_per_node else []
        shares += [wanted.cpus / node.cpus] if node.cpus else []
        return min(max(shares), 1.0) if shares else 1.0
