from collections.abc import Callable

import pytest

from autoexp.errors import RecipeError
from autoexp.plan import Planner

Plans = Callable[..., Planner]

WSD = """
study: s
sweep: {params: {model: [10M, 50M], steps: [100, 300]}}
stages:
  train:
    backend: megatron
    params: {program: p.py}
    args: {train-iters: "${steps}", save-interval: 50}
  cooldown:
    sweep:
      params: {share: [0.2, 0.6]}
      %s
    params:
      branch: "${calc:'wsd_branch(${steps}, ${share}, 50)'}"
    needs: train
    command: [echo, "${branch}"]
"""


def ids(planner: Planner, stage: str) -> list[str]:
    return [job.id for job in planner.plan().jobs if job.stage == stage]


def test_a_stage_s_filter_sees_the_study_s_axes_and_the_stage_s_own_params(planner: Plans) -> None:
    made = planner(WSD % 'filter: "${calc:\'${branch} > 50 and ${model} == \\"10M\\"\'}"')

    assert ids(made, "cooldown") == ["cooldown-model10M-steps300-share0.2", "cooldown-model10M-steps300-share0.6"]
    assert len(ids(made, "train")) == 4


def test_what_a_stage_requires_may_speak_of_the_study_s_axes(planner: Plans) -> None:
    made = planner(WSD % "require: \"${calc:'${steps} < 300'}\"")

    with pytest.raises(RecipeError, match=r"stages\.cooldown\.sweep\.require: the point .* is not what") as caught:
        made.plan()

    assert "'steps': 300" in str(caught.value)


def test_the_values_of_a_stage_s_axis_may_be_made_of_the_study_s(planner: Plans) -> None:
    text = """
        study: s
        sweep: {params: {lr: [1, 2]}}
        stages:
          train: {sweep: {params: {decay: [0, "${calc:'${lr} * 10'}"]}}, command: [echo, "${lr}", "${decay}"]}
    """
    planned = planner(text).plan()

    assert [job.argv[1:] for job in planned.jobs] == [("1", "0"), ("1", "10"), ("2", "0"), ("2", "20")]


def test_a_filter_that_drops_every_job_of_a_stage_is_refused(planner: Plans) -> None:
    made = planner(WSD % "filter: \"${calc:'${steps} > 1000'}\"")

    with pytest.raises(
        RecipeError, match=r"cooldown\.sweep\.filter: the filter leaves cooldown no job at any of its 4 points"
    ):
        made.plan()


def test_a_filter_inside_that_drops_everything_at_one_place_is_refused(planner: Plans) -> None:
    made = planner(WSD % "groups: [{params: {seed: [1, 2]}, filter: \"${calc:'${steps} > 100'}\"}]")

    with pytest.raises(RecipeError, match=r"cooldown\.sweep\.groups\.0\.filter: the filter drops all 2 points"):
        made.plan()


def test_the_filter_of_a_stage_that_appears_for_others_sees_their_names(planner: Plans) -> None:
    text = """
        study: s
        sweep: {configs: {model: [small: {layers: 2}, large: {layers: 8}]}}
        stages:
          train: {command: [echo, "${layers}"]}
          score:
            each: {job: train}
            sweep: {filter: "${calc:'${layers} > 2'}"}
            command: [echo, "${model}"]
          tell: {each: {job: score}, command: [echo, "${model}"]}
    """
    planned = planner(text).plan()

    assert [template.id for template in planned.templates] == ["score-train-modellarge", "tell-score-train-modellarge"]


def test_a_name_that_the_filter_does_not_have_is_told_where_it_is_written(planner: Plans) -> None:
    made = planner(WSD % "filter: \"${calc:'${brunch} > 0'}\"")

    with pytest.raises(RecipeError, match=r"cooldown\.sweep\.filter: \$\{brunch\} is not defined") as caught:
        made.plan()

    assert "did you mean branch?" in str(caught.value)


LARGE = "\"${calc:'${share} > 1'}\""
SHARES = """
study: s
params: {share: 7, far: "${calc:'${share} * 100'}"}
sweep: {params: {lr: [2, 3]}}
stages:
  cool:
    sweep: %s
    params: {share: 5, tokens: "${calc:'${lr} * 100'}"}
    command: [echo, "${share}"]
"""


