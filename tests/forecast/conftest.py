"""Forecasts of recipes: planned in memory, on a machine as wished."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from autoexp.forecast import Forecast
from autoexp.forecast.lengths import Lengths
from autoexp.forecast.site import Site
from autoexp.machine import Machine
from autoexp.plan import Planner
from autoexp.registry import Ledger
from autoexp.studies import Study

Foresee = Callable[..., Forecast]
CLUSTER = Machine(name="cluster", executor="slurm", python="python")
TRAINING = """
train:
  backend: megatron
  args: {train-iters: 100, save-interval: 40}
  resources: {gpus_per_node: 4, walltime: 1h}
"""
"""It saves at 40, 80 and 100."""


@pytest.fixture
def foresee(planner: Callable[..., Planner], tmp_path: Path) -> Foresee:
    """Play a recipe of these stages; what is not said lasts an hour."""

    def run(
        stages: str, more: str = "", machine: Machine = CLUSTER, room: dict[str, float] | None = None, **lengths: Any
    ) -> Forecast:
        text = "".join(f"  {line}\n" for line in dedent(stages).strip().splitlines())
        made = planner(f"study: s\n{dedent(more)}\nstages:\n{text}", machine=machine)
        study = Study(dir=tmp_path / "s", plan=made.plan(), machine=machine, key="k3y")
        found = Forecast(Ledger(study, planner=made), Site(machine, room or {}), Lengths(**lengths), began_at=1e9)
        found.run()
        return found

    return run


@pytest.fixture
def span() -> Callable[[Forecast, str], tuple[float, float]]:
    """Say from when to when a job's last attempt ran, in seconds from the start."""

    def of(forecast: Forecast, job: str) -> tuple[float, float]:
        begin, end = forecast.courses[job].runs[-1]
        return round(begin - 1e9, 3), round(end - 1e9, 3)

    return of
