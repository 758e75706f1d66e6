from collections.abc import Mapping
from typing import Any

from autoexp.importers.oellm import composition

FILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "main": (
        "",
        {"defaults": ["group/base_defaults", {"group": "one"}, "_self_", {"override group": "two"}], "x": None},
    ),
    "group/base_defaults": ("", {"lr": 0, "clip": 1}),
    "group/one": ("", {"lr": 1}),
    "group/two": ("# @package place.here\n", {"lr": 2, "to": "???", "deep": {"a": 1}, "x": {"y": 1}}),
    "again": ("", {"defaults": [{"group@a": "one"}, {"group@b": "one"}, "gone", "_self_"], "a": {"lr": "???", "n": 3}}),
}


def made_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    repository = composition.Repository(FILES.get)
    return composition.merged(repository, composition.listed(repository, name))


def test_values_stand_where_hydra_puts_them_and_schemas_apart() -> None:
    usual, config = made_of("main")

    assert usual == {"group": {"lr": 0, "clip": 1}}
    assert config == {"place": {"here": {"lr": 2, "to": "???", "deep": {"a": 1}, "x": {"y": 1}}}, "x": None}


def test_a_file_may_be_there_twice_and_what_is_missing_is_left_out() -> None:
    assert made_of("again") == ({}, {"a": {"lr": 1, "n": 3}, "b": {"lr": 1}})


def test_a_file_is_read_once_and_each_question_counted() -> None:
    repository = composition.Repository(lambda name: ("", {"name": name}))

    assert repository.load_config("a/../b") is repository.load_config("b")
    assert repository.asked == ["b", "b"]
