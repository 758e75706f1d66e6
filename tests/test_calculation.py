import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.calculation import HOLE, ExpressionError, compile_calculation
from autoexp.functions import FUNCTIONS


def calculate(text: str, *values: object) -> Any:
    """Calculate with `{0}`, `{1}`... standing for values."""
    holes = [HOLE.format(number) for number in range(len(values))]
    return compile_calculation(text.format(*holes), text)(values)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 4", 3),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("+3 - -3", 6),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("1 == 1.0 and 1 != 2", True),
        ("2 >= 2 or 1 / 0 > 1", True),
        ("not 1 > 2", True),
        ("0 or 5", 5),
        ("2 and 3", 3),
        ("3 if 1 > 2 else 4", 4),
        ('"M" in "10M"', True),
        ("4 not in [1, 2]", True),
        ("2 in (1, 2)", True),
        ('"a" + "b"', "ab"),
        ("[1] + [2]", [1, 2]),
        ("None == None", True),
        ("ceil(2.1) + floor(2.9)", 5),
        ("min(3, 1, 2) + max([4, 5])", 6),
        ("round(2.5)", 2),
        ("round(2.345, 1)", 2.3),
        ("abs(-3)", 3),
        ("sqrt(16) + log2(8)", 7.0),
        ('int("42") + float("0.5")', 42.5),
        ('str(10) + "M"', "10M"),
        ('len("abc")', 3),
        ("[4, 5, 6][1]", 5),
        ("[4, 5, 6][-1]", 6),
        ("[4, 5, 6][1:]", [5, 6]),
        ('"abc"[::2]', "ac"),
        ("round(2.345, ndigits=1)", 2.3),
        ("sorted([2, 1], reverse=1 > 0)", [2, 1]),
        ("  1 +\t1 ", 2),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(text: str, value: object) -> None:
    assert calculate(text) == value
    assert type(calculate(text)) is type(value)


def test_a_division_that_comes_out_even_stays_an_integer_however_large() -> None:
    assert calculate("{0} / {1}", 6, 3) == 2
    assert isinstance(calculate("{0} / {1}", 6, 3), int)
    assert calculate("{0} / 10", 10**40) == 10**39
    assert isinstance(calculate("6.0 / 3"), float)


def test_a_value_is_a_value_and_never_text() -> None:
    assert calculate("{0} ** 2", -3) == 9
    assert calculate("2 * {0}", -3) == -6
    assert calculate("{0} + 1 if {1} else 0", 1, "yes") == 2
    assert calculate("{0}", '__import__("os")') == '__import__("os")'


def test_a_value_is_only_asked_for_where_it_is_needed() -> None:
    class Picky(list[object]):
        def __getitem__(self, number: Any) -> Any:
            if number == 1:
                raise ExpressionError("${b} is not defined")
            return super().__getitem__(number)

    holes = Picky([True, None])
    choice = compile_calculation("1 if __hole_0__ else __hole_1__", "shown")

    assert choice(holes) == 1
    with pytest.raises(ExpressionError, match=r"\$\{b\} is not defined"):
        compile_calculation("__hole_0__ and __hole_1__", "shown")(holes)


NUMBERS = st.integers(-50, 50) | st.floats(-50, 50).map(lambda x: round(x, 3)) | st.booleans()


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(
        inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!=", ">", "and", "or"]), inner
    )
    calls = st.tuples(st.sampled_from(["ceil", "floor", "abs", "round", "int", "float", "sqrt", "log2"]), inner)
    return st.one_of(
        pairs.map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.integers(-3, 3)).map(lambda p: f"({p[0]} ** {p[1]})"),
        st.tuples(inner, st.sampled_from([0.5, 1.5])).map(lambda p: f"(abs({p[0]}) ** {p[1]})"),  # never complex
        st.tuples(st.sampled_from(["-", "+", "not "]), inner).map(lambda p: f"({p[0]}{p[1]})"),
        calls.map(lambda c: f"{c[0]}({c[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda c: f"{c[0]}({c[1]}, {c[2]})"),
        st.tuples(inner, inner, inner).map(lambda c: f"({c[0]} if {c[1]} else {c[2]})"),
        st.tuples(inner, inner, inner).map(lambda c: f"({c[0]} in [{c[1]}, {c[2]}])"),
        st.tuples(inner, inner, inner).map(lambda c: f"({c[0]} < {c[1]} <= {c[2]})"),
    )


EXPRESSIONS = st.recursive(
    st.sampled_from([HOLE.format(n) for n in range(3)]) | NUMBERS.map(repr), _combined, max_leaves=8
)


def _python(text: str, holes: list[Any]) -> Any:
    names: dict[str, Any] = {HOLE.format(number): value for number, value in enumerate(holes)}
    try:
        return eval(text, {"__builtins__": {}}, {**FUNCTIONS, **names})  # noqa: S307 - Python is the reference
    except (ArithmeticError, ValueError, TypeError):
        return "no value"


def _ours(text: str, holes: list[Any]) -> Any:
    try:
        return compile_calculation(text, text)(holes)
    except ExpressionError:
        return "no value"


