import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.report.numbers import duration_s, finite, middle, whole


@pytest.mark.parametrize("value", [math.nan, math.inf, "1.5", True, None, [1], {}, 10**400, -1e31])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert finite(value) is None


@pytest.mark.parametrize(("value", "number"), [(3, 3), (3.0, 3), ("2048", 2048), ("1e3", 1000)])
def test_whole_numbers_are_read_however_they_are_spelled(value: object, number: int) -> None:
    assert whole(value) == number


@pytest.mark.parametrize("value", [0, -1, 2.5, 1e16, "9" * 400, "many", "nan", "inf", True, None, {}])
def test_what_is_no_positive_whole_number_is_none(value: object) -> None:
    assert whole(value) is None


@pytest.mark.parametrize("value", [0, -1.0, 1e-300, math.nan, None])
def test_nothing_is_divided_by_no_time(value: object) -> None:
    assert duration_s(value) is None


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()))
def test_any_value_can_be_asked(value: Any) -> None:
    assert finite(value) is None or math.isfinite(float(value))
    assert whole(value) is None or float(value) == whole(value)


def test_the_middle_of_nothing_is_nothing() -> None:
    assert (middle([]), middle([3.0, 1.0, 9.0]), middle((1.0, 2.0))) == (None, 3.0, 1.5)
