from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoexp.model import JobSpec
from autoexp.naming import job_id, label
from autoexp.siblings import Siblings


def a_job(stage: str, **values: Any) -> JobSpec:
    return JobSpec(id=job_id(stage, values), study="s", stage=stage, values=values)


def known(*jobs: JobSpec) -> Siblings:
    siblings = Siblings()
    for job in jobs:
        siblings.add(job.stage, [job])
    return siblings


GRID = [a_job("train", model=model, lr=lr) for model, lr in product(["a", "b"], [0.1, 1])]


def test_jobs_that_agree_on_all_shared_axes_belong_together() -> None:
    siblings = known(*GRID, a_job("other", model="a"))

    assert siblings.agreeing("train", {"model": "b", "lr": 1, "tokens": 5}) == [GRID[3]]
    assert siblings.agreeing("train", {"model": "b"}) == GRID[2:]
    assert siblings.agreeing("train", {"tokens": 5}) == GRID
    assert siblings.agreeing("train", {"model": "c"}) == []
    assert siblings.agreeing("nobody", {}) == []


def test_values_agree_if_they_are_spelled_alike() -> None:
    assert known(a_job("train", lr=1)).agreeing("train", {"lr": 1.0}) != []
    assert known(a_job("train", tasks=["a", "b"])).agreeing("train", {"tasks": ("a", "b")}) != []


def test_jobs_of_one_stage_may_have_different_axes() -> None:
    one, other = a_job("train", lr=1), a_job("train", model="a")

    assert known(one, other).agreeing("train", {"lr": 2, "model": "a"}) == [other]
    assert known(one, other).agreeing("train", {"lr": 1, "model": "a"}) == [one, other]


def test_who_lacks_an_axis_that_both_stages_have_agrees_only_with_those_that_lack_it() -> None:
    by_lr, by_wd, by_both = a_job("train", lr=1), a_job("train", wd=2), a_job("train", lr=1, wd=2)
    siblings, both = known(by_lr, by_wd, by_both), {"lr", "wd"}

    assert siblings.agreeing("train", {"lr": 1}, both) == [by_lr]
    assert siblings.agreeing("train", {"wd": 2}, both) == [by_wd]
    assert siblings.agreeing("train", {"lr": 1, "wd": 2}, both) == [by_both]
    assert siblings.agreeing("train", {"seed": 3}, both) == []
    assert siblings.agreeing("train", {"wd": 2}, {"wd"}) == [by_wd, by_both]


def test_a_job_that_comes_later_is_found_too() -> None:
    siblings = known(GRID[0])
    assert siblings.agreeing("train", {"model": "a"}) == [GRID[0]]

    siblings.add("train", [GRID[1]])

    assert siblings.agreeing("train", {"model": "a"}) == GRID[:2]


VALUES = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1), max_size=3)


@given(st.lists(VALUES, max_size=6), VALUES)
def test_the_index_finds_what_a_search_finds(points: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    jobs = [a_job("train", **point) for point in points]

    found = known(*jobs).agreeing("train", wanted)

    shared = [[axis for axis in job.values if axis in wanted] for job in jobs]
    searched = [
        job
        for job, axes in zip(jobs, shared, strict=True)
        if all(label(job.values[a]) == label(wanted[a]) for a in axes)
    ]
    assert sorted(job.id for job in found) == sorted(job.id for job in searched)