@settings(max_examples=400)
@given(EXPRESSIONS, st.lists(NUMBERS, min_size=3, max_size=3))
def test_every_expression_comes_to_what_python_makes_of_it(text: str, holes: list[Any]) -> None:
    ours, pythons = _ours(text, holes), _python(text, holes)

    if isinstance(ours, str) or isinstance(pythons, str):
        assert ours == pythons
    else:
        assert math.isclose(ours, pythons, rel_tol=1e-12) or (math.isnan(ours) and math.isnan(pythons))


@settings(max_examples=300)
@given(st.text(max_size=20) | st.text("0123456789+-*/%()[]<>=!., \"'abcdefinor_{}:~@", max_size=30))
def test_any_text_has_a_value_or_an_expression_error(text: str) -> None:
    try:
        compile_calculation(text, text)([])
    except ExpressionError as error:
        assert str(error)  # noqa: PT017 - both answers are fine


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "is no expression: invalid syntax", id="nothing"),
        pytest.param("1 +", "is no expression: invalid syntax", id="half an expression"),
        pytest.param("x = 1", "is no expression", id="an assignment"),
        pytest.param("a + 1", "the name 'a' stands for nothing; a value is written ${a}", id="a bare name"),
        pytest.param("(1).real", "attribute is not allowed", id="an attribute"),
        pytest.param("[1][0].real", "attribute is not allowed", id="an attribute of an entry"),
        pytest.param("lambda: 1", "lambda is not allowed", id="a function"),
        pytest.param("[x for x in [1]]", "listcomp is not allowed", id="a comprehension"),
        pytest.param('f"{{1}}"', "joinedstr is not allowed", id="an f-string"),
        pytest.param("(y := 1)", "namedexpr is not allowed", id="a walrus"),
        pytest.param("{{1: 2}}", "dict is not allowed", id="a mapping"),
        pytest.param("~1", "the operator invert is not allowed", id="bitwise not"),
        pytest.param("1 << 9", "the operator lshift is not allowed", id="a shift"),
        pytest.param("1 is 1", "the operator is is not allowed", id="identity"),
        pytest.param("1j", "1j is not allowed", id="a complex number"),
        pytest.param("...", "Ellipsis is not allowed", id="an ellipsis"),
        pytest.param('open("x")', "'open' is no function here; there are ceil, floor", id="an unknown function"),
        pytest.param("min(**{0})", "** is not allowed", id="keywords in a mapping"),
        pytest.param("min(*[1])", "starred is not allowed", id="a star"),
        pytest.param("abs(1)(2)", "'abs(1)' is no function here", id="a call of a call"),
        pytest.param('"{0}"', "write ${x}, not ${x} inside quotes", id="a value inside quotes"),
        pytest.param("(" * 250 + "1" + ")" * 250, "is no expression", id="nested deeply"),
        pytest.param("-" * 5000 + "1", "is no expression", id="nested very deeply"),
    ],
)
def test_what_is_no_expression_is_refused_when_the_recipe_is_read(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_calculation(text.format("__hole_0__"), text)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        pytest.param("1 / {0}", [0], "has no value: division by zero", id="a division by zero"),
        pytest.param("1 // {0}", [0], "has no value", id="an integer division by zero"),
        pytest.param("1 % {0}", [0], "has no value", id="a remainder of zero"),
        pytest.param("{0} ** 0.5", [-4], "-4 ** 0.5 is no real number", id="a root of a negative number"),
        pytest.param("sqrt({0})", [-4], "has no value", id="sqrt of a negative number"),
        pytest.param("9 ** 9 ** 9", [], "is too large a number", id="a giant"),
        pytest.param("2.0 ** 9999", [], "has no value", id="a giant float"),
        pytest.param("{0} + 1", ["x"], "has no value", id="text plus a number"),
        pytest.param("{0} * 3", ["x"], "'x' * 3: only numbers go with *", id="text times a number"),
        pytest.param("{0} % 3", ["%d"], "'%d' % 3: only numbers go with %", id="text formatting"),
        pytest.param("[1] * 3", [], "[1] * 3: only numbers go with *", id="a list times a number"),
        pytest.param("{0} < 1", [None], "has no value", id="nothing compared"),
        pytest.param('int("ten")', [], "has no value", id="a word as a number"),
        pytest.param("min()", [], "has no value", id="the least of none"),
        pytest.param("max([])", [], "has no value", id="the most of none"),
        pytest.param("__hole_7__", [], "has no value", id="a value that was never given"),
    ],
)
def test_values_without_a_result_are_an_error_that_shows_the_expression(
    text: str, values: list[Any], said: str
) -> None:
    holes = [HOLE.format(number) for number in range(len(values))]
    compiled: Callable[[Any], Any] = compile_calculation(text.format(*holes), "what the recipe says")

    with pytest.raises(ExpressionError) as caught:
        compiled(values)

    assert str(caught.value).startswith("what the recipe says has no value: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("1 = 1", "write =="),
        ("1 >= 1 && 2 != 3", "write and"),
        ("1 || !2", "write or, not"),
        ("1 ? 2 : 3", "write x if c else y"),
        ("1 +", "correct the value"),
    ],
)
def test_signs_of_other_languages_are_told_with_ours(text: str, fix: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_calculation(text, text)

    assert caught.value.fix == fix
