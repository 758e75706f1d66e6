from collections.abc import Callable
from typing import Any

from autoexp import selection
from autoexp.model import Condition, Job, JobSpec, State
from autoexp.page.graph import graph
from autoexp.registry import Ledger

Make = Callable[..., Ledger]


def job_of(make_spec: Callable[..., JobSpec], name: str, stage: str, values: dict[str, Any], **spec: Any) -> Job:
    return Job(spec=make_spec(name, stage=stage, values=values, **spec), state=State.WAITING)


def test_stages_have_their_jobs_what_they_wait_for_and_how_deep_they_stand(
    make_spec: Callable[..., JobSpec], make_ledger: Make
) -> None:
    start = Condition(name="job_succeeded", jobs=("a1",))
    jobs = [job_of(make_spec, "a1", "a", {}), job_of(make_spec, "b1", "b", {}, start=start)]

    drawn = graph(make_ledger(*jobs))

    assert [(stage["stage"], stage["layer"], stage["waits"]) for stage in drawn["stages"]] == [
        ("a", 0, []),
        ("b", 1, ["after a: job succeeded"]),
    ]
    assert drawn["stages"][0]["groups"] == [{"label": "", "where": "", "jobs": ["a1"]}]
    assert drawn["arrows"] == [("a", "b")]


def test_jobs_are_grouped_by_an_axis_and_a_group_says_how_it_is_chosen(
    make_spec: Callable[..., JobSpec], make_ledger: Make
) -> None:
    points = [{"lr": 0.1, "model": "it's"}, {"lr": 0.2, "model": "it's"}, {}, {"lr": 0.1, "model": "b", "same": 1}]
    jobs = [job_of(make_spec, f"a{number}", "a", values) for number, values in enumerate(points)]
    ledger = make_ledger(*jobs)

    assert graph(ledger)["axes"] == ["lr", "model"], "what is the same in all tells none apart"
    for axis, expected in (("lr", [["a0", "a3"], ["a1"], ["a2"]]), ("model", [["a0", "a1"], ["a3"], ["a2"]])):
        (stage,) = graph(ledger, axis)["stages"]
        assert [group["jobs"] for group in stage["groups"]] == expected
        for group in stage["groups"][:-1]:
            choice = selection.read(group["where"])
            assert [job.id for job in jobs if choice.chooses(job)] == group["jobs"]
        assert stage["groups"][-1]["label"] == "", "those without a value are last"


def test_what_the_recipe_dropped_is_drawn_while_it_is_there(
    make_spec: Callable[..., JobSpec], make_ledger: Make
) -> None:
    ledger = make_ledger(job_of(make_spec, "a1", "a", {}))
    for name, state in (("old", State.RUNNING), ("gone", State.CANCELLED)):
        ledger.put(Job(spec=make_spec(name, stage=name), state=state, retired=True))

    drawn = graph(ledger)

    assert [(stage["stage"], len(stage["groups"])) for stage in drawn["stages"]] == [("a", 1), ("old", 1)]
