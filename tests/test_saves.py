from collections.abc import Callable

import pytest

from autoexp.plan import Planner
from autoexp.saves import branched, saving, steps_of

Plans = Callable[..., Planner]
RECIPE = """
study: s
stages:
  pretrain:
    backend: megatron
    args: {save-interval: 100, save-extra-steps: auto, train-iters: 1000, seed: 7}
  cooldown:
    sweep: {params: {at: %s}}
    backend: megatron
    start: {checkpoint_reached: {stage: pretrain, iteration: "${at}"}}
    prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: "${at}"}}
    args: {train-iters: "${calc:'${at} + 50'}"}
"""


@pytest.mark.parametrize(
    ("points", "steps"),
    [("[200, 350, 725, 400]", (350, 725)), ("[100, 1000]", ()), ("[930]", (930,))],
    ids=["some", "none", "one"],
)
def test_a_run_saves_where_cooldowns_branch_off_besides_its_interval(
    planner: Plans, points: str, steps: tuple[int, ...]
) -> None:
    job = planner(RECIPE % points).plan().jobs[0]

    flags = ("--save-extra-steps", *map(str, steps)) if steps else ()
    at = job.argv.index("--save-interval")
    assert job.argv[at:] == ("--save-interval", "100", *flags, "--train-iters", "1000", "--seed", "7")
    assert steps_of(job) == list(steps)


def test_what_is_saved_now_is_no_branch_point_off_the_grid(planner: Plans) -> None:
    plan = planner(RECIPE % "[350]").plan()

    assert [warning["code"] for warning in plan.warnings] == []
    assert [(job.id, at, parent.id) for job, at, parent in branched(plan.jobs, "/root") if parent] == [
        ("cooldown-at350", 350, "pretrain")
    ]


def test_a_job_that_is_planned_again_saves_where_it_did(planner: Plans) -> None:
    made = planner(RECIPE % "[350]")
    job = made.plan().jobs[0]

    assert made.again(job, {}).argv == job.argv


def test_what_is_not_left_to_us_stays(planner: Plans) -> None:
    text = (RECIPE % "[350]").replace("save-extra-steps: auto", "save-extra-steps: [5]")
    job = planner(text).plan().jobs[0]

    assert saving(job, [350]) == job
    assert steps_of(job) == [5]
