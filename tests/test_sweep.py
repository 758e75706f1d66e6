from collections.abc import Mapping
from itertools import chain, count, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.expressions import compile_value
from autoexp.scope import JobScope
from autoexp.sweep import Point, SweepError, expand, merge, project

PARAMS = {"base": 10}


def evaluate(raw: object, names: Mapping[str, object], _: object) -> Any:
    return compile_value(raw)(JobScope(levels=(names, PARAMS)))


def axes_of(sweep: Any) -> list[dict[str, Any]]:
    return [dict(point.axes) for point in expand(sweep, evaluate)]


def scopes_of(sweep: Any) -> list[dict[str, Any]]:
    return [point.scope() for point in expand(sweep, evaluate)]


def test_no_axes_make_one_point_without_any() -> None:
    for sweep in ({}, {"type": "list"}, {"type": "zip"}, {"params": None}):
        assert expand(sweep, evaluate) == [Point()]


def test_axes_make_every_combination_the_first_one_slowest() -> None:
    assert axes_of({"params": {"a": [1, 2], "b": ["x", "y"]}}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(7, [7], id="a single value"),
        pytest.param("abc", ["abc"], id="text is one value"),
        pytest.param(None, [None], id="null is a value"),
        pytest.param([1, None, "a", 2.5, True], [1, None, "a", 2.5, True], id="of any type"),
        pytest.param([[1, 2], [3]], [[1, 2], [3]], id="lists"),
        pytest.param(["${base}", "${calc:'${base} * 2'}", "${quantity:1k}"], [10, 20, 1000], id="evaluated"),
    ],
)
def test_an_axis_takes_its_values_one_by_one(values: object, expected: list[object]) -> None:
    assert axes_of({"params": {"a": values}}) == [{"a": value} for value in expected]


def test_a_value_that_looks_like_a_name_once_evaluated_is_not_evaluated_again() -> None:
    (point,) = expand({"params": {"a": ["echo \\${HOME}"]}}, evaluate)

    assert point.axes == {"a": "echo ${HOME}"}
    assert evaluate(point.names["a"], {}, ()) == "echo ${HOME}"


def test_named_entries_give_the_axis_their_name_and_their_params_to_the_scope() -> None:
    entries = [{"10M": {"layers": 5, "hidden": "${calc:'${layers} * 32'}"}}, {"25M": {"layers": 9}}, "tiny", {8: None}]

    points = expand({"configs": {"model": entries}}, evaluate)

    assert [point.axes for point in points] == [{"model": "10M"}, {"model": "25M"}, {"model": "tiny"}, {"model": "8"}]
    assert points[0].names == {"model": "10M", "layers": 5, "hidden": "${calc:'${layers} * 32'}"}
    assert points[2].names == {"model": "tiny"}


def test_entries_may_be_written_as_one_mapping() -> None:
    assert axes_of({"configs": {"model": {"a": {"n": 1}, "b": {"n": 2}}}}) == [{"model": "a"}, {"model": "b"}]


def test_whole_configurations_set_several_axes_at_once() -> None:
    assert axes_of({"configs": [{"a": 1, "b": "${base}"}, {"a": 2, "c": 3}]}) == [{"a": 1, "b": 10}, {"a": 2, "c": 3}]


def test_zip_takes_first_with_first() -> None:
    sweep = {
        "type": "zip",
        "params": {"a": [1, 2], "b": [3, 4]},
        "configs": {"c": ["x", "y"]},
        "groups": [{"type": "list", "params": {"d": [5]}, "groups": [{"params": {"d": [6]}}]}],
    }

    assert axes_of(sweep) == [{"a": 1, "b": 3, "c": "x", "d": 5}, {"a": 2, "b": 4, "c": "y", "d": 6}]


def test_list_puts_one_after_the_other() -> None:
    sweep = {
        "type": "list",
        "params": {"a": [1, 2]},
        "configs": {"b": ["x"]},
        "groups": [{"params": {"a": [3], "c": [4]}}],
    }

    assert axes_of(sweep) == [{"a": 1}, {"a": 2}, {"b": "x"}, {"a": 3, "c": 4}]


