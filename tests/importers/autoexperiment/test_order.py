from typing import Any

from autoexp.importers.autoexperiment.order import lifted, place, positions, settle
from autoexp.importers.autoexperiment.tree import Definition, definitions
from autoexp.importers.notes import Notes
from autoexp.places import Places


def settled(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    notes = Notes(Places("f.yaml"))
    kept = settle(definitions(raw, (), notes), positions(raw), notes)
    return {one.name: one.value for one in kept}, str(notes.warnings)


def test_the_later_of_two_values_counts() -> None:
    assert settled({"a": {"n": 1}, "b": {"n": 2}})[0] == {"n": 2}


def test_a_value_stands_over_what_branches_before_it_bring() -> None:
    kept, told = settled({"m": [{"s": {"n": 1, "w": 1}}, {"l": {"w": 2}}], "n": 3})

    assert kept == {"m": [{"s": {"w": 1}}, {"l": {"w": 2}}], "n": 3}
    assert "n is left out" in told


def test_branches_stand_over_a_value_before_them_as_far_as_they_go() -> None:
    some = {"n": 3, "m": [{"s": {"n": 1}}, {"l": {"w": 2}}]}

    assert settled(some)[0] == some
    assert settled({"n": 3, "m": [{"s": {"n": 1}}, {"l": {"n": 2}}]})[0].keys() == {"m"}


def test_an_axis_that_a_later_value_hides_is_kept_and_told() -> None:
    kept, told = settled({"lr": [1, 2], "x": {"lr": 5}})

    assert kept == {"lr_swept": [1, 2], "lr": 5}
    assert "make no difference" in told


def test_what_a_stage_stands_over_gets_another_name_in_the_sweep() -> None:
    raw = {"m": [{"s": {"n": 1}}], "n_of_stage": {"n": 2}}
    where = positions(raw)
    common, own = definitions(raw, (), Notes(Places("f.yaml")))

    changed, called = lifted([common], [own], where)

    assert (changed[0].value, called) == ([{"s": {"n_of_m": 1}}], {"n": "n_of_m"})


def test_a_branch_of_a_plain_value_stands_where_the_branch_does() -> None:
    raw = {"m": [{"s": 1}]}

    assert place(positions(raw), Definition("s", 1, ("m", 0, "s", "s"))) == place(
        positions(raw), Definition("s", 1, ("m", 0, "s"))
    )
