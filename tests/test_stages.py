from typing import Any

import pytest

from autoexp.errors import RecipeError
from autoexp.places import Places
from autoexp.stages import KEYS_TO_COME, STAGE_KEYS, Each, is_name, read_recipe

PLACES = Places("r.yaml")


def read(stage: dict[str, Any] | None = None, **top: Any) -> Any:
    stages = {"train": stage if stage is not None else {"command": ["train"]}}
    return read_recipe({"study": "s", "stages": stages, **top}, PLACES, "text")


def test_a_recipe_is_its_keys_as_written() -> None:
    recipe = read(
        {"backend": "megatron", "args": {"lr": "${lr}"}}, params={"lr": 1}, sweep={"params": {}}, machine="lumi"
    )

    assert (recipe.study, recipe.machine, recipe.params, recipe.sweep) == ("s", "lumi", {"lr": 1}, {"params": {}})
    assert recipe.stages["train"].program == "backend"
    assert recipe.stages["train"].path == ("stages", "train")
    assert recipe.text == "text"


def test_a_recipe_without_a_machine_asks_for_the_one_it_is_on() -> None:
    assert read().machine == "auto"


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        pytest.param({"checkpoint": "a"}, Each(kind="checkpoint", stages=("a",)), id="a stage"),
        pytest.param({"checkpoint": ["a", "b"]}, Each(kind="checkpoint", stages=("a", "b")), id="two stages"),
        pytest.param({"job": "a"}, Each(kind="job", stages=("a",)), id="jobs"),
        pytest.param(
            {"checkpoint": "a", "from": 10, "every": 5},
            Each(kind="checkpoint", stages=("a",), first=10, every=5),
            id="some checkpoints",
        ),
        pytest.param({"checkpoint": "a", "batch": 8}, Each(kind="checkpoint", stages=("a",), batch=8), id="batches"),
    ],
)
def test_an_each_stage_stands_for_checkpoints_or_jobs(each: dict[str, Any], expected: Each) -> None:
    stages = {name: {"command": ["x"]} for name in "ab"} | {"score": {"each": each, "command": ["score"]}}

    assert read_recipe({"study": "s", "stages": stages}, PLACES, "").stages["score"].each == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [("wsd-ladder", True), ("v1.0_a", True), ("10M", True), ("", False), (".a", False), ("-a", False), ("a/b", False)],
)
def test_a_name_can_be_a_directory(text: str, *, answer: bool) -> None:
    assert is_name(text) is answer
    assert not is_name(f"{text} ")
    assert not is_name(f"ü{text}")


TOP = {
    "an unknown key": ({"stagez": {}}, "r.yaml: stagez: unknown key 'stagez'", "did you mean stages?"),
    "no study": ({"study": None}, "a recipe names its study", "write study: NAME"),
    "a study that is a number": ({"study": 7}, "7 cannot name a study", "write study: NAME"),
    "a study that is a path": ({"study": "a/b"}, "'a/b' cannot name a study", "write study: NAME"),
    "params as a list": ({"params": [1]}, "params is written as key: value pairs", "indent the pairs"),
    "a sweep as text": ({"sweep": "lr"}, "sweep is written as key: value pairs", "indent the pairs"),
    "no stages": ({"stages": {}}, "there are no stages", "add one"),
    "a stage that is text": ({"stages": {"a": "b"}}, "stages.a: a stage is written as key: value pairs", "indent"),
    "a stage with a bad name": ({"stages": {"a b": {}}}, "'a b' cannot name a stage", "rename it"),
}


