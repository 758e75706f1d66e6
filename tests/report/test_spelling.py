import csv
import io
import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.report.spelling import (
    AXIS_PREFIX,
    Column,
    Kind,
    Table,
    as_csv,
    as_json,
    as_lines,
    as_markdown,
    axis,
    count,
    shorten,
    spell,
    tick,
    without_empty,
)

JOB = Column(key="job", title="job", short="job")
NOTES = Column(key="notes", title="notes", kind=Kind.NOTES)


def table(*rows: dict[str, Any], columns: tuple[Column, ...] = (JOB,)) -> Table:
    return Table(name="t", title="T", columns=columns, rows=rows)


def one(kind: Kind, value: Any) -> str:
    return spell(Column(key="x", title="x", kind=kind), {"x": value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (524_288, "524k"),
        (999_600, "1.00M"),
        (2_097_152_000, "2.10B"),
        (3e12, "3.00T"),
    ],
)
def test_large_numbers_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (9.996, "10.0"), (88.04, "88.0"), (121.4, "121")])
def test_small_rates_have_three_digits(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (50e6, "50M"), (2500.0, "2.5k"), (0.5, "0.5")])
def test_ticks_are_as_short_as_they_can_be(value: float, text: str) -> None:
    assert tick(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (100_000_000, "100M"),
        (1_500_000_000, "1.5B"),
        (1_234_567, "1234567"),
        (2048, "2048"),
        (0.001, "0.001"),
        (True, "true"),
        ("10M", "10M"),
        ([1, 2], "1_2"),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
    ],
)
def test_axes_are_spelled_as_a_recipe_would(value: Any, text: str) -> None:
    assert axis(value) == text


@given(st.integers(min_value=0, max_value=10**20))
def test_an_axis_number_never_loses_a_digit(value: int) -> None:
    text = axis(value)
    scale = {"T": 10**12, "B": 10**9, "M": 10**6, "k": 10**3}.get(text[-1], 1)
    number = text.rstrip("TBMk")
    assert Fraction(number) * scale == value if scale > 1 else math.isclose(float(number), value, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Kind.LOSS, 2.5, "2.5000"),
        (Kind.DIFFERENCE, -0.1, "-0.1000"),
        (Kind.DIFFERENCE, 0.1, "+0.1000"),
        (Kind.PERPLEXITY, 12.3456, "12.35"),
        (Kind.PERPLEXITY, 123456.0, "1.23e+05"),
        (Kind.FLAG, True, "yes"),
        (Kind.FLAG, False, "no"),
        (Kind.NOTES, ["a", "b"], "a; b"),
        (Kind.LOSS, None, "-"),
    ],
)
def test_values_are_spelled_by_their_kind(kind: Kind, value: Any, text: str) -> None:
    assert one(kind, value) == text


def test_progress_is_out_of_what_was_asked() -> None:
    column = Column(key="iteration", title="", kind=Kind.PROGRESS)
    assert spell(column, {"iteration": 5, "train_iters": 10}) == "5/10"
    assert spell(column, {"iteration": 5, "train_iters": None}) == "5"


def test_markdown_reads_nothing_into_a_name() -> None:
    text = as_markdown(table({"job": "<script>|`*x*`\n# [y](z) & \\"}))
    assert text.splitlines()[-1] == r"| &lt;script&gt;\|\`\*x\*\` # \[y\](z) &amp; \\ |"


def test_markdown_of_no_rows_says_none() -> None:
    assert as_markdown(table()) == "## T\n\nnone\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_a_csv_gives_back_every_text(names: list[str]) -> None:
    text = as_csv(table(*({"job": name, "notes": [name]} for name in names), columns=(JOB, NOTES)))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["job", "notes"], *([name, name] for name in names)]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_csv_gives_back_every_digit(number: float) -> None:
    columns = (JOB, Column(key="x", title="x", kind=Kind.LOSS))
    rows = list(csv.DictReader(io.StringIO(as_csv(table({"job": "a", "x": number}, columns=columns)))))
    assert float(rows[0]["x"]) == float(number)


