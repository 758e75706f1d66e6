from typing import Any

import pytest

from autoexp.blame import Blame
from autoexp.errors import RecipeError
from autoexp.evaluation import Evaluation
from autoexp.places import Places
from autoexp.scope import JobScope

PATH = ("stages", "train", "start")


@pytest.fixture
def evaluation() -> Evaluation:
    scope = JobScope(levels=({"v": "a b; touch pwned", "lr": 0.5},))
    return Evaluation(scope, Blame(Places("r.yaml"), ("stages", "train"), "the job train"))


def test_a_value_that_is_one_name_keeps_its_type(evaluation: Evaluation) -> None:
    assert evaluation.value(PATH, {"rates": ["${lr}", "${lr}s"], "plain": 1}) == {"rates": [0.5, "0.5s"], "plain": 1}


def test_words_are_text_whatever_is_in_them(evaluation: Evaluation) -> None:
    assert list(evaluation.words(PATH, ["echo", "${v}", "${lr}", 7, True])) == [
        *("echo", "a b; touch pwned", "0.5", "7", "true")
    ]


def test_in_a_script_each_value_is_one_quoted_word(evaluation: Evaluation) -> None:
    assert evaluation.script(PATH, 'test -d ${v} -a "$HOME"') == "test -d 'a b; touch pwned' -a \"$HOME\""


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: {"any": [{"file_exists": {"path": "x"}}, inner]}])
@pytest.mark.parametrize(
    ("command", "evaluated"),
    [
        ('test -d ${v} -a "$HOME"', "test -d 'a b; touch pwned' -a \"$HOME\""),
        (["test", "-d", "${v}/x", "${lr}"], ["test", "-d", "a b; touch pwned/x", "0.5"]),
        (7, 7),
    ],
)
def test_the_line_of_a_condition_is_a_script_however_deep_it_stands(
    evaluation: Evaluation, wrap: Any, command: Any, evaluated: Any
) -> None:
    written = {"command_succeeds": {"command": command, "timeout": "${lr}s"}}
    meant = {"command_succeeds": {"command": evaluated, "timeout": "0.5s"}}

    assert evaluation.conditions(PATH, {"not": wrap(written)}) == {"not": wrap(meant)}


def test_other_conditions_are_evaluated_as_any_value(evaluation: Evaluation) -> None:
    written = {"metadata_equals": {"key": "lr", "value": "${lr}"}}

    assert evaluation.conditions(PATH, [written]) == [{"metadata_equals": {"key": "lr", "value": 0.5}}]


def test_what_has_no_value_is_told_with_the_key_and_the_job(evaluation: Evaluation) -> None:
    with pytest.raises(RecipeError) as caught:
        evaluation.conditions(PATH, {"all": [{"file_exists": {"path": "${nothing}"}}]})

    assert "${nothing} is not defined" in str(caught.value)
    assert "the job train" in str(caught.value)