@pytest.mark.parametrize(("top", "what", "fix"), TOP.values(), ids=TOP)
def test_a_recipe_that_is_none_says_what_is_missing(top: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(**top)

    assert what in caught.value.what
    assert caught.value.why
    assert caught.value.fix.startswith(fix)


OF_TRAIN = {"checkpoint": "train"}
STAGES = {
    "an unknown key": ({"comand": ["x"]}, "stages.train.comand: unknown key 'comand'", "did you mean command?"),
    "no program": ({}, "a stage has one program, not 0", "add backend:, hook: or command:"),
    "no program but null": ({"command": None}, "a stage has one program, not 0", "add backend:"),
    "two programs": ({"hook": "a", "command": ["b"]}, "a stage has one program, not 2", "keep one of"),
    "args of a hook": ({"hook": "a", "args": {}}, "train.args: args belongs to a backend", "write with:"),
    "with of a command": ({"command": ["a"], "with": {}}, "train.with: with belongs to a hook", "put its words"),
    "an empty command": ({"command": []}, "train.command: [] is no command", "write command: a script"),
    "a blank script": ({"command": "  "}, "'  ' is no command", "write command: a script"),
    "a command of pairs": ({"command": {"a": 1}}, "{'a': 1} is no command", "write command: a script, or a list"),
    "a command that is a number": ({"command": 7}, "7 is no command", "write command:"),
    "resources as a list": ({"command": ["a"], "resources": [1]}, "train.resources: resources is written", "indent"),
    "a need that is a number": ({"command": ["a"], "needs": 3}, "3 is no needs", "write needs: a stage"),
    "needs that are numbers": ({"command": ["a"], "needs": [3]}, "[3] is no needs", "write needs: a stage"),
    "two gates": ({"command": ["a"], "gate": {"a": {}, "b": {}}}, "is no gate", "write gate: one hook's name"),
    "a gate with a number": ({"command": ["a"], "gate": {"a": 1}}, "is no gate", "write gate: one hook's name"),
    "a hook prepared with a text": (
        {"command": ["a"], "prepare": {"a": ""}},
        "is no prepare",
        "write prepare",
    ),
    "an empty list for a mapping": ({"command": ["a"], "prepare": []}, "key: value pairs", "indent"),
    "a hook prepared with a number": ({"command": ["a"], "prepare": {"a": 1}}, "is no prepare", "write prepare: HOOK"),
    "a variable that is no word": (
        {"command": ["a"], "env": {"A B": 1}},
        "stages.train.env.A B: 'A B' cannot be an environment variable",
        "rename it",
    ),
    "a variable of ours": ({"command": ["a"], "env": {"AUTOEXP_DIR": 1}}, "'AUTOEXP_DIR' cannot be an", "rename it"),
    "an unknown key of each": ({"command": ["a"], "each": {"step": 1}}, "train.each.step: unknown key", "remove it"),
    "axes of a stage that stands for others": (
        {"command": ["a"], "axes": [], "each": {"job": "train"}},
        "train.axes: axes do not go with each",
        "remove axes",
    ),
    "axes that are no names": ({"command": ["a"], "axes": 3}, "3 is no axes", "write axes: an axis"),
    "each of nothing": ({"command": ["a"], "each": {}}, "each stands for checkpoints or for jobs", "write each:"),
    "each of both": (
        {"command": ["a"], "each": {"job": "train", "checkpoint": "train"}},
        "each stands for checkpoints or for jobs",
        "write each:",
    ),
    "each of no stage": ({"command": ["a"], "each": {"job": []}}, "[] names no stage", "write job: STAGE"),
    "each of a number": ({"command": ["a"], "each": {"checkpoint": 3}}, "3 names no stage", "write checkpoint: STAGE"),
    "each of an unknown stage": ({"command": ["a"], "each": {"job": "pre"}}, "there is no stage 'pre'", "correct"),
    "each from zero": ({"command": ["a"], "each": {"checkpoint": "train", "from": 0}}, "each.from: 0 is no", "write a"),
    "each every half": ({"command": ["a"], "each": {"checkpoint": "train", "every": 0.5}}, "0.5 is no", "write a"),
    "batches of none": ({"command": ["a"], "each": {**OF_TRAIN, "batch": 0}}, "0 is no batch", "write a"),
    "batches of half": (
        {"command": ["a"], "each": {"checkpoint": "train", "batch": 2.5}},
        "2.5 is no batch",
        "write a",
    ),
    "batches of yes": (
        {"command": ["a"], "each": {"checkpoint": "train", "batch": True}},
        "True is no batch",
        "write a",
    ),
    "batches of null": (
        {"command": ["a"], "each": {"checkpoint": "train", "batch": None}},
        "None is no batch",
        "write a",
    ),
    "batches of jobs": ({"command": ["a"], "each": {"job": "train", "batch": 2}}, "batch goes with", "remove it"),
    "a training for a batch": (
        {"backend": "megatron", "each": {"checkpoint": "train", "batch": 2}},
        "stages.train.backend: a batch cannot train",
        "remove batch:",
    ),
    "each second job": ({"command": ["a"], "each": {"job": "train", "every": 2}}, "every goes with", "remove it"),
}


@pytest.mark.parametrize(("stage", "what", "fix"), STAGES.values(), ids=STAGES)
def test_a_stage_that_cannot_be_read_names_the_key(stage: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(stage)

    assert what in caught.value.what
    assert caught.value.why
    assert caught.value.fix.startswith(fix)


def test_a_training_for_jobs_that_stand_for_batches_is_refused_too() -> None:
    stages = {
        "train": {"command": ["a"]},
        "convert": {"command": ["b"], "each": {"checkpoint": "train", "batch": 2}},
        "tune": {"backend": "megatron", "each": {"job": "convert"}},
        "one": {"backend": "megatron", "each": {"job": "train"}},
        "round": {"backend": "megatron", "each": {"job": "round"}},
    }

    with pytest.raises(RecipeError, match=r"stages\.tune\.backend: a batch cannot train"):
        read_recipe({"study": "s", "stages": stages}, PLACES, "text")
    del stages["tune"]
    assert read_recipe({"study": "s", "stages": stages}, PLACES, "text").stages.keys() == stages.keys()


@pytest.mark.parametrize(
    ("budget", "what"),
    [
        ({"gpu_hours": 0}, "0 is no budget"),
        ({"gpu_hours": True}, "True is no budget"),
        ({"gpu_hours": "500"}, "'500' is no budget"),
        ({"hours": 5}, "budget"),
        (500, "budget is written as key: value pairs"),
    ],
)
def test_a_budget_is_a_number_of_gpu_hours(budget: object, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe({"study": "s", "budget": budget, "stages": {"a": {"command": ["a"]}}}, PLACES, "text")

    assert what in caught.value.what


@pytest.mark.parametrize("key", KEYS_TO_COME)
def test_a_key_that_is_planned_but_not_built_says_so(key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key} is not supported yet"):
        read({"command": ["train"], key: {}})
    assert key not in STAGE_KEYS
