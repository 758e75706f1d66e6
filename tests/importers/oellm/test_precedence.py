"""Which value of a name counts, against a short enumeration by OELLM's own rules."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.errors import RecipeError
from autoexp.importers.notes import Notes
from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.sweep import Reader
from autoexp.importers.oellm.values import Values
from autoexp.importers.oellm.writing import Levels
from autoexp.places import Places
from autoexp.sweep import expand

Values_ = dict[str, Any]


def enumerated(level: Mapping[str, Any], handed: Values_, composed: str = "") -> list[Values_]:
    """List a level's points by OELLM's rules: a group hands on what it was handed, and the later one's values count.

    Of `composed` names all of them count, one after the other.
    """
    if not level.keys() & {"groups", "params", "configs"}:
        return [{**handed, **level}]
    handed = {**handed, **level.get("defaults", {})}
    if "params" in level:
        return [
            {**handed, **dict(zip(level["params"], row, strict=True))} for row in product(*level["params"].values())
        ]
    below = [enumerated(each, handed, composed) for each in level.get("groups") or level.get("configs", [])]
    if "configs" in level or level.get("type") == "list":
        return [point for points in below for point in points]
    return [_put_together(row, composed) for row in product(*below)]


def _put_together(row: tuple[Values_, ...], composed: str) -> Values_:
    if len(row) == 1:
        return row[0]
    made: Values_ = {}
    for name, value in (item for point in row for item in point.items()):
        listed = value if isinstance(value, list) else [value]
        made[name] = [*made.get(name, []), *listed] if name in composed else value
    return made


def read(raw: Mapping[str, Any]) -> tuple[list[tuple[Values_, Values_]], str]:
    """List the points of the recipe's sweep, each with its axes, and what was told."""
    notes, names = Notes(Places("x.yaml")), Names()
    node = Reader(notes, lambda group, name: {"x": f"{group}/{name}"}).node(raw, ("sweep",))
    level = Levels(names, Values(names, pytest.fail)).write(node)
    points = expand(level, lambda value, _, path: path[-1] == "filter" or value)
    told = "\n".join(f"{each['code']} {each['where']}: {each['message']}" for each in notes.warnings)
    return [(point.scope(), dict(point.axes)) for point in points], told


def points(raw: Mapping[str, Any]) -> list[Values_]:
    found = read(raw)[0]
    kept = [{name: value for name, value in scope.items() if not name.startswith("config")} for scope, _ in found]
    assert len({frozenset(map(str, axes.items())) for _, axes in found}) >= len(spelled(kept))  # each has its own id
    return kept


def spelled(found: list[Values_]) -> set[str]:
    return {str(sorted(point.items())) for point in found}


Raw = st.SearchStrategy[dict[str, Any]]
NAMES = st.sampled_from("abcd")
KINDS = st.sampled_from(["product", "list"])
FIXED: Raw = st.dictionaries(NAMES, st.integers(1, 3), min_size=1, max_size=3)
AXES = st.dictionaries(NAMES, st.lists(st.integers(1, 3), min_size=1, max_size=2), min_size=1)
LEAF: Raw = st.builds(dict, params=AXES) | st.builds(dict, configs=st.lists(FIXED, min_size=1, max_size=3))


def levels(inner: Raw) -> Raw:
    made: Raw = st.builds(dict, type=KINDS, groups=st.lists(inner, min_size=1, max_size=3), defaults=FIXED)
    return made | st.builds(dict, configs=st.lists(FIXED | inner, min_size=1, max_size=3))


GROUPS = st.lists(st.recursive(LEAF, levels, max_leaves=4), min_size=1, max_size=3)
SWEEPS: Raw = st.builds(dict, type=KINDS, groups=GROUPS)


@settings(max_examples=200, deadline=None)
@given(raw=SWEEPS, base=st.one_of(st.just({}), FIXED))
def test_every_sweep_has_the_points_that_oellm_makes_of_it(raw: dict[str, Any], base: Values_) -> None:
    assert spelled(points({**raw, "base_values": base})) == spelled(enumerated(raw, base))


@settings(max_examples=200, deadline=None)
@given(raw=SWEEPS, base=st.one_of(st.just({}), FIXED))
def test_lists_are_composed_as_oellm_does(raw: dict[str, Any], base: Values_) -> None:
    made = {**raw, "base_values": base, "list_composition": ["b", "c"]}

    assert spelled(points(made)) == spelled(enumerated(raw, base, "bc"))