@pytest.mark.parametrize(
    ("sweep", "name"),
    [
        ("{params: {share: [0.2, 0.6], x: [\"${calc:'${share} * 10'}\"]}}", "share"),
        ("{groups: [{params: {seed: [1]}, filter: \"${calc:'${share} > 1'}\"}, {params: {share: [0.2]}}]}", "share"),
        ("{groups: [{params: {seed: [1]}, filter: \"${calc:'${far} > 1'}\"}, {params: {share: [0.2]}}]}", "share"),
        ("{params: {share: [1]}, configs: {m: [{a: {params: {n: [1]}, filter: LARGE}}]}}", "share"),
        ("{configs: [{n: \"${calc:'${share}'}\", share: 2}]}", "share"),
        ("{defaults: {share: 1}, params: {x: [\"${calc:'${share} * 10'}\"]}}", "share"),
        ("{configs: {m: [{a: {share: 1}}]}, groups: [{params: {y: [1]}, filter: LARGE}]}", "share"),
    ],
)  # fmt: skip
def test_a_part_of_a_sweep_does_not_see_another_meaning_of_what_the_sweep_gives_the_point(
    planner: Plans, sweep: str, name: str
) -> None:
    with pytest.raises(RecipeError, match=rf"\$\{{{name}\}} is not defined"):
        planner(SHARES % sweep.replace("LARGE", LARGE)).plan()


@pytest.mark.parametrize(
    ("sweep", "shares"),
    [
        ("{params: {share: [\"${calc:'${share} * 2'}\", 1]}}", [10, 1]),
        ("{type: list, groups: [{params: {seed: [1]}, filter: LARGE}, {params: {share: [2]}}]}", [5, 2]),
        ('{configs: [{share: 3}, {seed: "${share}"}]}', [3, 5]),
        ("{configs: {m: [{a: {share: 3}}, {b: {params: {n: [1]}, filter: \"${calc:'${share} == 5'}\"}}]}}", [3, 5]),
        ("{filter: \"${calc:'${tokens} > 250'}\"}", [5]),
    ],
)  # fmt: skip
def test_what_other_points_are_given_hides_nothing_and_an_axis_may_be_made_of_what_it_stands_over(
    planner: Plans, sweep: str, shares: list[int]
) -> None:
    jobs = planner(SHARES % sweep.replace("LARGE", LARGE), "sweep.params.lr=[3]").plan().jobs

    assert [job.argv[1] for job in jobs] == list(map(str, shares))


def test_an_each_stage_may_not_give_another_meaning_to_an_axis_of_what_it_appears_for(planner: Plans) -> None:
    recipe = """
        study: s
        stages:
          train: {sweep: {params: {lr: [1, 2]}}, command: [train]}
          score: {each: {job: train}, sweep: {%s}, command: [score]}
    """
    for own in ("params: {lr: [3]}", "defaults: {lr: 3}"):
        with pytest.raises(RecipeError, match=r"stages\.score\.sweep: 'lr' is an axis of train"):
            planner(recipe % own).plan()


def test_an_error_in_a_stage_s_sweep_says_at_which_point(planner: Plans) -> None:
    made = planner(WSD % "filter: \"${calc:'1 / (${steps} - 300) < 0'}\"")

    with pytest.raises(RecipeError) as caught:
        made.plan()

    assert "for the sweep of the stage cooldown at {'model': '10M', 'steps': 300}" in str(caught.value)


def test_a_stage_s_sweep_may_ask_on_which_machine_it_is(planner: Plans) -> None:
    made = planner(WSD % 'filter: "${calc:\'${machine} == \\"here\\" and ${stage} == \\"cooldown\\"\'}"')

    assert len(ids(made, "cooldown")) == 8


def test_what_the_study_s_sweep_lends_is_seen_and_what_a_parent_s_stage_defines_is_not(planner: Plans) -> None:
    recipe = """
        study: s
        sweep: {params: {lr: [1, 2]}, defaults: {wide: 4}}
        stages:
          train: {params: {own: 1}, sweep: {filter: "${calc:'${wide} == 4 and ${lr} == 2'}"}, command: [train]}
          score: {each: {job: train}, sweep: {filter: "${calc:'${wide} + ${own} > 0'}"}, command: [score]}
    """
    with pytest.raises(RecipeError, match=r"score\.sweep\.filter: \$\{own\} is not defined"):
        planner(recipe).plan()


def test_a_stage_s_param_that_fails_in_its_filter_is_to_blame(planner: Plans) -> None:
    text = (WSD % "filter: \"${calc:'${branch} > 0'}\"").replace("wsd_branch(${steps}, ${share}, 50)", "1 / 0")

    with pytest.raises(RecipeError, match=r"stages\.cooldown\.params\.branch: "):
        planner(text).plan()
