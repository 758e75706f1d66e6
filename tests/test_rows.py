import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import rows
from autoexp.model import Condition, Job, JobSpec, State, Verb
from autoexp.registry import Ledger, Registry
from autoexp.view import View

Look = Callable[..., tuple[View, Ledger]]


@pytest.fixture
def look(tmp_path: Path, make_ledger: Callable[..., Ledger]) -> Look:
    """Make a view of one study with these jobs."""

    def make(*jobs: Job, progress: Mapping[str, Any] | None = None) -> tuple[View, Ledger]:
        ledger = make_ledger(*jobs)
        registry = Registry(tmp_path / "experiments")
        registry.ledgers["demo"] = ledger
        return View(tmp_path / "experiments", tmp_path / "var", registry, None, {"jobs": progress or {}}), ledger

    return make


def test_what_needs_a_person_comes_first_and_the_rest_by_name(look: Look, make_spec: Callable[..., JobSpec]) -> None:
    states = {"b": State.SUCCEEDED, "a": State.SUCCEEDED, "c": State.RUNNING, "d": State.FAILED, "e": State.HELD}
    seen, _ = look(*(Job(spec=make_spec(name), state=state) for name, state in states.items()))

    assert [row.job for row in rows.rows(seen, "demo")] == ["d", "e", "c", "a", "b"]


def test_a_retired_job_is_shown_until_it_is_cancelled(look: Look, make_spec: Callable[..., JobSpec]) -> None:
    running = Job(spec=make_spec("running"), state=State.RUNNING, retired=True)
    gone = Job(spec=make_spec("gone"), state=State.CANCELLED, retired=True)
    cancelled = Job(spec=make_spec("cancelled"), state=State.CANCELLED)
    seen, _ = look(running, gone, cancelled)

    assert [row.job for row in rows.rows(seen, "demo")] == ["running", "cancelled"]


def test_a_waiting_job_says_what_it_waits_for_and_how_far_that_is(
    look: Look, make_spec: Callable[..., JobSpec]
) -> None:
    start = Condition(name="checkpoint_reached", params={"stage": "one", "iteration": 20}, jobs=("one",))
    parent = Job(spec=make_spec("one"), state=State.RUNNING)
    waiting = Job(spec=make_spec("two", start=start), state=State.WAITING)
    seen, ledger = look(parent, waiting, progress={"demo/one": {"iteration": 7}})

    assert rows.reason(seen, ledger, waiting) == (
        "waits for iteration 20 of one, which has no checkpoint yet, and trains at iteration 7"
    )


def test_a_job_in_backoff_says_when_it_is_tried_again(look: Look, make_spec: Callable[..., JobSpec]) -> None:
    job = Job(spec=make_spec("one"), state=State.BACKOFF, reason="exit code 3", wake_at=time.time() + 1000.4)
    seen, ledger = look(job)

    assert rows.reason(seen, ledger, job) in {f"exit code 3; next attempt in {n}s" for n in range(900, 1001)}
    late = replace(job, wake_at=time.time() - 5)
    assert rows.reason(seen, ledger, late) == "exit code 3; next attempt in 0s"


@pytest.mark.parametrize(("reason", "shown"), [("", "hold was asked"), ("it said so", "hold was asked; it said so")])
def test_a_wish_that_is_pending_comes_before_the_reason(
    look: Look, make_spec: Callable[..., JobSpec], reason: str, shown: str
) -> None:
    job = Job(spec=make_spec("one"), state=State.RUNNING, pending=Verb.HOLD, reason=reason)
    seen, ledger = look(job)

    assert rows.reason(seen, ledger, job) == shown
