import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.naming import job_id, label, safe
from autoexp.stages import is_name


@pytest.mark.parametrize(
    ("axes", "parent", "name"),
    [
        pytest.param({}, None, "train", id="no axes"),
        pytest.param({"model": "10M", "lr": 0.001}, None, "train-model10M-lr0.001", id="axes in their order"),
        pytest.param({}, "pretrain-lr1", "train-pretrain-lr1", id="a parent"),
        pytest.param({"task": "arc"}, "convert-x@0000200", "train-taskarc-convert-x@0000200", id="both"),
    ],
)
def test_a_job_is_named_by_its_stage_its_axes_and_its_parent(
    axes: dict[str, object], parent: str | None, name: str
) -> None:
    assert job_id("train", axes, parent) == name


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (1, "1"),
        (1.0, "1"),
        (-3.0, "-3"),
        (0.001, "0.001"),
        (1e-05, "1e-05"),
        (1e15, "1000000000000000"),
        (1e16, "1e+16"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (True, "true"),
        (None, "null"),
        ("10M", "10M"),
        ("a/b c", "a_b_c"),
        ([1, 2.0, "x"], "1_2_x"),
        ("größe", "gr__e"),
        ("", ""),
    ],
)
def test_a_value_is_spelled_as_a_name_can_hold_it(value: object, spelled: str) -> None:
    assert label(value) == spelled


@given(st.text(max_size=10), st.one_of(st.text(max_size=10), st.floats(), st.lists(st.text(max_size=3), max_size=3)))
def test_a_job_s_id_can_be_a_directory_whatever_the_axes_are(axis: str, value: object) -> None:
    name = job_id("train", {axis: value})

    assert is_name(name.replace("@", "").replace("+", ""))


@given(st.text(max_size=20))
def test_making_a_text_safe_twice_changes_nothing_more(text: str) -> None:
    assert safe(safe(text)) == safe(text)
    assert len(safe(text)) == len(text)
