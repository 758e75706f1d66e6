from collections.abc import Callable
from typing import Any

import pytest

from autoexp import selection
from autoexp.lint.sweeps import names_read
from autoexp.plan import Planner

Plans = Callable[..., Planner]
Warned = Callable[..., list[dict[str, Any]]]
BY_GROUP = """
study: v
sweep: {type: list, groups: [{params: {a: [1]}}, {params: {b: [1]}}]}
stages: {t: {params: {a: 5, b: 6}, command: [echo, "${a} ${b}"]}}
"""
ENTRIES = """
study: h
params: {lr: 5, seed: 1}
sweep: {configs: {m: [{x: {lr: 1}}, {y: {lr: 2}}]}}
stages: {t: {command: [echo, "${lr} ${seed}"]}}
"""


def codes(found: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {each["code"]: each["jobs"] for each in found}


def test_an_axis_that_nothing_reads_is_told_once_with_its_place(warned: Warned) -> None:
    more = """
        sweep:
          params: {lr: [1, 2]}
          groups:
            - configs: {model: [{small: {width: 1}}, {large: {width: 2}}]}
        """
    stages = """
        a: {command: [run, "${lr}"], sweep: {params: {seed: [1, 2]}}}
        b: {command: [run, "${lr}"]}
        """

    found = warned(stages, more)

    assert [(each["code"], each["where"].partition(" ")[2]) for each in found] == [
        ("unused-axis", "sweep.groups.0.configs.model"),
        ("unused-axis", "stages.a.sweep.params.seed"),
    ]
    assert "nothing reads the axis model" in found[0]["message"]


@pytest.mark.parametrize(
    ("sweep", "path"),
    [
        pytest.param("{configs: [{lr: 1, wd: 2}, {lr: 2, wd: 2}]}", "configs.0.lr", id="of whole configurations"),
        pytest.param(
            "{configs: {m: [{a: {params: {depth: [1, 2]}}}]}}", "configs.m.0.a.params.depth", id="of an entry"
        ),
        pytest.param("{params: {lr: [1, 2, 3]}, filter: \"${calc:'${lr} < 3'}\"}", "params.lr", id="only filtered"),
    ],
)
def test_an_axis_that_makes_no_job_another_one_is_told_wherever_it_stands(
    planner: Callable[..., Planner], sweep: str, path: str
) -> None:
    recipe = f"study: s\nsweep: {sweep}\nstages: {{a: {{command: [run]}}}}"

    told = [warning for warning in planner(recipe).plan().warnings if warning["code"] == "unused-axis"]

    assert [str(warning["where"]).partition(": ")[2] for warning in told] == [f"sweep.{path}"]


def test_a_stage_s_own_axis_is_read_by_that_stage_and_by_what_appears_for_it(warned: Warned) -> None:
    more = "sweep: {params: {seed: [1, 2]}}\n"
    train = "train: {command: [run, '${seed}']}\n"
    data = "data: {axes: [], sweep: {params: {seed: [3, 4]}}, command: [tokenize%s]}\n"

    (found,) = warned(train + data % "", more)
    assert (found["code"], found["where"].partition(": ")[2]) == ("unused-axis", "stages.data.sweep.params.seed")
    assert warned(train + data % ", '${seed}'", more) == []
    assert warned(f"{train}{data % ''}after: {{each: {{job: data}}, command: [say, '${{seed}}']}}\n", more) == []
    asking = "after: {axes: [], sweep: {params: {seed: [3, 4]}}, command: [say, '${sibling.data.params.seed}']}\n"
    assert [each["where"].partition(": ")[2] for each in warned(train + data % "" + asking, more)] == []


def test_a_param_that_an_axis_stands_over_is_told(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2]}}\nparams: {lr: 0}\n"

    (found,) = warned("a: {params: {lr: 3}, command: [run, '${lr}']}\n", more)

    assert (found["code"], found["where"].partition(": ")[2]) == ("hidden-param", "stages.a.params.lr")
    assert warned("a: {axes: [], params: {lr: 3}, command: [x, '${lr}']}\nb: {command: [x, '${lr}']}", more) == []
    (found,) = warned("a: {command: [x, '${lr}']}\nb: {each: {job: a}, params: {lr: 3}, command: [x, '${lr}']}", more)
    assert found["where"].partition(": ")[2] == "stages.b.params.lr"
    some = "sweep: {configs: {model: [{a: {w: 1}}, b]}}\n"
    assert warned("a: {params: {w: 3}, command: [x, '${w}']}", some) == []


