"""Kills at any moment of a study on a real cluster; `make soak` has ten times as many."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.kills import campaign, make_rooms

KILLS = 20
SEED = 20261121


@pytest.mark.timeout(1800)
def test_a_watcher_killed_at_any_moment_with_its_clients_loses_no_job_and_runs_none_twice(
    tmp_path: Path, slurm: Cluster
) -> None:
    said: list[str] = []

    whole = campaign(slurm, KILLS, SEED, make_rooms(tmp_path), said.append)

    assert (whole.kills, whole.wrong) == (KILLS, []), "\n".join(said)
