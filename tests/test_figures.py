import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import figures
from autoexp.logs import LogFacts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("-2e-3", -0.002),
        ("1,234.56", 1234.56),
        (" 7 ", 7.0),
        ("nan", None),
        ("inf", None),
        ("-Infinity", None),
        ("", None),
        (None, None),
        ("N/A", None),
        ("1.5GiB", None),
    ],
)
def test_a_number_is_finite_or_none(text: str | None, value: float | None) -> None:
    assert figures.number(text) == value


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("3.0", 3), ("2e+3", 2000), ("1e30", None), ("nan", None)])
def test_a_number_of_things_is_whole_and_one_that_can_be(text: str, value: int | None) -> None:
    assert figures.whole(text) == value


@given(st.text())
def test_no_text_is_too_odd_to_be_no_number(text: str) -> None:
    value = figures.number(text)

    assert value is None or abs(value) < float("inf")
    assert isinstance(figures.bare(figures.plain(text)), str)


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("\x1b[31mstep\x1b[0m", "step"),
        ("12: step", "step"),
        ("[rank0]:step", "step"),
        ("[1,0]<stdout>:step", "step"),
        ("[prterun-h-1@1,0]<stdout>: step", "step"),
        ("n-17: [default0]: 2026-03-01T10:00:00 step", "step"),
        ("2026-03-01 10:00:00,123 step", "step"),
        ("Map: 3", "Map: 3"),
        ("10:20:30", "10:20:30"),
        ("1: " * 20 + "x", "1: " * 14 + "x"),
    ],
)
def test_colours_and_launchers_prefixes_are_taken_away(line: str, rest: str) -> None:
    assert figures.bare(line) == rest


def test_a_report_without_a_loss_leaves_the_last_one_known_and_the_first_rate_stays() -> None:
    first = figures.report(LogFacts(), 10, lr=0.1, loss=2.0)
    second = figures.report(first, 20, lr=0.2, loss=None)

    assert (second.iteration, second.loss, second.reports) == (20, 2.0, 2)
    assert (second.first_iteration, second.first_lr) == (10, 0.1)
