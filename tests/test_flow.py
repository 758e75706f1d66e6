from collections.abc import Callable

import pytest

from autoexp import flow
from autoexp.outline import Plan
from autoexp.plan import Planner

RECIPE = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  pretrain: {backend: megatron, args: {train-iters: 100, lr: "${lr}"}}
  cooldown:
    sweep: {params: {at: [40, 60]}}
    start: {checkpoint_reached: {stage: pretrain, iteration: "${at}"}}
    command: [cool]
  convert: {each: {checkpoint: [pretrain, cooldown]}, command: [convert, "${checkpoint}"]}
  batch: {each: {checkpoint: [pretrain], batch: 4}, command: [list]}
  choose: {start: {all: [{job_succeeded: {stage: cooldown}}, {file_exists: {path: go}}]}, command: [choose]}
"""


@pytest.fixture
def plan(planner: Callable[..., Planner]) -> Plan:
    return planner(RECIPE).plan()


def test_text_has_a_box_for_each_stage_with_its_jobs_and_what_they_wait_for(plan: Plan) -> None:
    drawn = flow.draw(plan, "text").splitlines()

    assert drawn[:4] == [
        "+------------------+",
        "| pretrain: 2 jobs |",
        "+------------------+",
        "+---------------------------------------+",
    ]
    assert [line.strip("| ") for line in drawn if line.startswith("|")] == [
        "pretrain: 2 jobs",
        "cooldown: 4 jobs",
        "after pretrain: checkpoint reached 40",
        "after pretrain: checkpoint reached 60",
        "choose: 2 jobs",
        "after cooldown: job succeeded",
        "file exists go",
        "convert: one for each checkpoint of 6",
        "after pretrain: each checkpoint",
        "after cooldown: each checkpoint",
        "batch: one for each 4 checkpoints of 2",
        "after pretrain: each checkpoint",
    ]


def test_mermaid_has_an_arrow_for_each_reason_to_wait(plan: Plan) -> None:
    lines = flow.draw(plan, "mermaid").splitlines()

    assert lines[0] == "flowchart TD"
    assert '  s0["pretrain<br/>2 jobs"]' in lines
    assert '  s0 -->|"checkpoint reached 40"| s1' in lines
    assert len(lines) == len(set(lines)), "each is drawn once"


def test_dot_is_what_graphviz_reads(plan: Plan) -> None:
    text = flow.draw(plan, "dot")

    assert '"pretrain" -> "cooldown" [label="checkpoint reached 40"]' in text
    assert text.count("{") == text.count("}") == 1


def test_a_plan_of_unusual_stages_is_drawn(planner: Callable[..., Planner]) -> None:
    recipe = "study: s\nstages: {end: {command: [a]}, graph: {needs: end, command: [b]}}"

    assert '  s0 -->|"job succeeded"| s1' in flow.draw(planner(recipe).plan(), "mermaid")


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("{not: {job_state: {stage: a, state: running}}}", ["not after a: job state running"]),
        (
            "{any: [{job_succeeded: {stage: a}}, {file_exists: {path: /x}}]}",
            ["after a: job succeeded or file exists /x"],
        ),
        ("{file_exists: {path: /x}, elapsed: {for: 3h}}", ["file exists /x", "elapsed 3h"]),
        ("{log_matches: {regex: 'a b'}}", ["log matches a b"]),
    ],
)
def test_a_box_says_what_its_jobs_wait_for_as_the_recipe_means_it(
    planner: Callable[..., Planner], start: str, told: list[str]
) -> None:
    recipe = f"study: s\nstages:\n  a: {{command: [a]}}\n  b: {{command: [b], start: {start}}}"

    drawn = flow.draw(planner(recipe).plan(), "text").splitlines()

    assert [line.strip("| ") for line in drawn if line.startswith("|")] == ["a: 1 job", "b: 1 job", *told]


def test_what_appears_for_others_waits_for_its_own_conditions_too(planner: Callable[..., Planner]) -> None:
    recipe = """
study: s
stages:
  a: {backend: megatron}
  b: {each: {checkpoint: a}, command: [b], start: {file_exists: {path: /x}}}
  c: {each: {job: b}, command: [c], start: {elapsed: {for: 3h}}}
"""
    plan = planner(recipe).plan()

    drawn = flow.draw(plan, "text").splitlines()
    assert [line.strip("| ") for line in drawn if line.startswith("|")] == [
        "a: 1 job",
        *("b: one for each checkpoint of 1", "after a: each checkpoint", "file exists /x"),
        *("c: one for each job of 1", "after b: each job", "elapsed 3h"),
    ]
    arrows = [line for line in flow.draw(plan, "mermaid").splitlines() if "-->" in line]
    assert arrows == ['  s0 -->|"each checkpoint"| s1', '  s1 -->|"each job"| s2']


def test_an_arrow_says_what_is_not_to_be_and_what_is_one_of_several(planner: Callable[..., Planner]) -> None:
    start = "{any: [{job_succeeded: {stage: a}}, {not: {job_state: {stage: a, state: running}}}]}"
    recipe = f"study: s\nstages:\n  a: {{command: [a]}}\n  b: {{command: [b], start: {start}}}"

    drawn = flow.draw(planner(recipe).plan(), "dot")

    assert '"a" -> "b" [label="or job succeeded"]' in drawn
    assert '"a" -> "b" [label="or not job state running"]' in drawn


def test_a_stage_stands_below_all_that_it_waits_for(plan: Plan) -> None:
    boxes, arrows = flow.parts(plan)

    assert flow.layers(boxes, arrows) == {"pretrain": 0, "cooldown": 1, "choose": 2, "convert": 2, "batch": 1}
    assert flow.links(arrows) == [
        *(("pretrain", "convert"), ("cooldown", "convert"), ("pretrain", "batch")),
        *(("pretrain", "cooldown"), ("cooldown", "choose")),
    ]


def test_stages_that_wait_for_each_other_stand_somewhere_all_the_same() -> None:
    boxes = [flow.Box(name, "1 job") for name in "abc"]
    arrows = [flow.Arrow("a", "b", ""), flow.Arrow("b", "a", ""), flow.Arrow("c", "c", "")]

    depth = flow.layers(boxes, arrows)

    assert depth["c"] == 0
    assert max(depth.values()) < len(boxes)
