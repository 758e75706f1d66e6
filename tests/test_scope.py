from collections.abc import Mapping
from typing import Any

import pytest

from autoexp.calculation import ExpressionError
from autoexp.expressions import UndefinedName
from autoexp.scope import JobScope


def test_the_nearest_level_wins_and_the_built_ins_come_last() -> None:
    point, stage, study = {"a": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3, "c": 3}
    scope = JobScope(levels=(point, stage, study), built_in={"c": 4, "dir": "/d"})

    assert [scope.lookup(name) for name in ("a", "b", "c", "dir")] == [1, 2, 3, "/d"]
    assert list(scope.names()) == ["a", "b", "c", "dir"]


def test_a_name_is_evaluated_in_the_whole_scope_wherever_it_is_defined() -> None:
    scope = JobScope(levels=({"gpus": 8}, {"batch": "${calc:'${gpus} * ${micro}'}", "micro": 4}), built_in={"job": "j"})

    assert scope.lookup("batch") == 32
    assert scope.raw("batch") == "${calc:'${gpus} * ${micro}'}"


def test_a_name_is_evaluated_once() -> None:
    asked: list[str] = []

    def sibling(stage: str) -> Mapping[str, Any]:
        asked.append(stage)
        return {"dir": "/p"}

    scope = JobScope(levels=({"a": "${sibling.pretrain.dir}", "b": "${a}${a}"},), sibling=sibling)

    assert scope.lookup("b") == "/p/p"
    assert asked == ["pretrain"]


def test_a_name_nobody_defines_is_told_with_those_there_are() -> None:
    with pytest.raises(UndefinedName) as caught:
        JobScope(levels=({"lr": 1},), built_in={"dir": "/d"}).lookup("rl")

    assert caught.value.known == ("dir", "lr")


@pytest.mark.parametrize(
    ("names", "circle"),
    [
        pytest.param({"a": "${a}"}, "a -> a", id="itself"),
        pytest.param({"a": "${b}", "b": "x${c}", "c": "${calc:'${a} + 1'}"}, "a -> b -> c -> a", id="three"),
    ],
)
def test_a_name_defined_by_itself_shows_the_circle(names: dict[str, Any], circle: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        JobScope(levels=(names,)).lookup("a")

    assert str(caught.value) == f"${{a}} is defined by itself: {circle}"


def test_a_circle_that_is_not_walked_is_none() -> None:
    names = {"a": "${calc:'1 if ${deep} else ${b}'}", "b": "${a}", "deep": True}

    assert JobScope(levels=(names,)).lookup("b") == 1


def test_the_innermost_name_that_failed_is_remembered() -> None:
    scope = JobScope(levels=({"a": "${b}", "b": "${c}", "c": "${calc:'1 / 0'}"},))

    with pytest.raises(ExpressionError):
        scope.lookup("a")

    assert scope.failed == "c"


def test_only_the_variables_that_were_read_are_listed() -> None:
    read: dict[str, str] = {}
    variables = {"ACCOUNT": "me", "SECRET": "s"}
    scope = JobScope(levels=({"a": "${oc.env:ACCOUNT}", "b": "${oc.env:NONE,x}"},), variables=variables, read=read)

    assert (scope.lookup("a"), scope.lookup("b")) == ("me", "x")
    assert read == {"ACCOUNT": "me"}


def test_without_siblings_the_word_is_a_name_like_any_other() -> None:
    with pytest.raises(UndefinedName):
        JobScope(levels=()).lookup("sibling")
    assert JobScope(levels=({"sibling": "x"},)).lookup("sibling") == "x"


def test_siblings_are_found_by_stage_whatever_the_stage_is_called() -> None:
    scope = JobScope(levels=({"a": "${sibling.items.params.lr}"},), sibling=lambda stage: {"params": {"lr": stage}})

    assert scope.lookup("a") == "items"
