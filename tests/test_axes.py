"""Where a sweep has its axes, and what becomes of it when one is pinned."""

from copy import deepcopy
from typing import Any

import pytest

from autoexp.axes import Parts, Unpinned, axes_of

SWEEP: dict[str, Any] = {
    "params": {"lr": [1, 2]},
    "configs": {
        "model": [
            {"small": {"defaults": {"width": 16}, "params": {"depth": [1, 2]}}},
            {"big": {"width": 64}},
            "plain",
        ]
    },
    "groups": [{"configs": [{"a": 1, "b": 2}, {"params": {"c": [3, 4]}}, {"a": 2, "b": 2}]}],
}


def pinned(sweep: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    sweep = deepcopy(sweep)
    for axis in [axis for axis in axes_of(sweep, ("sweep",)) if axis.name == name]:
        axis.pin(value)
    return sweep


def test_axes_are_found_at_every_level_with_their_values() -> None:
    found = {axis.name: (axis.path, axis.values) for axis in axes_of(SWEEP, ("sweep",))}

    entry = ("sweep", "configs", "model", 0, "small", "params", "depth")
    whole = ("sweep", "groups", 0, "configs")
    assert found == {
        "lr": (("sweep", "params", "lr"), [1, 2]),
        "model": (("sweep", "configs", "model"), SWEEP["configs"]["model"]),
        "depth": (entry, [1, 2]),
        "a": ((*whole, 0, "a"), [1, 2]),
        "b": ((*whole, 0, "b"), [2, 2]),
        "c": ((*whole, 1, "params", "c"), [3, 4]),
    }


def test_an_axis_of_entries_brings_the_names_that_they_define() -> None:
    brings = {axis.name: set(axis.brings) for axis in axes_of(SWEEP, ())}

    assert {"small", "big", "width", "depth"} <= brings["model"]
    assert brings["lr"] == brings["a"] == set()


@pytest.mark.parametrize(
    ("name", "value", "level", "left"),
    [
        pytest.param("lr", 9, ("params", "lr"), [9], id="a value of its own"),
        pytest.param("model", "big", ("configs", "model"), [{"big": {"width": 64}}], id="an entry"),
        pytest.param("model", "plain", ("configs", "model"), ["plain"], id="an entry without names"),
        pytest.param(
            "a", "2", ("groups", 0, "configs"), [{"params": {"c": [3, 4]}}, {"a": 2, "b": 2}], id="whole configurations"
        ),
    ],
)
def test_of_a_pinned_axis_one_value_is_left(name: str, value: Any, level: tuple[Any, ...], left: Any) -> None:
    found: Any = pinned(SWEEP, name, value)
    for key in level:
        found = found[key]

    assert found == left


def test_axes_that_are_zipped_with_a_pinned_one_keep_the_same_places() -> None:
    sweep = {"type": "zip", "params": {"a": [1, 2, 1], "b": [3, 4, 5]}, "configs": {"m": ["x", {"y": {"k": 1}}, "z"]}}

    assert pinned(sweep, "a", 1) == {
        "type": "zip",
        "params": {"a": [1, 1], "b": [3, 5]},
        "configs": {"m": ["x", "z"]},
    }
    assert pinned(sweep, "m", "y")["params"] == {"a": [2], "b": [4]}
    assert pinned({"type": "zip", "params": {"a": [1, 2]}, "configs": [{"b": 3}, {"b": 4}]}, "b", 4) == {
        "type": "zip",
        "params": {"a": [2]},
        "configs": [{"b": 4}],
    }


@pytest.mark.parametrize(
    ("sweep", "name", "says", "fix"),
    [
        (SWEEP, "model", "no such entry", "small, big, plain"),
        (SWEEP, "a", "no such value", "1, 2"),
        ({"type": "zip", "params": {"a": [1], "b": [2]}}, "a", "no such value", "1"),
        (
            {"type": "zip", "params": {"a": [1]}, "groups": [{"params": {"b": [2]}}]},
            "a",
            "zipped with groups",
            "--where",
        ),
    ],
)
def test_a_value_that_must_be_one_of_its_own_and_is_none_is_refused(
    sweep: dict[str, Any], name: str, says: str, fix: str
) -> None:
    with pytest.raises(Unpinned) as refused:
        pinned(sweep, name, "nine")

    assert says in refused.value.why
    assert fix in refused.value.fix


@pytest.mark.parametrize("value", ["1,2", "fast", [1, 2], True, None])
def test_what_is_no_number_pins_no_axis_of_numbers(value: Any) -> None:
    with pytest.raises(Unpinned, match="its values are numbers") as refused:
        pinned({"params": {"lr": [1, 2.5]}}, "lr", value)

    assert "several: 'sweep.params.lr=[1, 2.5]'" in refused.value.fix


def test_an_axis_of_switches_is_pinned_to_any_text_and_one_of_lists_to_a_list() -> None:
    assert pinned({"params": {"on": [True, False]}}, "on", "auto") == {"params": {"on": ["auto"]}}
    assert pinned({"params": {"betas": [[1, 2], [3]]}}, "betas", [4, 5]) == {"params": {"betas": [[4, 5]]}}


A, B, C = {"params": {"x": [1], "y": [1, 2]}}, {"params": {"x": [2]}}, {"params": {"z": [3]}}


def in_entry(*labels: str) -> dict[str, Any]:
    return {"configs": {"m": [{label: deepcopy(B)} for label in labels]}}


@pytest.mark.parametrize(
    ("sweep", "left"),
    [
        pytest.param({"type": "list", "groups": [A, B, C]}, {"type": "list", "groups": [A, C]}, id="a group"),
        pytest.param(
            {"type": "list", "groups": [A, {"groups": [B, C]}]},
            {"type": "list", "groups": [A]},
            id="a product",
        ),
        pytest.param(
            {"type": "list", "groups": [{"type": "list", "groups": [B, {**B}]}, A]},
            {"type": "list", "groups": [A]},
            id="all of a list",
        ),
        pytest.param(
            {"type": "list", "params": {"x": [2]}, "groups": [A]},
            {"type": "list", "groups": [A]},
            id="its own axis",
        ),
        pytest.param(
            {"configs": {"m": [{"a": A}, {"b": B, "c": C}]}},
            {"configs": {"m": [{"a": A}, {"c": C}]}},
            id="an entry among others",
        ),
        pytest.param(
            {"configs": {"m": [{"a": A}, {"b": B}]}}, {"configs": {"m": [{"a": A}]}}, id="an entry that is a level"
        ),
        pytest.param(
            {"type": "list", "groups": [A, {"configs": {"m": {"b": B}}}]},
            {"type": "list", "groups": [A]},
            id="an entry without a list",
        ),
        pytest.param({"configs": [B, A, {"z": 1}]}, {"configs": [A, {"z": 1}]}, id="whole levels"),
        pytest.param(
            {"type": "list", "groups": [A, {"configs": [{"x": 2}, {"z": 1}]}]},
            {"type": "list", "groups": [A, {"configs": [{"z": 1}]}]},
            id="whole configurations",
        ),
        pytest.param(
            {"type": "list", "groups": [A, {"configs": [{"x": 2}]}]},
            {"type": "list", "groups": [A]},
            id="all configurations",
        ),
        pytest.param(
            {"type": "list", "groups": [A, {"configs": {"x": ["two"]}}]},
            {"type": "list", "groups": [A]},
            id="an axis of entries",
        ),
        pytest.param(
            {"type": "list", "groups": [A], **in_entry("b")},
            {"type": "list", "groups": [A], "configs": {}},
            id="the last",
        ),
    ],
)
def test_a_part_of_a_sweep_that_has_no_point_is_taken_away_with_what_it_multiplies(
    sweep: dict[str, Any], left: dict[str, Any]
) -> None:
    sweep = deepcopy(sweep)
    parts, axes = Parts(sweep, ()), [axis for axis in axes_of(sweep, ()) if axis.name == "x"]

    for axis in reversed([axis for axis in axes if not axis.has(1)]):
        parts.without(axis)

    assert sweep == left


def test_an_axis_of_numbers_is_not_pinned_to_text_and_it_is_told_how_it_gets_several() -> None:
    with pytest.raises(Unpinned, match="its values are numbers") as refused:
        pinned(SWEEP, "lr", "1,2")

    assert refused.value.fix == (
        "give it one number, such as 8, 1e-3 or '${quantity:100M}'; several: 'sweep.params.lr=[1, 2]'"
    )


def test_an_axis_of_numbers_may_be_pinned_to_what_is_calculated() -> None:
    assert pinned(SWEEP, "lr", "${calc:'1 / 3'}")["params"]["lr"] == ["${calc:'1 / 3'}"]


@pytest.mark.parametrize(
    ("sweep", "why"),
    [
        ({"groups": [B, C]}, "part of all points"),
        ({"type": "zip", "configs": {"m": [{"a": A}, {"b": B}]}, "params": {"k": [1, 2, 3]}}, "zipped"),
        ({"type": "zip", "configs": [B, C], "params": {"k": [1, 2]}}, "zipped"),
    ],
)
def test_what_all_points_have_cannot_be_taken_away(sweep: dict[str, Any], why: str) -> None:
    sweep = deepcopy(sweep)
    axis = next(axis for axis in axes_of(sweep, ()) if axis.name == "x" and not axis.has(1))

    with pytest.raises(Unpinned, match=why):
        Parts(sweep, ()).without(axis)


@pytest.mark.parametrize("sweep", [None, [], "x", {"params": 3, "configs": 4, "groups": 5}])
def test_what_is_no_sweep_has_no_axes(sweep: Any) -> None:
    assert list(axes_of(sweep, ())) == []
