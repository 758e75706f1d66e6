import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import lease
from autoexp.errors import AutoexpError
from autoexp.journal import unstamp
from autoexp.model import State
from autoexp.view import View, view
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

STAGES = "one: {command: 'true'}\nidle: {command: 'true'}\n"


@pytest.fixture
def done(room: "Room") -> "Room":
    """A study that was watched until its jobs were over or held."""
    room.plan(STAGES)
    room.touch("idle", "hold")
    with watching(room.root, lease.var_of(room.root), None, logging.getLogger("test"), lambda _: None) as engine:
        engine.run(until_done())
        room.wait_until(lambda: not room.processes())
    return room


def states(seen: View, study: str = "demo") -> dict[str, State | None]:
    return {name: job.state for name, job in seen.registry.ledgers[study].jobs.items()}


def test_a_study_that_nobody_ever_watched_waits(room: "Room") -> None:
    room.plan(STAGES)

    seen = view(room.root)

    assert states(seen) == {"one": State.WAITING, "idle": State.WAITING}
    assert (seen.watcher, list(seen.records()), seen.problems) == (None, [], {})


def test_jobs_that_ran_unknown_to_the_journal_are_told(done: "Room") -> None:
    shutil.rmtree(done.var)

    seen = view(done.root)

    assert states(seen)["one"] is State.WAITING
    assert seen.problems["demo"].startswith("1 of its jobs have run, and the journal does not know of it")


def test_what_the_journal_says_is_folded_over_the_plan(done: "Room") -> None:
    seen = view(done.root)

    assert states(seen) == {"one": State.SUCCEEDED, "idle": State.HELD}
    assert list(seen.records()) == done.journal()
    assert list(seen.records("demo", "one")) == [r for r in done.journal() if r["job"] == "one"]


def test_what_came_later_can_be_left_out(done: "Room") -> None:
    submitted = next(record["at"] for record in done.journal() if record["trigger"] == "submitted")

    seen = view(done.root, until=unstamp(submitted))

    assert states(seen)["one"] is State.QUEUED
    assert list(seen.records())[-1]["at"] == submitted


def test_studies_come_by_name_and_one_that_cannot_be_read_is_a_problem(done: "Room") -> None:
    for study in ("b", "a"):
        done.plan(STAGES, study=study)
    (done.root / "b" / "plan.json").write_text("{}")

    seen = view(done.root)

    assert [ledger.study.name for ledger in seen.ledgers()] == ["a", "demo"]
    assert list(seen.problems) == ["b"]


def write_progress(room: "Room") -> None:
    jobs = {"demo/one": {"iteration": 7, "loss": 3.5}, "demo/idle": {"loss": 2.0}, "demo/odd": "nonsense"}
    (room.var / "progress.json").write_text(json.dumps({"v": 1, "jobs": jobs, "problems": {"root": "it is odd"}}))


def test_how_far_jobs_are_counts_while_a_watcher_tells_and_its_problems_until_the_next_one(room: "Room") -> None:
    room.plan("one: {command: 'sleep 60'}\nidle: {command: 'true'}\n")
    watcher = room.watch()
    room.wait_for({"one": "running", "idle": "succeeded"})
    room.stop(watcher)
    write_progress(room)
    alone = view(room.root)
    lease_file = room.root / ".autoexp" / "lease.json"
    lease_file.write_text(json.dumps({**json.loads(lease_file.read_bytes()), "held": True, "host": "elsewhere"}))

    watched = view(room.root)

    assert (alone.watcher, alone.problems, alone.iterations("demo")) == (None, {"root": "it is odd"}, {})
    assert watched.watcher is not None
    assert watched.watcher["host"] == "elsewhere"
    assert watched.problems == {"root": "it is odd"}
    assert watched.iterations("demo") == {"one": 7}
    assert watched.training("demo", "one") == {"iteration": 7, "loss": 3.5}
    assert (watched.training("demo", "odd"), watched.training("demo", "none")) == ({}, {})


def test_a_lease_that_cannot_be_read_is_an_error_and_not_nobody(done: "Room") -> None:
    (done.root / ".autoexp" / "lease.json").write_text("torn")

    with pytest.raises(AutoexpError, match="it says who watches"):
        view(done.root)


def test_looking_leaves_no_trace(done: "Room") -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in done.home.rglob("*")}

    before = stamps()
    view(done.root)

    assert stamps() == before
