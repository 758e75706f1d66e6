from typing import Any

import pytest

from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.postprocess import evaluation, stages
from autoexp.importers.oellm.values import Values


def made(steps: Any, *trainings: str) -> dict[str, Any]:
    bodies = {name: {"resources": {"qos": "q", "nodes": 9}} for name in trainings}
    return stages(steps, bodies, Values(Names(), pytest.fail), lambda *_: None)


def test_every_training_s_checkpoints_are_converted() -> None:
    found = made({"hf": {"class_name": "MegatronToHFStep"}}, "stable", "decay")

    assert found["convert"]["each"] == {"checkpoint": ["stable", "decay"]}
    assert (found["convert"]["resources"]["qos"], found["convert"]["resources"]["nodes"]) == ("q", 1)


@pytest.mark.parametrize("steps", [None, {}, [1], {"eval": {"class_name": "OELLMEvalStep"}}])
def test_without_a_conversion_there_is_nothing_to_evaluate(steps: Any) -> None:
    assert made(steps, "train") == {}


def test_what_no_training_is_there_for_is_told() -> None:
    told: list[str] = []

    assert stages({"x": {}}, {}, Values(Names(), pytest.fail), lambda code, said: told.append(f"{code} {said}")) == {}
    assert told == ["left-out postprocess: no stage here trains with Megatron-LM"]


def test_an_evaluation_says_its_options() -> None:
    words = evaluation(
        {"tasks": "arc", "n_shot": [0, 5], "limit": None, "skip_checks": True, "verbose": False},
        Values(Names(), pytest.fail),
        ["m"],
    )

    assert [*words][4:] == ["--models", "m", "--tasks", "arc", "--n_shot", "0,5", "--skip_checks", "true"]
