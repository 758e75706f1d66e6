from typing import Any

import pytest

from autoexp.errors import RecipeError
from autoexp.importers.autoexperiment.tree import Definition, definitions, kinds, renamed, variants, without
from autoexp.importers.notes import Notes
from autoexp.places import Places


def read(raw: dict[str, Any]) -> list[Definition]:
    return list(definitions(raw, (), Notes(Places("f.yaml"))))


def test_mappings_are_looked_through() -> None:
    assert [one.name for one in read({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": "x"})] == ["c", "d", "e"]


def test_named_branches_say_what_they_bring() -> None:
    (axis,) = read({"m": [{"s": {"w": 1, "deep": {"x": 2}}}, {"l": {"w": 2}}, {"plain": 3}]})

    assert axis.brings() == {"w": False, "x": False, "plain": False}
    assert without(axis, "x").value == [{"s": {"w": 1, "deep": {}}}, {"l": {"w": 2}}, {"plain": {"plain": 3}}]
    assert renamed(axis, "w", "v").value[1] == {"l": {"v": 2}}


@pytest.mark.parametrize("values", [[], [1, {"a": 1}], [{"a": 1, "b": 2}], [[1]]])
def test_lists_that_autoexperiment_does_not_take_are_refused(values: list[Any]) -> None:
    with pytest.raises(RecipeError, match=r"f\.yaml: a"):
        read({"a": values})


def test_kinds_of_jobs_are_found_at_any_depth() -> None:
    mode = [{"train": {"template": "t"}}, {"eval": {"template": "e", "nodes": 1}}]
    found = read({"lr": [1, 2], "phase": [{"pre": {"mode": mode}}, {"cool": {"x": 1, "mode": mode}}]})

    assert [kinds(one) for one in found] == [False, True]
    assert [one.labels for one in variants(found, Notes(Places("f.yaml")))] == [
        (("phase", "pre"), ("mode", "train")),
        (("phase", "pre"), ("mode", "eval")),
        (("phase", "cool"), ("mode", "train")),
        (("phase", "cool"), ("mode", "eval")),
    ]


def test_without_branches_of_kinds_there_is_one_kind() -> None:
    assert [one.labels for one in variants(read({"lr": [1, 2]}), Notes(Places("f.yaml")))] == [()]
