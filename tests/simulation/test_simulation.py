"""Whole campaigns: a month on a bad cluster each, with a watcher that is killed again and again."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from autoexp.codec import decode
from autoexp.engine import Engine
from autoexp.events import EVENTS
from autoexp.facts import Fact
from autoexp.history import History
from autoexp.model import OVER, State, Verb
from autoexp.registry import Key
from autoexp.simulation.site import open_site
from autoexp.simulation.weather import HOUR_S, Fate, Weather
from tests.simulation import campaign
from tests.simulation.campaign import Campaign

SEEDS, CHUNK = 300, 10
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder in memory."""
    with TemporaryDirectory(dir=campaign.memory_disk()) as folder:
        yield Path(folder)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_month_on_a_bad_cluster_loses_nothing_and_runs_nothing_twice(home: Path, first: int) -> None:
    faults = {seed: campaign.faults_of(seed, str(home)) for seed in range(first, first + CHUNK)}

    assert [campaign.told(seed, found) for seed, found in faults.items() if found] == []


def test_the_campaigns_meet_what_they_are_meant_to_meet(home: Path) -> None:
    """A month without trouble would prove nothing."""
    met = {"restarts": 0, "torn lines": 0, "doubles": 0, "requeues": 0, "runs that left no word": 0, "lies": 0}
    for seed in range(20):
        played = campaign.run(seed, home)
        assert played.now > campaign.CALM_AT
        cluster = played.site.cluster
        jobs = [job for jobs in cluster.jobs.values() for job in jobs]
        met["restarts"] += played.restarts
        met["torn lines"] += played.torn
        met["doubles"] += sum(times > 1 for times in cluster.taken.values())
        met["requeues"] += sum(job.restarts for job in jobs)
        met["runs that left no word"] += sum(run.code is None for run in cluster.runs)
        met["lies"] += cluster.lies

    assert {what for what, times in met.items() if not times} == set()


JOURNAL = """
import sys
from pathlib import Path
from autoexp.history import History
from tests.simulation import campaign
played = campaign.run(7, Path(sys.argv[1]))
for record in History(played.var / "journal").records():
    print(record["at"], record["job"], record["trigger"], record["to"])
"""


def test_a_seed_is_the_same_campaign_each_time(home: Path) -> None:
    said = set()
    for hashes in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", JOURNAL, str(home / "same")]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        said.add(hashlib.sha256(done.stdout).hexdigest())
        assert done.stdout

    assert len(said) == 1


class Watched(RuleBasedStateMachine):
    """A study under a watcher, among whatever people, the cluster and the notifications do, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.home = Path(self.opened.enter_context(TemporaryDirectory(dir=campaign.memory_disk())))
        root = campaign.plan(self.home)
        calm = Weather("drawn", campaign.BEGAN_AT, campaign.BEGAN_AT)
        site = open_site(root, campaign.MACHINE, calm, campaign.INVISIBLE_S)
        self.played = Campaign(site, self.home / "var" / root.name, Random(0), kills_until=float("inf"))
        self.watcher = ExitStack()
        self.watch()

    def watch(self) -> None:
        """Let the next watcher begin."""
        played = self.played
        self.watcher.close()
        entered = played.site.watching(played.var, played, played.read_clock)
        played.engine = self.watcher.enter_context(entered)

    @property
    def engine(self) -> Engine:
        assert self.played.engine is not None
        return self.played.engine

    def run_for(self, seconds: float) -> None:
        until = self.played.now + seconds
        self.engine.run(lambda _: self.played.now >= until)

    # What happens

    @rule(hours=st.floats(0.1, 100.0))
    def pass_time(self, hours: float) -> None:
        self.run_for(hours * HOUR_S)

    @rule(readings=st.integers(1, 60))
    def kill_the_watcher(self, readings: int) -> None:
        self.played.kill_in = readings
        try:
            self.run_for(60 * HOUR_S)
        except campaign.Killed:
            self.played.site.timeline.advance(self.played.now + HOUR_S)
            self.watch()
        self.played.kill_in = 0

    @rule(verb=st.sampled_from(Verb), number=st.integers(0, 99))
    def ask(self, verb: Verb, number: int) -> None:
        jobs = sorted(self.played.memory)
        folder = self.played.site.root / "month" / "jobs" / jobs[number % len(jobs)].job / "markers"
        (folder / verb).touch()
        self.run_for(3 * HOUR_S)
        assert not (folder / verb).exists(), "every marker is answered"

    @rule(hours=st.floats(0.1, 20.0))
    def silence_the_scheduler(self, hours: float) -> None:
        self.played.site.cluster.weather.outages.append((self.played.now, self.played.now + hours * HOUR_S))

    @rule()
    def lose_notifications(self) -> None:
        self.played.site.observer._hints.clear()

    @rule(fate=st.sampled_from(["node failure", "preemption", "crash", "time limit"]), number=st.integers(0, 99))
    def strike(self, fate: Fate, number: int) -> None:
        cluster = self.played.site.cluster
        jobs = [job for jobs in cluster.jobs.values() for job in jobs if cluster.is_effective(job)]
        if jobs:
            cluster._meet(jobs[number % len(jobs)], fate, Random(number))

    @rule(number=st.integers(0, 999))
    def hear_something_again(self, number: int) -> None:
        moves = list(History(self.played.var / "journal").records())
        record = moves[number % len(moves)]
        key = Key("month", record["job"])
        job = self.engine.registry.job(key)
        again = record["trigger"] in ("ended", "checkpoint_saved") and job.state in OVER
        if record["trigger"] in OF_AN_ATTEMPT and (record["attempt"] < job.attempt or again):
            event = decode(EVENTS[record["trigger"]], {**record["evidence"], "at": self.played.now})
            self.engine._settle([Fact(key, replace(event, attempt=record["attempt"]))])
            assert self.engine.registry.job(key) == job
            assert len(list(History(self.played.var / "journal").records())) == len(moves)

    # What holds

    @invariant()
    def the_journal_says_what_is_in_memory(self) -> None:
        replayed = dict(campaign.replay(self.played.site.root, self.played.var).all_jobs())
        assert replayed == self.played.memory

    def teardown(self) -> None:
        with self.opened, self.watcher:
            for _ in range(400):
                self.played.release_all()
                self.run_for(6 * HOUR_S)
                stuck = [key for key, job in self.played.memory.items() if job.state not in OVER]
                if not stuck:
                    break
                self._help(stuck)
            assert [*campaign.broken(self.played)] == []

    def _help(self, stuck: list[Key]) -> None:
        """End what a person started before it could begin: nobody else does."""
        for key in stuck:
            job = self.engine.registry.job(key)
            if job.state is State.BACKOFF and "has no iteration" in job.reason:
                (self.played.site.root / "month" / "jobs" / key.job / "markers" / Verb.CANCEL).touch()


OF_AN_ATTEMPT = ("submitted", "started", "ended", "checkpoint_saved")
Watched.TestCase.settings = settings(max_examples=8, stateful_step_count=20)
test_whatever_happens_to_a_study_in_whatever_order_nothing_is_lost_or_runs_twice = Watched.TestCase