@pytest.mark.parametrize("key", ["params", "configs", "groups"])
@pytest.mark.parametrize("empty", [[], {}])
def test_a_sweep_over_nothing_is_refused(key: str, empty: object) -> None:
    with pytest.raises(SweepError, match=f"{key} is empty"):
        expand({"defaults": {"a": 1}, key: empty}, evaluate)


@pytest.mark.parametrize(
    "entry",
    [
        {"width": 16, "filter": "${calc:'${width} > 32'}"},
        {"width": 16, "params": {"depth": [1, 2]}},
        {"width": 16, "groups": [{"params": {"depth": [1, 2]}}]},
    ],
)
def test_an_entry_that_mixes_names_with_keys_of_a_level_is_refused(entry: dict[str, Any]) -> None:
    for configs in ({"model": [{"small": entry}]}, [entry]):
        with pytest.raises(SweepError, match="makes this entry a level") as refused:
            expand({"configs": configs}, evaluate)
        assert "defaults:" in refused.value.fix


def test_an_entry_may_filter_itself_and_have_a_name_that_is_no_axis_of_a_level() -> None:
    entries = [{"small": {"defaults": {"width": 16}, "filter": "${calc:'${width} > 32'}"}}, {"big": {"type": "json"}}]

    with pytest.raises(SweepError, match="drops all 1 points"):
        expand({"configs": {"model": entries[:1]}}, evaluate)
    assert scopes_of({"configs": {"model": entries[1:]}}) == [{"model": "big", "type": "json"}]


def test_an_entry_may_be_a_level_itself() -> None:
    large = {"defaults": {"width": 64}, "params": {"lr": [1, 2]}, "filter": "${calc:'${lr} * ${width} < 100'}"}

    assert axes_of({"configs": [{"lr": 9}, {"params": {"lr": [1, 2]}}]}) == [{"lr": 9}, {"lr": 1}, {"lr": 2}]
    assert scopes_of({"configs": {"model": [{"small": {"width": 16, "lr": 3}}, {"large": large}]}}) == [
        {"model": "small", "width": 16, "lr": 3},
        {"model": "large", "width": 64, "lr": 1},
    ]


def test_lists_of_several_groups_are_composed_where_that_is_asked_for() -> None:
    groups = [{"params": {"plugins": [["a"], ["b"]]}}, {"params": {"plugins": [["c"], []]}}]

    assert axes_of({"groups": groups, "list_composition": ["plugins"]}) == [
        {"plugins": ["a", "c"]},
        {"plugins": ["a"]},
        {"plugins": ["b", "c"]},
        {"plugins": ["b"]},
    ]


def test_a_list_among_the_defaults_of_one_group_is_composed_with_another_group_s() -> None:
    lent = {"defaults": {"plugins": ["a"]}, "configs": {"model": [{"small": {"plugins": ["s"]}}, "large"]}}
    groups = [lent, {"defaults": {"plugins": ["z"]}, "configs": {"data": [{"web": {"plugins": ["w"]}}, "books"]}}]
    sweep = {"groups": groups, "list_composition": ["plugins"], "defaults": {"plugins": ["never"]}}

    assert [scope["plugins"] for scope in scopes_of(sweep)] == [["s", "w"], ["s", "z"], ["a", "w"], ["a", "z"]]


def test_what_a_stage_defines_stands_over_what_the_study_s_sweep_lends() -> None:
    study = Point({"lr": 1}, {"lr": 1}, {"tokens": 5, "seed": 0})

    assert merge(study, Point({"tokens": 9}, {"tokens": 9})).scope() == {"lr": 1, "tokens": 9, "seed": 0}
    with pytest.raises(SweepError, match="'lr' is among the defaults of one part of a level"):
        merge(study, Point(defaults={"lr": 3}))


def test_defaults_give_way_to_entries_and_to_inner_defaults() -> None:
    sweep = {
        "defaults": {"warmup": 100, "decay": 1, "seed": 0},
        "groups": [{"defaults": {"decay": 2}, "configs": {"model": [{"a": {"warmup": 5}}, "b"]}}],
    }

    assert scopes_of(sweep) == [
        {"warmup": 5, "decay": 2, "seed": 0, "model": "a"},
        {"warmup": 100, "decay": 2, "seed": 0, "model": "b"},
    ]


