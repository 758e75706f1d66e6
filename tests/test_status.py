from itertools import permutations
from typing import Any

import pytest

from autoexp.model import Job, JobSpec, State
from autoexp.status import COLORS, ORDER, Row, age, as_json, counts, lines, progress_of, row, sort, summary


def a_row(state: State, job: str = "a", **fields: Any) -> Row:
    usual: dict[str, Any] = {"reason": "", "attempt": 1, "iteration": None, "since": None, "scheduler_id": None}
    return Row(job=job, stage="t", state=state, **(usual | fields))


def a_job(state: State | None = State.RUNNING, **fields: Any) -> Job:
    return Job(spec=JobSpec(id="train-lr1", study="s", stage="train"), state=state, **fields)


def test_every_state_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(State)
    assert len(ORDER) == len(State)
    assert set(COLORS) <= set(State)


def test_what_needs_a_person_comes_first_and_what_is_done_last() -> None:
    rows = [a_row(state, job) for state in (State.SUCCEEDED, State.RUNNING, State.FAILED, State.HELD) for job in "ba"]

    assert [(r.state, r.job) for r in sort(rows)] == [
        (state, job) for state in (State.FAILED, State.HELD, State.RUNNING, State.SUCCEEDED) for job in "ab"
    ]


def test_a_row_says_where_a_job_stands() -> None:
    job = a_job(attempt=2, scheduler_id="77", since=100.0, checkpoints=(200,))

    made = row(job, {"iteration": 250, "train_iters": 1000, "loss": 2.34567}, "why", 160.0, "2026-03-01T10:00:00Z")

    assert as_json(made) == {
        "job": "train-lr1",
        "stage": "train",
        "state": "running",
        "reason": "why",
        "attempt": 2,
        "iteration": 250,
        "since": "2026-03-01T10:00:00Z",
        "scheduler_id": "77",
    }
    assert (made.progress, made.age_s) == ("250/1000 loss 2.346", 60.0)


def test_a_job_that_was_never_watched_waits() -> None:
    made = row(a_job(None), {}, "", 160.0, None)

    assert (made.state, made.attempt, made.since, made.age_s, made.iteration) == (State.WAITING, 0, None, None, None)


def test_a_clock_that_went_back_makes_no_age_below_zero() -> None:
    assert row(a_job(since=100.0), {}, "", 50.0, "t").age_s == 0.0


@pytest.mark.parametrize(
    ("training", "checkpoints", "progress"),
    [
        ({"iteration": 5, "train_iters": 10, "loss": 1.0}, (), "5/10 loss 1.000"),
        ({"iteration": 5, "train_iters": 10, "loss": None}, (), "5/10"),
        ({}, (100, 50), "checkpoint 100"),
        ({}, (), ""),
    ],
)
def test_progress_is_the_iteration_or_the_newest_checkpoint(
    training: dict[str, Any], checkpoints: tuple[int, ...], progress: str
) -> None:
    assert progress_of(a_job(checkpoints=checkpoints), training) == progress


@pytest.mark.parametrize(
    ("iterations", "progress"), [((100,), "iteration 100"), ((100, 300, 500), "3 iterations, 100 to 500")]
)
def test_of_a_batch_its_iterations_are_shown(iterations: tuple[int, ...], progress: str) -> None:
    job = Job(spec=JobSpec(id="c@0000500", study="s", stage="c", iteration=500, iterations=iterations))

    assert progress_of(job, {}) == progress
    assert as_json(row(job, {}, "", 0.0, None))["iterations"] == list(iterations)


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (None, ""),
        (0, "0s"),
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3661, "1h1m"),
        (90061, "1d1h"),
    ],
)
def test_an_age_is_spelled_in_its_two_largest_units(seconds: float | None, spelled: str) -> None:
    assert age(seconds) == spelled


def test_columns_line_up_and_trailing_space_is_gone() -> None:
    rows = [
        a_row(State.RUNNING, "short", progress="5/10", age_s=60, reason=""),
        a_row(State.SUCCEEDED, "a-longer-name", age_s=3600, reason="done"),
    ]

    assert lines(rows, colors=False) == [
        "running    short          5/10  1m",
        "succeeded  a-longer-name        1h  done",
    ]
    assert lines([], colors=False) == []


def test_colours_wrap_the_state_alone() -> None:
    (plain,) = lines([a_row(State.FAILED, reason="x")], colors=False)
    (colored,) = lines([a_row(State.FAILED, reason="x")], colors=True)
    (waiting,) = lines([a_row(State.WAITING)], colors=True)

    assert colored == plain.replace("failed", "\x1b[31mfailed\x1b[0m")
    assert "\x1b" not in waiting


def test_a_summary_counts_by_state() -> None:
    rows = [a_row(State.SUCCEEDED), a_row(State.FAILED), a_row(State.SUCCEEDED)]

    assert counts(rows) == {State.FAILED: 1, State.SUCCEEDED: 2}
    assert {summary(order) for order in permutations(rows)} == {"1 failed, 2 succeeded"}
    assert summary([]) == "no jobs"