@pytest.mark.parametrize(
    "sweep",
    [
        pytest.param("{type: zip, params: {a: [1, 2], b: [3, 4]}}", id="zipped"),
        pytest.param("{configs: [{a: 1, b: 3}, {a: 2, b: 4}]}", id="whole configurations"),
        pytest.param("{configs: {m: [{s: {type: zip, params: {a: [1, 2], b: [3, 4]}}}]}}", id="zipped in an entry"),
        pytest.param("{type: zip, params: {b: [3, 4]}, groups: [{params: {a: [1, 2]}}]}", id="zipped with a group"),
    ],
)
def test_an_axis_that_makes_no_points_of_its_own_may_go_unread(warned: Warned, sweep: str) -> None:
    assert warned("t: {command: [run, '${a}']}\n", f"sweep: {sweep}\n") == []
    both = "t: {command: [run, '${a} ${b}']}\nu: {command: [run, '${a}']}\n"
    assert warned(both, f"sweep: {sweep}\n") == []
    assert {each["code"] for each in warned("t: {command: [run]}\n", f"sweep: {sweep}\n")} == {"unused-axis"}


def test_what_the_sweep_stands_over_in_the_chosen_jobs_alone_is_read_by_the_others(planner: Plans) -> None:
    plan = planner(BY_GROUP).plan(selection.read("b == 1"))

    assert [job.id for job in plan.jobs] == ["t-b1"]
    assert plan.warnings == ()


def test_a_param_of_the_command_line_that_changes_nothing_is_told(planner: Plans) -> None:
    (told,) = planner(ENTRIES, "lr=7").plan().warnings

    assert (told["code"], told["where"]) == ("hidden-param", "the command line (lr=7): params.lr")
    assert "stands over this param in all jobs, and setting it changes nothing; pin m" in str(told["message"])
    assert planner(ENTRIES, "seed=7").plan().warnings == ()
    assert planner(ENTRIES.replace("y: {lr: 2}", "y: {}"), "lr=7").plan().warnings == ()
    assert planner(ENTRIES).plan().warnings == ()


def test_an_axis_that_no_stage_has_is_told_as_that(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2], seed: [1, 2]}}\n"

    (found,) = warned("a: {axes: [lr], command: [run, '${lr}']}\nb: {each: {job: a}, command: [say]}\n", more)

    assert found["message"] == "no stage has the axis seed; name it in the axes: of one, or remove it"


def test_a_stage_whose_jobs_do_the_same_work_is_told_which_axis_makes_them(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2]}, configs: {model: [{a: {w: 1}}, {b: {w: 2}}]}}\nparams: {rate: '${lr}'}\n"
    train = "train: {command: [run, '${rate}', '${w}']}\n"

    (found,) = warned(f"data: {{command: [tokenize, '${{w}}']}}\n{train}", more)
    assert (found["code"], found["jobs"]) == ("same-work", [])
    assert "nothing in data reads the axis lr: its jobs do the same work several times; name the" in found["message"]
    assert warned(f"data: {{axes: model, command: [tokenize, '${{w}}']}}\n{train}", more) == []
    lent = more.replace("lr: [1, 2]}", "lr: [1, 2]}, defaults: {wd: '${lr}'}")
    assert warned(f"{train}data: {{command: [tokenize, '${{w}}', '${{wd}}']}}\n", lent) == []
    assert warned(f"{train}score: {{needs: train, command: [score]}}\n", more) == [], "they wait for different jobs"
    assert warned(f"{train}score: {{command: [score, '${{sibling.train.dir}}']}}\n", more) == []


def test_a_flag_called_filter_reads_an_axis_as_any_other(warned: Warned) -> None:
    stages = "a: {backend: command, params: {program: run}, args: {filter: '${lr}'}}"

    assert warned(stages, "sweep: {params: {lr: [1, 2]}}\n") == []


def test_names_are_found_in_values_of_any_shape() -> None:
    raw = {"a": ["${x}", ("${ y }/${z.w}", 3)], "b": "${calc:'${v} + 1'}"}

    assert [*names_read(raw)] == ["x", "y", "z", "calc", "v"]


def test_a_param_that_only_the_stage_s_own_sweep_reads_is_not_called_hidden(warned: Warned) -> None:
    stages = """
        train:
          sweep: {params: {steps: ["${calc:'${steps} * 2'}", 5]}}
          params: {steps: 10}
          command: [run, "${steps}"]
        """

    assert codes(warned(stages)) == {}
