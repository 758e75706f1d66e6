"""The demo on a cluster, from its plan to its report."""

from typing import TYPE_CHECKING

import pytest

from tests.recipes.test_recipes import PINNED, RECIPES, spell
from tests.slurm.cluster import cluster

if TYPE_CHECKING:
    from tests.conftest import Room


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("slurm")
def test_the_demo_moves_on_a_cluster_without_accounting_as_it_does_here_by_its_machine_alone(room: "Room") -> None:
    with cluster(accounting=False) as bare:
        room.variables |= bare.env
        status = room.start("run", RECIPES / "demo.yaml", *PINNED["demo"], "--machine", "slurm-test").wait(1000)

    assert status == 0, room.said()
    reference = RECIPES.parent / "tests" / "recipes" / "demo.moves"
    assert spell(room.journal()) == reference.read_text()
    report = room.root / "demo" / "report" / "report.html"
    assert "slurm-test" in report.read_text(encoding="utf-8")
