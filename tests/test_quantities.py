from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.quantities import BYTES, COUNTS, SECONDS, duration_s, parse, size_bytes

UNITS = {**COUNTS, **BYTES}
WHOLES = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4k", 4_000),
        ("4K", 4_000),
        ("100M", 100_000_000),
        ("2B", 2_000_000_000),
        ("1.5T", 1_500_000_000_000),
        ("1_000", 1_000),
        ("-3", -3),
        ("1e3", 1_000),
        ("0.25", 0.25),
        ("2.5e-1k", 250),
        (" 7 ", 7),
        ("500MB", 500_000_000),
        ("4GiB", 4 * 1024**3),
        ("4 GiB", 4 * 1024**3),
        ("1kB", 1_000),
        ("1KiB", 1_024),
        ("90s", 90),
        ("30m", 1_800),
        ("12h", 43_200),
        ("2d", 172_800),
        ("1h30m", 5_400),
        ("0.5h", 1_800),
        ("1.5s", 1.5),
    ],
)
def test_a_quantity_means_what_it_says(text: str, value: float) -> None:
    parsed = parse(text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "M",
        "4 k k",
        "1,000",
        "4kb",
        "4GB/s",
        "12:30:00",
        "1 h",
        "--3",
        "1.",
        "0x10",
        "inf",
        "nan",
        "1e99999999999",
    ],
)
def test_what_is_no_quantity_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a count \(4k, 100M, 2B\), a size \(500MB, 4GiB\) or a duration"):
        parse(text)


@given(WHOLES, st.sampled_from(sorted(UNITS)))
def test_a_whole_number_times_its_unit_is_exact(number: int, unit: str) -> None:
    assert parse(f"{number}{unit}") == number * UNITS[unit]


@given(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(COUNTS)))
def test_a_decimal_times_its_unit_is_as_exact_as_a_float_can_be(number: object, unit: str) -> None:
    exact = Fraction(str(number)) * COUNTS[unit]

    assert parse(f"{number}{unit}") == (int(exact) if exact.denominator == 1 else float(exact))


@given(st.lists(st.tuples(WHOLES, st.sampled_from(sorted(SECONDS))), min_size=1, max_size=4))
def test_durations_add_up_and_mean_the_same_everywhere(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)

    assert parse(text) == duration_s(text) == sum(number * SECONDS[unit] for number, unit in parts)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    try:
        assert isinstance(parse(text), int | float)
    except ValueError as error:
        assert "is no quantity" in str(error)  # noqa: PT017 - both answers are fine


@pytest.mark.parametrize("value", [7200, 0, 1.5, True, None, "7200", "4GiB", "100M", "-5s", [1], ""])
def test_a_bare_number_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is no duration; write it with its unit: 90s, 30m, 12h, 2d"):
        duration_s(value)


@pytest.mark.parametrize("value", [4, "4", "4G", "4B", "12h", None, True])
def test_a_bare_number_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is no size; write it with its unit: 500MB, 4GiB"):
        size_bytes(value)


@pytest.mark.parametrize("value", ["-4GiB", "0MB", "1.0005kB"])
def test_a_size_is_a_whole_number_of_bytes_above_zero(value: str) -> None:
    with pytest.raises(ValueError, match="is no whole number of bytes above zero"):
        size_bytes(value)


def test_a_size_may_be_a_fraction_of_its_unit() -> None:
    assert size_bytes("1.5GiB") == 1_610_612_736
