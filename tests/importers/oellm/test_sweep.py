from typing import Any

import pytest

from autoexp.errors import RecipeError
from autoexp.importers.notes import Notes
from autoexp.importers.oellm.sweep import Node, Reader, flat, lifted, of_stage, shared
from autoexp.places import Places


def node(raw: dict[str, Any]) -> Node:
    return Reader(Notes(Places("x.yaml")), lambda group, name: {"from": f"{group}/{name}"}).node(raw, ("sweep",))


def test_what_only_fixes_values_is_no_level_of_its_own() -> None:
    raw = {"type": "product", "groups": [{"configs": [{"a": 1, "b": 2}]}, {"params": {"c": [1, 2]}}, {"d": [3, 4]}]}

    assert node(raw) == Node(fixed={"a": 1, "b": 2}, params={"c": [1, 2], "d": [3, 4]})


def test_values_that_follow_from_other_axes_are_no_axis() -> None:
    assert node({"params": {"a": [1, 2], "b": "${a}"}}) == Node(
        kind="product", fixed={"b": "${a}"}, params={"a": [1, 2]}
    )


def test_choices_of_groups_stand_for_their_files() -> None:
    one, two = node({"configs": [{"m/n": ["x"]}, {"m/n": "y", "a": 1}]}).children

    assert (one.fixed, one.label) == ({"m.n.from": "m/n/x"}, "x")
    assert (two.fixed, two.label) == ({"m.n.from": "m/n/y", "a": 1}, "y")


STAGED = {
    "groups": [
        {"params": {"lr": [1, 2]}},
        {
            "type": "list",
            "configs": [
                {"stage": "stable", "t": 1},
                {
                    "type": "list",
                    "defaults": {"f": 0.2},
                    "configs": [{"stage": "short", "t": 2}, {"stage": "long", "t": 3}],
                },
            ],
        },
    ],
}


def test_each_stage_keeps_its_own_branches() -> None:
    root = node(STAGED)

    assert [*root.stages()] == ["stable", "short", "long"]
    assert of_stage(root, "stable", "") == Node(fixed={"t": 1}, params={"lr": [1, 2]})
    assert of_stage(root, "long", "") == Node(fixed={"f": 0.2, "t": 3}, params={"lr": [1, 2]})
    assert of_stage(root, "other", "") is None


def test_stages_may_be_an_axis() -> None:
    root = node({"params": {"stage": ["a", "b"], "lr": [1, 2]}})

    assert of_stage(root, "b", "") == Node(params={"lr": [1, 2]})


def test_what_all_stages_sweep_is_the_study_s() -> None:
    made = [found for name in ("stable", "short") if (found := of_stage(node(STAGED), name, ""))]

    common, own = shared(made)

    assert common == Node(params={"lr": [1, 2]})
    assert [each.params for each in own] == [{}, {}]


def test_paths_that_some_points_lack_are_told_apart() -> None:
    root = node({"configs": [{"a": 1, "b": 1}, {"a": 2}]})

    assert (root.paths(), root.always()) == ({"a", "b"}, {"a"})


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(RecipeError, match="'zip' is no type of sweep"):
        node({"type": "zip"})


def test_conditions_stay_whole_when_a_configuration_is_listed() -> None:
    raw = {"job": {"start_condition": {"class_name": "X"}, "name": "n"}}

    assert flat(raw) == {"job.start_condition": {"class_name": "X"}, "job.name": "n"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([1], "is no sweep"),
        ({"groups": 3}, "3 is no groups"),
        ({"params": ["lr"]}, "is no params"),
        ({"groups": [{"base_values": "lr"}]}, "'lr' is no base_values"),
    ],
)
def test_what_has_not_the_shape_of_a_sweep_is_refused(raw: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        node(raw)


def test_what_all_points_have_in_common_is_lifted_to_the_top() -> None:
    root = node(
        {
            "groups": [
                {"configs": [{"a": 1, "job.x": 0}, {"a": 2}]},
                {"configs": [{"b": 1, "job.y": "s"}, {"b": 2, "job.y": "s"}]},
            ]
        }
    )
    found = lifted(root, lambda path: path.startswith("job."))

    assert found.fixed == {"job.y": "s"}
    assert [[each.fixed for each in child.children] for child in found.children] == [
        [{"a": 1, "job.x": 0}, {"a": 2}],
        [{"b": 1}, {"b": 2}],
    ]
