import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp.report.evaluations import Evaluation, Score
from autoexp.report.results import read


def only(maker: Any) -> Evaluation:
    (run,) = read(maker.study()).runs
    (evaluation,) = run.evaluations
    found: Evaluation = evaluation
    return found


def test_an_evaluation_belongs_to_the_training_job_at_the_end_of_its_parents(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, 2.5)
    evaluation = only(maker)
    assert (evaluation.job, evaluation.iteration, evaluation.loss) == ("evaluate-convert-pretrain@0000200", 200, 2.5)
    assert evaluation.perplexity == pytest.approx(math.exp(2.5))


def test_each_iteration_of_a_batch_is_an_evaluation_of_its_own(maker: Any) -> None:
    maker.evaluate_batch(maker.train("pretrain"), {100: 2.5, 200: 2.25, 300: None})
    (run,) = read(maker.study()).runs

    assert [(e.iteration, e.loss, e.problem) for e in run.evaluations] == [
        (100, 2.5, ""),
        (200, 2.25, ""),
        (300, None, "there is no eval/results.json"),
    ]
    assert {(e.job, e.measure) for e in run.evaluations} == {("evaluate-convert-pretrain@0000300", "evaluate")}


def test_a_missing_perplexity_is_that_of_the_loss(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, {"loss": 2.0})
    assert only(maker).perplexity == pytest.approx(math.e**2)


def test_an_iteration_that_the_plan_does_not_know_is_taken_from_the_results(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), None, {"loss": 2.0, "iteration": 300})
    assert only(maker).iteration == 300


def test_results_that_are_not_there_yet_say_why(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, None)
    assert only(maker).problem == "there is no eval/results.json"


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        pytest.param(b'{"loss": 2.', "cannot be read", id="torn"),
        pytest.param(b"\xff\xfe\x00", "cannot be read", id="binary"),
        pytest.param(b"[" * 100_000, "cannot be read", id="nested too deep"),
        pytest.param(b'{"loss": NaN}', "its loss is nan", id="not a number"),
        pytest.param(b'{"loss": 1e999}', "its loss is inf", id="infinite"),
        pytest.param(b'{"loss": "2.5"}', "its loss is '2.5'", id="text"),
        pytest.param(b'{"perplexity": 3}', "it has no loss", id="no loss"),
        pytest.param(b"[1, 2]", "it has no loss", id="a list"),
    ],
)
def test_results_that_are_no_results_are_missing_with_the_reason(maker: Any, results: bytes, reason: str) -> None:
    maker.evaluate(maker.train("pretrain"), 200, results)
    evaluation = only(maker)
    assert (evaluation.loss, evaluation.perplexity) == (None, None)
    assert reason in evaluation.problem


def test_a_loss_too_large_for_a_perplexity_has_none(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, {"loss": 1e6})
    assert (only(maker).loss, only(maker).perplexity) == (1e6, None)


def test_evaluations_on_two_texts_are_two_measures(maker: Any) -> None:
    maker.train("pretrain")
    for text in ("wiki", "code"):
        maker.evaluate("pretrain", 200, 2.0, values={"text": text})
    assert read(maker.study()).measures == ("evaluate, text wiki", "evaluate, text code")


def test_evaluations_of_jobs_that_the_plan_has_no_more_are_counted(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain-lr1"), 200, 2.0)
    del maker._planned["pretrain-lr1"]
    maker.train("pretrain-lr2")
    assert read(maker.study()).problems == ("1 evaluations belong to no training job of the study",)


def score(task: str = "piqa", **fields: Any) -> dict[str, Any]:
    return {"task": task, "metric": "acc", "value": 0.75, "stderr": 0.125, "few_shot": 0, "samples": 12, **fields}


def test_scores_are_no_loss_and_lack_none(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, {"scores": [score(), score("half", value=1, stderr=None)]})
    evaluation = only(maker)
    assert (evaluation.of_tasks, evaluation.loss, evaluation.problem) == (True, None, "")
    assert evaluation.scores == (
        Score(task="piqa", metric="acc", value=0.75, stderr=0.125, few_shot=0, samples=12),
        Score(task="half", metric="acc", value=1.0, few_shot=0, samples=12),
    )
    assert read(maker.study()).measures == ()


def test_a_loss_beside_scores_counts_too(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, {"loss": 2.0, "scores": [score()]})
    evaluation = only(maker)
    assert (evaluation.of_tasks, evaluation.loss, len(evaluation.scores)) == (False, 2.0, 1)
    assert read(maker.study()).measures == ("evaluate",)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", True])
def test_a_score_that_is_no_number_is_none(maker: Any, value: object) -> None:
    maker.evaluate(maker.train("pretrain"), 200, {"scores": [score(value=value)]})
    assert [found.value for found in only(maker).scores] == [None]


def test_scores_that_are_not_there_yet_are_no_kind_of_loss(maker: Any) -> None:
    argv = ("python", "evaluate.py", "--tasks", "piqa")
    maker.evaluate(maker.train("pretrain"), 200, None, stage="benchmark", argv=argv)
    maker.evaluate("pretrain", 400, b"{}", stage="benchmark", argv=argv)
    maker.evaluate("pretrain", 200, 2.0)
    (run,) = read(maker.study()).runs
    said = {(each.measure, each.iteration): each.problem for each in run.evaluations}
    assert said == {
        ("benchmark", 200): "there is no eval/results.json",
        ("benchmark", 400): "eval/results.json is of no use: it has no scores",
        ("evaluate", 200): "",
    }
    assert read(maker.study()).measures == ("evaluate",)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
RESULTS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("loss", "perplexity", "iteration", "text"), VALUES),
        "scores": VALUES | st.lists(st.fixed_dictionaries(dict.fromkeys(score(), VALUES)), max_size=2),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(results=RESULTS)
def test_whatever_json_stands_there_a_number_is_finite_or_has_a_reason(maker: Any, results: Any) -> None:
    maker._planned.clear()
    maker._appeared.clear()
    maker.evaluate(maker.train("pretrain"), 200, json.dumps(results).encode())
    evaluation = only(maker)
    assert (evaluation.loss is None and not evaluation.of_tasks) == bool(evaluation.problem)
    assert evaluation.loss is None or math.isfinite(evaluation.loss)
    assert all(found.value is None or math.isfinite(found.value) for found in evaluation.scores)