@pytest.mark.parametrize(
    ("raw", "expected", "where"),
    [
        pytest.param(
            {"groups": [{"params": {"a": [1, 2], "b": [1, 2]}}, {"params": {"a": [3, 4]}}]},
            [{"b": b, "a": a} for b in (1, 2) for a in (3, 4)],
            "a is left out",
            id="the later axis",
        ),
        pytest.param(
            {"groups": [{"params": {"a": [1, 2]}}, {"configs": [{"a": 3}]}]}, [{"a": 3}], "a is left out", id="a value"
        ),
        pytest.param(
            {"base_values": {"a": 0}, "groups": [{"params": {"a": [1, 2]}}, {"params": {"b": [1, 2]}}]},
            [{"a": 0, "b": 1}, {"a": 0, "b": 2}],
            "what the last one is handed",
            id="a base value that the last group hands on",
        ),
        pytest.param(
            {"groups": [{"groups": [{"params": {"a": [1, 2]}}, {"params": {"b": [1]}}], "defaults": {"a": 5}}]},
            [{"a": 5, "b": 1}],
            "x.yaml: sweep.groups.0.groups.0: a is left out",
            id="a default that the last group hands on",
        ),
        pytest.param(
            {"groups": [{"params": {"a": [1, 2]}}, {"configs": [{"b": 1}, {"b": 2, "a": 3}]}]},
            [{"a": 3, "b": 2}, {"a": 1, "b": 1}, {"a": 2, "b": 1}],
            "sweep.groups.0: a is left out",
            id="an axis that a later group overwrites at times",
        ),
        pytest.param(
            {"groups": [{"params": {"a": [1, 1, 2]}}, {"configs": [{"b": 1}, {"b": 2}, {"b": 1}]}]},
            [{"a": a, "b": b} for a in (1, 2) for b in (1, 2)],
            "sweep.groups.0.params.a: what is there twice counts once",
            id="values that are there twice",
        ),
    ],
)
def test_a_later_group_overwrites_an_earlier_one_and_it_is_told(
    raw: dict[str, Any], expected: list[Values_], where: str
) -> None:
    assert points(raw) == expected
    assert where in read(raw)[1]


def test_a_note_names_the_group_s_place_in_the_original_where_some_before_it_count_once() -> None:
    twin = {"configs": [{"z": 1}]}
    inner = {"type": "product", "groups": [{"params": {"a": [1]}}, {"params": {"a": [2]}}]}

    _, told = read({"type": "list", "groups": [twin, twin, inner]})

    assert "left-out x.yaml: sweep.groups.2.groups.0: a is left out" in told


@pytest.mark.parametrize(
    "raw",
    [
        {"groups": [{"params": {"a": [1, 2]}}], "base_values": {"a": 0}},
        {"groups": [{"params": {"a": [1]}}, {"params": {"b": [1, 2]}, "defaults": {"b": 0}}]},
        {"type": "list", "groups": [{"params": {"a": [1]}}, {"params": {"a": [2]}}], "base_values": {"a": 0}},
    ],
)
def test_what_stands_deeper_counts_without_a_word_and_leaves_nothing_dead(raw: dict[str, Any]) -> None:
    found, told = read(raw)

    assert (told, [scope == axes for scope, axes in found]) == ("", [True] * len(found))


def test_a_filter_that_reads_what_is_overwritten_is_refused() -> None:
    group = {"params": {"a": [1, 2]}, "filter": "\\${oc.eval:'\\${a} > 1'}"}

    with pytest.raises(RecipeError, match=r"x\.yaml: sweep\.groups\.0: the filter .* reads a, which"):
        read({"groups": [group, {"params": {"a": [3]}}]})
    assert read({"groups": [group, {"params": {"a_b": [3]}}]})[1] == ""


def test_of_two_choices_of_one_group_the_later_counts_unless_they_are_put_together() -> None:
    raw = {"groups": [{"configs": [{"m/n": "one"}]}, {"configs": [{"m/n": ["two"]}]}]}

    assert points(raw) == [{"m_n_x": "m/n/two"}]
    assert "m/n is left out" in read(raw)[1]
    assert read({**raw, "list_composition": ["m/n"]})[1] == ""


def test_a_plain_value_counts_whatever_is_chosen_beside_it() -> None:
    raw = {"groups": [{"configs": [{"m.n.x": 1, "m/n": "one"}]}, {"params": {"a": [1]}}], "base_values": {"m.n.y": 2}}

    assert points(raw) == [{"m_n_y": 2, "m_n_x": 1, "a": 1}]
