"""What the documentation shows for Slurm is done on a real cluster."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.test_docs import ON_SLURM, TOP, work_through


def test_every_command_of_the_page_on_slurm_works(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)

    work_through(TOP / "docs" / ON_SLURM, tmp_path)