def test_what_is_missing_is_an_empty_field_and_null() -> None:
    columns = (JOB, Column(key="x", title="x", kind=Kind.LOSS), Column(key="y", title="y", kind=Kind.FLAG))
    made = table({"job": "a", "x": None, "y": None}, columns=columns)
    assert as_csv(made) == "job,x,y\na,,\n"
    assert as_json(made) == [{"job": "a", "x": None, "y": None}]


def test_an_axis_named_like_a_column_keeps_its_prefix() -> None:
    columns = (
        JOB,
        Column(key="tokens", title="trained tokens", kind=Kind.COUNT),
        Column(key=f"{AXIS_PREFIX}tokens", title="tokens", kind=Kind.AXIS),
        Column(key=f"{AXIS_PREFIX}lr", title="lr", kind=Kind.AXIS),
    )
    made = table({"job": "a", "tokens": 5, "values.tokens": 7, "values.lr": 0.1}, columns=columns)
    assert as_csv(made) == "job,tokens,values.tokens,lr\na,5,7,0.1\n"
    assert as_json(made) == [{"job": "a", "tokens": 5, "values": {"tokens": 7, "lr": 0.1}}]


def test_an_axis_that_json_cannot_spell_is_spelled_as_text() -> None:
    columns = (JOB, Column(key=f"{AXIS_PREFIX}x", title="x", kind=Kind.AXIS))
    made = table({"job": "a", "values.x": [math.inf, {"y": math.nan}]}, columns=columns)
    assert json.dumps(as_json(made), allow_nan=False) == '[{"job": "a", "values": {"x": ["inf", {"y": "nan"}]}}]'


WIDE = (
    JOB,
    Column(key="a", title="a", short="a" * 20, rank=1, kind=Kind.WHOLE),
    Column(key="b", title="b", short="b" * 20, rank=2),
    Column(key="c", title="c", short="c" * 20),
    Column(key="d", title="d"),
)


def test_a_terminal_gets_every_column_that_fits() -> None:
    lines = as_lines(table({"job": "x", "a": 1, "b": "2", "c": "3"}, columns=WIDE))
    assert lines[0].split() == ["job", "a" * 20, "b" * 20, "c" * 20]
    assert lines[1].split() == ["x", "1", "2", "3"]


def test_a_narrow_terminal_loses_the_least_important_columns_first() -> None:
    made = table({"job": "x", "a": 1, "b": "2", "c": "3"}, columns=WIDE)
    assert as_lines(made, 50)[0].split() == ["job", "a" * 20, "c" * 20]
    assert as_lines(made, 30)[0].split() == ["job", "c" * 20]


@given(st.text("abc-", min_size=1, max_size=180), st.integers(60, 120))
def test_lines_fit_the_terminal_whatever_the_name(name: str, width: int) -> None:
    lines = as_lines(table({"job": name, "a": 1, "b": "2", "c": "3"}, columns=WIDE), width)
    assert max(map(len, lines)) <= width


def test_names_are_cut_in_the_middle() -> None:
    assert shorten("pretrain-model10M-lr0.001", 12) == "pretra…0.001"
    assert shorten("short", 12) == "short"


def test_columns_that_no_row_fills_are_left_to_the_files() -> None:
    columns = (Column(key="a", title="a"), Column(key="b", title="b"), Column(key="notes", title="n", kind=Kind.NOTES))
    made = Table(name="t", title="T", columns=columns, rows=({"a": "x", "b": None, "notes": []},))

    assert [column.key for column in without_empty(made).shown] == ["a", "notes"]
    assert as_csv(without_empty(made)) == "a,b,notes\nx,,\n"
    assert len(without_empty(Table(name="t", title="T", columns=columns)).shown) == 3
