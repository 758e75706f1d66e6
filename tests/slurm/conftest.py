"""A real cluster for the tests of a session, and a room on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.slurm.cluster import SBIN, Cluster, cluster

if TYPE_CHECKING:
    from tests.conftest import Room


@pytest.fixture(scope="session")
def running() -> Iterator[Cluster]:
    """A cluster with accounting, as most are. Only who may not install it goes without."""
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:{SBIN}") is None and os.geteuid() != 0:
        pytest.skip("no Slurm here: install slurm-wlm slurmdbd munge mariadb-server shellcheck")
    with cluster() as made:
        yield made


@pytest.fixture
def slurm(running: Cluster) -> Iterator[Cluster]:
    """The cluster, free for one test."""
    yield running
    running.clear()


@pytest.fixture
def ward(room: "Room", slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> "Room":
    """A room whose jobs run on the cluster."""
    return on(slurm, room, monkeypatch)


def on(slurm: Cluster, room: "Room", monkeypatch: pytest.MonkeyPatch, **settings: str) -> "Room":
    """Lead a room's programs to a cluster; the scheduler is asked often."""
    room.variables |= slurm.env
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    usual = {
        "executor": "slurm",
        "query_interval": "1s",
        "visibility": "5s",
        "options": "{mem: 100M}",
        "environment": "[PYTHONPATH]",
    }
    room.machine(**{**usual, **settings})
    return room


@pytest.fixture
def shim(room: "Room", tmp_path: Path) -> "Shim":
    """Clients of Slurm's that count, and do more or less than they are told to."""
    return Shim(room, tmp_path / "shims")


class Shim:
    """A folder first on the PATH, with programs in the place of Slurm's."""

    def __init__(self, room: "Room", folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        room.variables["PATH"] = f"{folder}:{os.environ['PATH']}"

    def put(self, name: str, script: str) -> None:
        """Replace a client by a shell script; $real is the real one, and each call is counted."""
        path = self.folder / name
        log, folder = self.folder / f"{name}.calls", self.folder
        head = f'echo "$*" >> {log}\nreal=$(PATH=${{PATH#{folder}:}} command -v {name})\n'
        path.write_text(f"#!/bin/bash\n{head}{script}\n")
        path.chmod(0o755)

    def count(self, *names: str) -> None:
        """Count the calls of these clients, and pass them on."""
        for name in names:
            self.put(name, 'exec "$real" "$@"')

    def calls(self, name: str) -> list[str]:
        """The words of each call."""
        log = self.folder / f"{name}.calls"
        return log.read_text().splitlines() if log.exists() else []
