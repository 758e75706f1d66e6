"""The real watcher on a simulated site, in good weather."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoexp import clock
from autoexp.history import History
from autoexp.simulation.site import open_site
from autoexp.simulation.weather import DAY_S, Weather
from autoexp.watching import until_done
from tests.simulation import campaign


@pytest.fixture
def root() -> Iterator[Path]:
    """A month's study, planned in memory."""
    with TemporaryDirectory(dir=campaign.memory_disk()) as folder:
        yield campaign.plan(Path(folder))


def test_a_study_runs_to_its_end_in_virtual_time(root: Path) -> None:
    var = root.parent / "var"
    calm = Weather("calm", campaign.BEGAN_AT, campaign.BEGAN_AT)
    site = open_site(root, campaign.MACHINE, calm, campaign.INVISIBLE_S)
    before = clock.now()

    with site.watching(var, None, lambda: site.timeline.now) as engine:
        assert clock.now() == campaign.BEGAN_AT
        engine.run(until_done())
        states = {str(job.state) for _, job in engine.registry.all_jobs()}
        jobs = len(list(engine.registry.all_jobs()))

    assert states == {"succeeded"}
    assert jobs == 5 + 5 + 3, "planned, and a conversion of every second checkpoint that is a job's own"
    assert 20 * DAY_S < site.timeline.now - campaign.BEGAN_AT < 30 * DAY_S
    assert clock.now() - before < DAY_S, "the real time is back"
    moves = list(History(var / "journal").records())
    ends = [move for move in moves if move["trigger"] == "ended"]
    assert {move["evidence"]["ending"] for move in ends} == {"success", "time_limit"}
    assert sum(site.cluster.taken.values()) == len(site.cluster.runs) == len(ends)
