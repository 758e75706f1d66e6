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

    with pytest.raises(RecipeError, match=r"cooldown\.sweep\.filter: the filter drops all 2 points"):
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
