"""A site in good weather, over an empty job directory."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from autoexp.model import JobSpec, Resources
from autoexp.orders import Order
from autoexp.simulation.cluster import Cluster
from autoexp.simulation.disk import Disk
from autoexp.simulation.timeline import Timeline
from autoexp.simulation.weather import DAY_S, Weather

BEGAN_AT = 1_700_000_000.0


@pytest.fixture
def make_order(tmp_path: Path) -> Callable[..., Order]:
    """Make an attempt of a job."""

    def make(attempt: int = 1, walltime_s: int = 86400) -> Order:
        folder = tmp_path / "attempts" / f"{attempt:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        return Order(
            token=f"one.{attempt}.k3y",
            attempt=attempt,
            job_dir=tmp_path,
            attempt_dir=folder,
            resources=Resources(walltime_s=walltime_s),
        )

    return make


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    """Make a cluster that runs one job, in good weather or bad."""

    def make(spec: JobSpec, seed: str = "seed", *, bad_days: int = 0) -> Cluster:
        timeline = Timeline(BEGAN_AT)
        weather = Weather(seed, BEGAN_AT, BEGAN_AT + bad_days * DAY_S)
        return Cluster(timeline, Disk(timeline, lambda _: None, 50.0), weather, lambda _: spec)

    return make


@pytest.fixture
def chance() -> Random:
    return Random(1)
