from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.budget import Budget, gpus_of, in_words
from autoexp.model import ACTIVE, Job, JobSpec, Resources, State

if TYPE_CHECKING:
    from tests.conftest import Room

TWO_HOURS = Resources(nodes=2, gpus_per_node=4, walltime_s=7200)


def job(name: str = "one", state: State = State.WAITING, resources: Resources = TWO_HOURS, used: float = 0.0) -> Job:
    """A job that has used so many GPU hours."""
    return Job(spec=JobSpec(id=name, study="s", stage="t", resources=resources), state=state, gpu_seconds=used * 3600)


def test_gpus_of_all_nodes_count() -> None:
    assert gpus_of(TWO_HOURS) == 8


def test_an_attempt_that_may_go_beyond_the_budget_is_not_granted() -> None:
    budget = Budget(40.0)
    budget.note(job("old", State.SUCCEEDED, used=10.0))

    assert budget.grant(job("one"))
    assert not budget.grant(job("two"))
    assert budget.shortage(job("two")) == (
        "the study's budget is too small: of 40 GPU hours 10 are used, and what is under way may take 16; "
        "this attempt may take 16"
    )
    budget.note(job("one", State.SUCCEEDED, used=2.0))
    assert budget.grant(job("two"))


def test_an_attempt_that_is_queued_ahead_is_promised_its_share_until_it_is_the_present_one_or_taken_back() -> None:
    budget = Budget(48.0)
    one, two = (replace(job(name, State.RUNNING), ahead=2) for name in ("one", "two"))
    budget.note(one)
    budget.note(two)

    assert budget.grant_ahead(one)
    assert budget.grant_ahead(one), "a new watcher finds it queued already"
    assert (budget.grant_ahead(two), budget.promised) == (False, 48.0)
    ended = replace(one, state=State.BACKOFF, gpu_seconds=16 * 3600.0)
    budget.note(ended)
    assert (budget.grant(ended), budget.used, budget.promised) == (True, 16.0, 32.0)
    budget.note(replace(ended, state=State.RUNNING, ahead=3))
    assert not budget.grant_ahead(two)
    budget.note(replace(ended, state=State.CANCELLED, ahead=0))
    assert budget.grant_ahead(two)


def test_tenths_of_an_hour_add_up() -> None:
    budget = Budget(0.3)
    tenth = Resources(gpus_per_node=1, walltime_s=360)

    assert [budget.grant(job(name, resources=tenth)) for name in "abcd"] == [True, True, True, False]


def test_a_job_without_gpus_needs_no_budget_and_a_study_without_one_has_no_limit() -> None:
    spent = Budget(1.0)
    spent.note(job("old", State.FAILED, used=5.0))

    assert spent.grant(job("cpu", resources=Resources(walltime_s=7200)))
    assert Budget(None).grant(job())


def test_without_a_time_limit_only_what_was_used_counts() -> None:
    endless = Resources(gpus_per_node=8)
    budget = Budget(10.0)

    assert budget.grant(job("one", resources=endless))
    budget.note(job("one", State.SUCCEEDED, endless, used=10.0))
    assert not budget.grant(job("two", resources=endless))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(State), st.integers(0, 9)), max_size=20))
def test_the_sums_are_those_of_the_jobs_as_they_stand(steps: list[tuple[str, State, int]]) -> None:
    budget, jobs = Budget(100.0), {}
    for name, state, used in steps:
        jobs[name] = job(name, state, used=used)
        budget.note(jobs[name])

    assert budget.used == pytest.approx(sum(one.gpu_seconds for one in jobs.values()) / 3600)
    assert budget.promised == pytest.approx(sum(16 for one in jobs.values() if one.state in ACTIVE))
    assert budget.as_json()["used"] == pytest.approx(budget.used, abs=0.001)


RECIPE = """
study: demo
machine: bench
budget: {gpu_hours: 0.04}
stages:
  one: {command: sleep 0.6, resources: {gpus_per_node: 4, walltime: 30s}}
  two: {needs: one, command: 'true', resources: {gpus_per_node: 1, walltime: 1h}}
  three: {needs: one, command: 'true'}
"""


def test_a_study_that_has_used_its_budget_submits_no_more_until_it_gets_a_bigger_one(room: "Room") -> None:
    room.machine(gpus=4, sweep="1s")
    assert room.run("plan", room.write("demo.yaml", RECIPE)).returncode == 0
    room.watch()
    room.wait_for({"one": "succeeded", "two": "waiting", "three": "succeeded"})

    said = room.run("status", room.root).stdout
    assert "budget: of 0.04 GPU hours 0.0" in said
    assert "the study's budget is too small" in said
    assert "budget: the study's budget is too small" in room.run("why", "demo/two").stdout
    assert room.run("plan", room.write("demo.yaml", RECIPE.replace("0.04", "5"))).returncode == 0

    room.wait_for({"two": "succeeded"})
    (study,) = room.inside("status", str(room.root), "--json")["studies"]
    assert study["gpu_hours"]["used"] < 1
    assert study["gpu_hours"]["promised"] == 0


def test_what_an_attempt_used_counts_even_if_it_was_withdrawn_or_failed() -> None:
    budget = Budget(1.0)
    failed = job("one", State.BACKOFF, used=0.9)
    budget.note(failed)

    assert budget.shortage(failed)
    assert not budget.shortage(replace(failed, spec=replace(failed.spec, resources=Resources())))


def test_hours_are_written_as_people_read_them() -> None:
    assert [*map(in_words, (0, 0.25, 9.5, 123.456, 1000, 21478.3, 1e6))] == [
        *("0", "0.25", "9.5", "123.5", "1,000", "21,478", "1,000,000")
    ]
