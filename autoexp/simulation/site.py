"""A simulated site put together: its cluster, its file system, and the real watcher over a real folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from autoexp import clock, studies
from autoexp.engine import Engine
from autoexp.executor import Executors
from autoexp.machine import Machine
from autoexp.model import JobSpec
from autoexp.orders import Order
from autoexp.scheduling import Scheduled
from autoexp.simulation.cluster import Cluster
from autoexp.simulation.disk import Disk
from autoexp.simulation.observer import SimulatedObserver
from autoexp.simulation.timeline import Timeline
from autoexp.simulation.weather import DAY_S, Weather
from autoexp.watching import watching


@dataclass(slots=True)
class Specs:
    """The jobs of a root's studies, as they stand on disk."""

    root: Path
    _known: dict[tuple[str, str], JobSpec] = field(default_factory=dict)

    def of(self, order: Order) -> JobSpec:
        """Find the job of an order."""
        study, job = order.environment["AUTOEXP_STUDY"], order.environment["AUTOEXP_JOB"]
        if (study, job) not in self._known:
            folder = self.root / study
            specs = (*studies.load(folder).plan.jobs, *studies.appeared(folder))
            self._known.update({(study, spec.id): spec for spec in specs})
        return self._known[study, job]


@dataclass(slots=True)
class Site:
    """What the watcher of a root meets; made by `open_site`."""

    root: Path
    machine: Machine
    """The one that the root's studies were planned for."""
    timeline: Timeline
    observer: SimulatedObserver
    cluster: Cluster

    @contextmanager
    def watching(self, var: Path, logger: Any, now: Callable[[], float]) -> Iterator[Engine]:
        """Watch the root, by the time that `now` tells."""
        executors = Executors({self.machine.name: Scheduled(self.cluster)})
        with (
            clock.simulated(now),
            watching(self.root, var, self.observer, logger, lambda _: None, executors=executors) as engine,
        ):
            engine.lease.beat_s = DAY_S  # nobody else wants the root
            yield engine


def open_site(root: Path, machine: Machine, weather: Weather, slowest_s: float, kind: type[Cluster] = Cluster) -> Site:
    """Put a site together; `slowest_s` is how long what a node writes may stay invisible."""
    timeline = Timeline(weather.began_at)
    observer = SimulatedObserver(timeline, Random(f"{weather.seed}/notifications"))
    disk = Disk(timeline, observer.happened, slowest_s)
    return Site(root, machine, timeline, observer, kind(timeline, disk, weather, Specs(root).of))
