"""Faults in the executor seam: submissions that are refused, lost, or taken although nobody was told.

The rest is real: the engine, the local executor beneath, the jobs' processes.
"""

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from autoexp import lease
from autoexp.engine import Engine
from autoexp.events import Event, SubmitLost, SubmitRefused
from autoexp.executor import Executors
from autoexp.executors.local import Local
from autoexp.journal import unstamp
from autoexp.machine import Machine
from autoexp.orders import Order
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

SEEDS = 24
DONE = until_done()
FAULTS = ("refused", "lost", "accepted")
STUDY = """
data:
  sweep: {params: {part: [1, 2, 3, 4]}}
  command: &run [sh, -c, 'echo "$AUTOEXP_TOKEN" >> "$AUTOEXP_ROOT/../runs.log"']
fails:
  retry: {backoff: 0.02s}
  command: [sh, -c, 'echo "$AUTOEXP_TOKEN" >> "$AUTOEXP_ROOT/../runs.log"; test "$AUTOEXP_ATTEMPT" = 2']
train: {needs: [data, fails], command: *run}
check: {each: {job: data}, command: *run}
last: {needs: train, command: *run}
"""
PARTS = [f"data-part{number}" for number in range(1, 5)]
ATTEMPTS = {"train": 1, "last": 1, "fails": 2, **dict.fromkeys((*PARTS, *(f"check-{part}" for part in PARTS)), 1)}


@dataclass
class Faulty(Local):
    """The local executor, whose answers to submissions are not to be relied on."""

    faults: Iterator[str] = field(default_factory=lambda: repeat(""))
    """What becomes of each submission."""
    seen: Counter[str] = field(default_factory=Counter)

    def submit(self, order: Order, at: float) -> Event:
        fault = next(self.faults)
        self.seen[fault] += 1
        lost = SubmitLost(at=at, attempt=order.attempt, reason="no answer in time")
        if fault == "refused":
            return SubmitRefused(at=at, attempt=order.attempt, reason="the controller is busy", temporary=True)
        if fault == "lost":
            return lost
        answer = super().submit(order, at)
        return lost if fault == "accepted" else answer


@dataclass
class Bench:
    """A room with the study, watched in this process by one watcher after another."""

    room: "Room"
    executors: list[Faulty] = field(default_factory=list)

    def watch(self, faults: Iterator[str], done: Callable[[Engine], bool] = DONE) -> None:
        faulty = Faulty(Machine(name="bench"), cpus=4, gpus=(), faults=faults)
        self.executors.append(faulty)
        root, var = self.room.root, lease.var_of(self.room.root)
        logger, opened = logging.getLogger("test"), Executors({"bench": faulty})
        with watching(root, var, None, logger, lambda _: None, executors=opened) as engine:
            engine.run(done)

    @property
    def seen(self) -> Counter[str]:
        return sum((faulty.seen for faulty in self.executors), Counter())

    def close(self) -> None:
        """Reap every process: they are this one's children."""
        self.room.close()
        for faulty in self.executors:
            for child in (*faulty._leaving, *(running.child for running in faulty.running.values())):
                if child is not None:
                    os.waitpid(child, 0)

    def see_that_all_went_well(self) -> None:
        rows = self.room.rows()
        assert {job: (row["state"], row["attempt"]) for job, row in rows.items()} == {
            job: ("succeeded", attempts) for job, attempts in ATTEMPTS.items()
        }
        ran = Counter(token.rpartition(".")[0] for token in (self.room.home / "runs.log").read_text().split())
        assert ran == {f"{job}.{n}": 1 for job, attempts in ATTEMPTS.items() for n in range(1, attempts + 1)}
        checked = self.room.inside("replay", self.room.root, "--check", "--json")
        assert (checked["breaks"], checked["differences"]) == ([], [])


@pytest.fixture
def bench(room: "Room", monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("autoexp.effects.FIRST_REFUSAL_BACKOFF_S", 0.02)
    room.machine(sweep="1h")  # no sweep comes to the rescue
    room.plan(STUDY)
    made = Bench(room)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_becomes_of_submissions_each_attempt_runs_once(bench: Bench, seed: int) -> None:
    """Five to ten in a hundred go wrong; the watcher is another one every now and then."""
    dice = random.Random(seed)  # noqa: S311 - it is to be drawn again
    rate = dice.uniform(0.05, 0.1)

    def faults() -> Iterator[str]:
        while True:
            yield dice.choice(FAULTS) if dice.random() < rate else ""

    def for_a_while() -> Callable[[Engine], bool]:
        left = iter(range(dice.randrange(1, 20)))
        return lambda engine: next(left, None) is None or DONE(engine)

    bench.watch(faults(), for_a_while())
    bench.watch(faults(), for_a_while())
    bench.watch(faults())

    bench.see_that_all_went_well()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_every_first_answer_costs_a_moment_and_no_attempt(bench: Bench, fault: str) -> None:
    bench.watch(chain.from_iterable(repeat((fault, ""))))

    bench.see_that_all_went_well()
    assert bench.seen[fault] >= len(ATTEMPTS)


@pytest.mark.parametrize("fault", ["lost", "accepted"])
def test_what_was_lost_when_the_watcher_ended_is_asked_for_by_the_next_one(bench: Bench, fault: str) -> None:
    bench.watch(repeat(fault), lambda _: bench.seen[fault] >= len(PARTS))
    assert set(bench.room.states().values()) <= {"submitting", "waiting"}

    bench.watch(repeat(""))

    bench.see_that_all_went_well()


def test_a_lost_submission_is_asked_for_more_and_more_rarely(bench: Bench) -> None:
    bench.watch(chain(repeat("lost", 30), repeat("")))

    bench.see_that_all_went_well()
    lost = [record for record in bench.room.journal() if record["trigger"] == "submit_lost"]
    assert len(lost) == 30
    for job in {record["job"] for record in lost}:
        mine = [record for record in lost if record["job"] == job]
        waits = [record["set"]["wake_at"] - unstamp(record["at"]) for record in mine]
        assert waits == pytest.approx([0.02 * 2**n for n in range(len(mine))])


def test_what_is_cancelled_while_its_submission_is_lost_ends_cancelled(bench: Bench) -> None:
    lost = iter(["lost"] * len(PARTS))

    def faults() -> Iterator[str]:
        yield from lost
        bench.room.touch("last", "cancel")
        bench.room.touch("fails", "cancel")
        yield from repeat("lost", 10)
        yield from repeat("")

    bench.watch(faults())

    assert bench.room.states()["last"] == "cancelled"
    assert bench.room.states()["fails"] == "cancelled"
    assert bench.room.moves("fails")[-1][2] == "cancelled"