def test_defaults_name_no_job() -> None:
    assert axes_of({"params": {"a": [1]}, "defaults": {"b": 2}}) == [{"a": 1}]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        pytest.param({"params": {"a": [1, 2, 3]}, "filter": "${calc:'${a} != 2'}"}, [1, 3], id="by an axis"),
        pytest.param(
            {"configs": {"a": [{"x": {"n": 1}}, {"y": {"n": 5}}]}, "filter": "${calc:'${n} > 2'}"},
            ["y"],
            id="by a param",
        ),
        pytest.param(
            {"params": {"a": [1, 2]}, "defaults": {"d": "${calc:'${a} * ${base}'}"}, "filter": "${calc:'${d} > 10'}"},
            [2],
            id="by a default",
        ),
        pytest.param(
            {"groups": [{"params": {"a": [1, 2, 3]}, "filter": "${calc:'${a} > 1'}"}], "filter": "${calc:'${a} < 3'}"},
            [2],
            id="on two levels",
        ),
        pytest.param({"params": {"a": [1]}, "filter": True}, [1], id="a plain boolean"),
    ],
)
def test_a_filter_keeps_the_points_for_which_it_is_true(sweep: dict[str, Any], expected: list[object]) -> None:
    assert [axes["a"] for axes in axes_of(sweep)] == expected


def test_require_lets_points_pass_that_fulfil_it_after_the_filter() -> None:
    sweep = {"params": {"a": [1, 2, 3]}, "filter": "${calc:'${a} < 3'}", "require": "${calc:'${a} < 3'}"}

    assert axes_of(sweep) == [{"a": 1}, {"a": 2}]


