import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import selection
from autoexp.errors import AutoexpError
from autoexp.model import Job, JobSpec, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoexp.plan import Planner
    from tests.conftest import Room

JOBS = [
    Job(
        spec=JobSpec(
            id=f"train-{model}-{lr}", study="s", stage="train", values={"model": model, "lr": lr}, params=more
        ),
        state=state,
        attempt=2,
    )
    for model, lr, state, more in (
        ("10M", 1e-2, State.FAILED, {"width": 160}),
        ("10M", 1e-4, State.RUNNING, {"width": 160}),
        ("25M", 1e-4, State.FAILED, {"width": 288, "lr": 5}),
    )
]
PLAIN = Job(spec=JobSpec(id="score", study="s", stage="score"))


def chosen(text: str) -> list[str]:
    read = selection.read(text)
    read.check([*JOBS, PLAIN])
    return [job.spec.id for job in (*JOBS, PLAIN) if read.chooses(job)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('model == "10M" and lr < 1e-3', ["train-10M-0.0001"]),
        ("lr == 0.0001", ["train-10M-0.0001", "train-25M-0.0001"]),
        ('state == "failed" and width >= 200', ["train-25M-0.0001"]),
        ('stage == "score"', ["score"]),
        ('not startswith(job, "train")', ["score"]),
        ('model in ["25M"] or attempt > 5', ["train-25M-0.0001"]),
        ("1 > 2", []),
    ],
)
def test_jobs_are_chosen_by_their_axes_params_and_states(text: str, names: list[str]) -> None:
    assert chosen(text) == names


@pytest.mark.parametrize("text", ["stage == score", "failed == state", "model == unheard"])
def test_a_text_without_quotes_is_told_to_have_them(text: str) -> None:
    with pytest.raises(AutoexpError, match="no job has a") as refusal:
        chosen(text)

    said = r'write "(score|failed|unheard)", if it is a text; else use one of attempt,'
    assert re.search(said, str(refusal.value.fix))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lr <", "invalid syntax"),
        ("", "invalid syntax"),
        ("rl < 1", "no job has a 'rl'"),
        ("lr.real > 1", "attribute is not allowed"),
        ("__import__('os')", "'__import__' is no function here"),
        ("model < 3", "for the job train-10M-0.01"),
    ],
)
def test_what_chooses_nothing_sensible_is_refused(text: str, why: str) -> None:
    with pytest.raises(AutoexpError, match="chooses no jobs") as refusal:
        chosen(text)

    assert why in refusal.value.why
    assert refusal.value.fix


@given(st.text(max_size=30))
def test_any_text_is_a_choice_or_refused(text: str) -> None:
    with suppress(AutoexpError):
        assert set(chosen(text)) <= {job.spec.id for job in (*JOBS, PLAIN)}


def test_a_job_of_a_checkpoint_is_chosen_by_its_iteration() -> None:
    later = Job(spec=JobSpec(id="score@0000200", study="s", stage="score", iteration=200))
    choice = selection.read("iteration > 100")

    choice.check([*JOBS, later])
    assert [job.id for job in (*JOBS, later) if choice.chooses(job)] == ["score@0000200"]


def test_status_shows_and_mark_reaches_the_jobs_that_are_chosen(room: "Room") -> None:
    room.plan("train: {sweep: {params: {lr: [1, 2, 3]}}, command: [echo, '${lr}']}\nother: {command: 'true'}\n")

    said = room.inside("status", room.root, "--where", "lr > 1", "--json")
    room.run("mark", room.root / "demo", "hold", "--where", "lr > 2")
    nothing = room.run("mark", room.root / "demo", "hold", "--where", "lr > 7")

    assert sorted(job["job"] for job in said["studies"][0]["jobs"]) == ["train-lr2", "train-lr3"]
    assert [path.parent.parent.name for path in room.root.glob("demo/jobs/*/markers/hold")] == ["train-lr3"]
    assert (nothing.returncode, "none of 4 jobs is like that" in nothing.stderr) == (1, True)


TWO = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  train: {backend: megatron, args: {lr: "${lr}", train-iters: 9}}
  later: {needs: train, command: [x, "${lr}"]}
  score: {each: {checkpoint: train}, command: [x]}
  last: {each: {job: score}, command: [x]}
"""


def restricted(planner: "Callable[..., Planner]", text: str) -> tuple[list[str], list[str]]:
    plan = planner(TWO).plan(selection.read(text))
    assert [preview.id for preview in plan.previews] == [template.id for template in plan.templates]
    return [job.id for job in plan.jobs], [template.id for template in plan.templates]


def test_a_plan_keeps_the_chosen_jobs_and_what_appears_for_them(planner: "Callable[..., Planner]") -> None:
    kept = ["score-train-lr1", "last-score-train-lr1"]

    assert restricted(planner, "lr == 1") == (["train-lr1", "later-lr1"], kept)


def test_a_plan_keeps_what_the_chosen_jobs_need(planner: "Callable[..., Planner]") -> None:
    assert restricted(planner, 'stage == "later" and lr == 2') == (["train-lr2", "later-lr2"], [])
    assert restricted(planner, 'job == "last-score-train-lr2"') == (
        ["train-lr2"],
        ["score-train-lr2", "last-score-train-lr2"],
    )


def test_what_is_left_out_does_not_appear(planner: "Callable[..., Planner]") -> None:
    plan = planner(TWO).plan(selection.read('stage == "train"'))

    assert [job.children for job in plan.jobs] == [(), ()]


def test_a_choice_that_fits_no_job_is_refused(planner: "Callable[..., Planner]") -> None:
    with pytest.raises(AutoexpError, match="fits none of the 8 jobs"):
        restricted(planner, "lr == 3")
    with pytest.raises(AutoexpError, match="no job has a 'rate'"):
        restricted(planner, "rate == 3")
