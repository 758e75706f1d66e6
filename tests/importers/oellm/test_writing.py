from typing import Any

import pytest

from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.sweep import Node
from autoexp.importers.oellm.values import Values
from autoexp.importers.oellm.writing import Levels, entry_names


def entries(*fixed: dict[str, Any]) -> tuple[Node, ...]:
    return tuple(Node(fixed=each) for each in fixed)


def written(node: Node) -> dict[str, Any]:
    names = Names()
    return Levels(names, Values(names, pytest.fail)).write(node)


def test_entries_of_one_value_are_an_axis() -> None:
    assert written(Node("list", children=entries({"aux.a": 1}, {"aux.a": 2}))) == {"params": {"a": [1, 2]}}


def test_axes_above_a_list_go_with_each_of_its_entries() -> None:
    one = Node("list", params={"lr": [1, 2]}, children=entries({"aux.a": 1}, {"aux.a": 2}))
    deep = Node("list", params={"lr": [1, 2]}, children=(Node(params={"x": [1, 2]}), Node(fixed={"x": 3})))

    assert written(one) == {"params": {"lr": [1, 2]}, "groups": [{"params": {"a": [1, 2]}}]}
    assert written(deep) == {
        "params": {"lr": [1, 2]},
        "groups": [{"type": "list", "groups": [{"params": {"x": [1, 2]}}, {"configs": [{"x": 3}]}]}],
    }


def test_levels_whose_points_would_have_one_name_get_names_of_their_own() -> None:
    alike = Node("list", children=(Node(fixed={"b": 1}, params={"a": [1, 2]}), Node(fixed={"b": 2}, params={"a": [2]})))

    assert written(alike) == {
        "configs": {
            "config": [
                {"b1": {"params": {"a": [1, 2]}, "defaults": {"b": 1}}},
                {"b2": {"params": {"a": [2]}, "defaults": {"b": 2}}},
            ]
        }
    }


def test_entries_of_a_few_values_are_told_apart_by_them() -> None:
    alike = Node("list", children=entries({"a": 1, "b": "x"}, {"a": 2, "b": "y"}))

    assert written(alike) == {"configs": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}


def test_other_entries_get_names() -> None:
    node = Node("list", children=entries({"a": 1, "c": "${aux.y}"}, {"a": 2, "d": [1]}))

    assert written(node) == {"configs": {"config": [{"a1": {"a": 1, "c": "${y}"}}, {"a2": {"a": 2, "d": [1]}}]}}


def test_names_are_of_as_many_values_as_it_takes() -> None:
    many = entries({"m.a": 1, "m.b": 1, "c": 0}, {"m.a": 1, "m.b": 2, "c": 0}, {"m.a": 2, "m.b": 1, "c": 0})

    assert entry_names(many) == ["a1_b1", "a1_b2", "a2_b1"]
    assert entry_names(entries({}, {})) == ["1", "2"]
    assert entry_names([Node(label="one"), Node(label="two")]) == ["one", "two"]


def test_a_level_lends_what_it_fixes_and_keeps_its_filter() -> None:
    inner = Node(fixed={"c": 1}, params={"a": [1, 2]}, filter="${oc.eval:'${a} > 1'}")

    assert written(Node("list", children=(inner, Node(fixed={"a": 3, "job.name": "x"})))) == {
        "type": "list",
        "groups": [
            {"params": {"a": [1, 2]}, "defaults": {"c": 1}, "filter": "${calc:'${a} > 1'}"},
            {"configs": [{"a": 3}]},
        ],
    }


def test_entries_that_name_their_job_are_called_so() -> None:
    assert entry_names(entries({"job.name": "a b", "x": 1}, {"job.name": "c", "x": 2})) == ["a_b", "c"]