def _reference(level: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Enumerate a sweep by itertools alone."""
    axes = [[{name: value} for value in values] for name, values in level["params"].items()]
    entries = [_reference(entry) if "type" in entry else [entry] for entry in level["configs"]]
    groups = [*([[*chain(*entries)]] if entries else []), *(_reference(group) for group in level["groups"])]
    if level["type"] == "zip":
        rows: Any = zip(*axes, *groups, strict=True) if axes or groups else [()]
    elif level["type"] == "list" and (axes or groups):
        rows = ((point,) for point in chain(*([_merged(row) for row in product(*axes)] for _ in axes[:1]), *groups))
    else:
        rows = product(*axes, *groups)
    return [_merged(row) for row in rows]


def _merged(row: Any) -> dict[str, Any]:
    return dict(chain.from_iterable(part.items() for part in row))


def _written(level: Any) -> Any:
    """Leave out what is empty: nobody writes it."""
    if isinstance(level, dict):
        return {key: _written(value) for key, value in level.items() if value not in ({}, [])}
    return [_written(each) for each in level] if isinstance(level, list) else level


@st.composite
def _levels(draw: st.DrawFn) -> dict[str, Any]:
    names = (f"axis{number}" for number in count())

    def level(depth: int, length: int | None) -> dict[str, Any]:
        """Draw a level; with a length, one that has just so many points."""
        kind = draw(st.sampled_from(["product", "list", "zip"])) if length is None else "zip"
        wanted = length or (draw(st.integers(1, 3)) if kind == "zip" else None)
        sizes = st.integers(1, 3) if wanted is None else st.just(wanted)
        least = 1 if length or depth else 0
        params = {
            next(names): draw(st.lists(st.integers(), min_size=n, max_size=n))
            for n in draw(st.lists(sizes, min_size=least, max_size=2))
        }
        groups = [level(depth + 1, wanted) for _ in range(draw(st.integers(0, 2 if depth < 2 else 0)))]
        whole = draw(st.integers(0, 2)) if wanted is None and depth < 2 else 0
        configs = [
            level(depth + 1, None) if draw(st.booleans()) else {next(names): draw(st.integers())} for _ in range(whole)
        ]
        return {"type": kind, "params": params, "configs": configs, "groups": groups}

    return level(0, None)


@settings(max_examples=150)
@given(_levels())
def test_any_nesting_of_groups_is_what_itertools_makes_of_it(level: dict[str, Any]) -> None:
    assert axes_of(_written(level)) == _reference(level)


@pytest.mark.parametrize(
    ("sweep", "path", "said"),
    [
        pytest.param({"grid": {}}, ("grid",), "a sweep has no 'grid'", id="an unknown key"),
        pytest.param({"groups": [{"typ": "zip"}]}, ("groups", 0, "typ"), "a sweep has no 'typ'", id="unknown below"),
        pytest.param({"type": "grid"}, ("type",), "'grid' is no type of sweep", id="an unknown type"),
        pytest.param({"type": []}, ("type",), "[] is no type of sweep", id="no type"),
        pytest.param({"params": {"a": []}}, ("params", "a"), "the axis 'a' has no values", id="an empty axis"),
        pytest.param({"configs": {"m": []}}, ("configs", "m"), "the axis 'm' has no entries", id="no entries"),
        pytest.param({"params": [1]}, ("params",), "params is written as NAME: VALUES", id="params as a list"),
        pytest.param({"defaults": 3}, ("defaults",), "defaults is written as NAME: VALUES", id="defaults as a number"),
        pytest.param({"groups": 3}, ("groups",), "3 are no groups", id="groups as a number"),
        pytest.param({"groups": [3]}, ("groups", 0), "3 is no sweep", id="a group as a number"),
        pytest.param({"configs": 3}, ("configs",), "3 are no configs", id="configs as a number"),
        pytest.param({"configs": [3]}, ("configs", 0), "3 is no configuration", id="a configuration as a number"),
        pytest.param(
            {"configs": {"m": [{"a": 5}]}}, ("configs", "m", 0), "the entry 'a' of 'm' is 5", id="an entry as a number"
        ),
        pytest.param(
            {"configs": {"m": ["x", {"a": {"m": 1}}]}},
            ("configs", "m", 1),
            "the name 'm' is defined twice on one level",
            id="an entry that names its own axis",
        ),
        pytest.param(
            {"params": {"n": [1]}, "configs": {"m": [{"a": {"n": 1}}]}}, (), "the name 'n' is defined twice", id="twice"
        ),
        pytest.param(
            {"groups": [{"params": {"n": [1]}}, {"params": {"n": [2]}}]}, (), "the name 'n' is defined", id="two groups"
        ),
        pytest.param(
            {"groups": [{"defaults": {"d": 1}}, {"defaults": {"d": 2}}]},
            (),
            "the name 'd' is defined",
            id="two defaults",
        ),
        pytest.param(
            {"groups": [{"defaults": {"d": 1}}, {"configs": {"m": [{"a": {"d": 2}}]}}]},
            (),
            "'d' is among the defaults of one part of a level, and another part defines it",
            id="a default beside an entry",
        ),
        pytest.param(
            {"params": {"d": [1]}, "configs": {"m": [{"a": {"defaults": {"d": 2}, "params": {"x": [1]}}}]}},
            (),
            "'d' is among the defaults of one part of a level, and another part defines it",
            id="a default of an entry beside an axis",
        ),
        pytest.param(
            {"groups": [{"defaults": {"d": 1}}, {"params": {"d": [[2]]}}], "list_composition": ["d"]},
            ("list_composition",),
            "'d' is 1 and [2]",
            id="composition of a number among defaults",
        ),
        pytest.param(
            {"params": {"a": [1, 2]}, "filter": False},
            ("filter",),
            "the filter drops all 2 points",
            id="nothing is left",
        ),
        pytest.param(
            {
                "type": "list",
                "groups": [{"params": {"a": [1]}}, {"params": {"a": [2]}, "filter": "${calc:'${a} < 1'}"}],
            },
            ("groups", 1, "filter"),
            "the filter drops all 1 points",
            id="nothing is left of one group",
        ),
        pytest.param(
            {"list_composition": "a"}, ("list_composition",), "'a' are no names", id="composition of no names"
        ),
        pytest.param(
            {"groups": [{"params": {"n": [1]}}, {"params": {"n": [2]}}], "list_composition": ["n"]},
            ("list_composition",),
            "'n' is 1 and 2",
            id="composition of numbers",
        ),
        pytest.param({"params": {"a": [1]}, "filter": 1}, ("filter",), "the filter's value is 1", id="no boolean"),
        pytest.param(
            {"params": {"a": [1]}, "filter": "${a}"},
            ("filter",),
            "the filter's value is 1",
            id="no boolean once evaluated",
        ),
        pytest.param(
            {"params": {"a": [1]}, "require": "yes"},
            ("require",),
            "the require's value is 'yes'",
            id="require no boolean",
        ),
        pytest.param(
            {"params": {"a": [1, 9]}, "require": "${calc:'${a} < 5'}"},
            ("require",),
            "the point {'a': 9} is not what the sweep requires",
            id="require fails",
        ),
    ],
)
def test_what_cannot_be_expanded_names_the_key(sweep: object, path: tuple[str | int, ...], said: str) -> None:
    with pytest.raises(SweepError) as caught:
        expand(sweep, evaluate)

    assert caught.value.path == path
    assert said in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("groups", "fix"),
    [
        pytest.param([{"params": {"b": [1, 2, 3]}}], "a has 2, b has 3", id="unequal"),
    ],
)
def test_axes_of_unequal_length_cannot_be_zipped(groups: list[Any], fix: str) -> None:
    with pytest.raises(SweepError, match="axes of unequal length cannot be zipped") as caught:
        expand({"type": "zip", "params": {"a": [1, 2]}, "groups": groups}, evaluate)

    assert caught.value.fix == f"give them equally many values: {fix}"


def test_a_stage_s_point_beside_the_study_s_may_not_define_its_names_again() -> None:
    study, own = Point({"a": 1}, {"a": 1}), Point({"b": 2}, {"b": 2}, {"d": 3})

    assert merge(study, own) == Point({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"d": 3})
    with pytest.raises(SweepError, match="'a' is defined by the study's sweep, and again by the stage's"):
        merge(study, study)


def test_a_key_s_place_goes_with_what_is_evaluated() -> None:
    asked: list[tuple[object, object]] = []

    def note(raw: object, names: Mapping[str, object], path: object) -> Any:
        asked.append((raw, path))
        return evaluate(raw, names, path)

    expand({"groups": [{"params": {"a": [1]}, "filter": True}], "configs": [{"b": 2}]}, note)

    assert asked == [(2, ("configs", 0, "b")), (1, ("groups", 0, "params", "a")), (True, ("groups", 0, "filter"))]


def test_of_points_only_some_axes_may_be_kept_with_the_names_that_no_other_one_changes() -> None:
    sweep = {
        "params": {"lr": [1, 2]},
        "configs": {"model": [{"a": {"width": 3, "depth": 1}}, {"b": {"width": 3, "depth": 2}}]},
        "defaults": {"seed": 7},
    }
    points = expand(sweep, evaluate)

    (none,) = project(points, ())
    assert (none.axes, none.scope()) == ({}, {"width": 3, "seed": 7})
    small, large = project(points, ("model",))
    assert [dict(small.axes), dict(large.axes)] == [{"model": "a"}, {"model": "b"}]
    assert large.scope() == {"model": "b", "width": 3, "depth": 2, "seed": 7}
    assert list(project(points, ("model", "lr"))) == points
    with pytest.raises(SweepError, match="the sweep has no axis modle"):
        list(project(points, ("modle",)))


def test_an_expression_that_comes_to_a_list_is_an_axis_and_one_in_a_list_is_a_value() -> None:
    calculated = {"[0, 1, 2]": [0, 1, 2], "[]": []}

    def evaluate(raw: object, _names: object, _path: object) -> Any:
        return calculated.get(str(raw), raw)

    assert [point.axes for point in expand({"params": {"n": "[0, 1, 2]"}}, evaluate)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [point.axes for point in expand({"params": {"n": ["[0, 1, 2]"]}}, evaluate)] == [{"n": [0, 1, 2]}]
    with pytest.raises(SweepError, match="the axis 'n' has no values"):
        expand({"params": {"n": "[]"}}, evaluate)
