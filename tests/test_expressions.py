import os
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autoexp.calculation import ExpressionError
from autoexp.expressions import UndefinedName, compile_value, literal
from autoexp.scope import JobScope

NAMES: Mapping[str, Any] = {
    "x": -3,
    "rate": 1e-2,
    "name": "10M",
    "flag": True,
    "none": None,
    "text": "it's $HOME; \\${x}",
    "list": [1, [2, 3]],
    "map": {"k": {"deep": 5}},
}


def evaluate(value: object, names: Mapping[str, Any] = NAMES, **variables: str) -> Any:
    return compile_value(value)(JobScope(levels=(names,), variables=variables))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("${x}", -3, id="a value keeps its type"),
        pytest.param("a${x}b", "a-3b", id="inside text it becomes text"),
        pytest.param("${x}${name}", "-310M", id="two in a row"),
        pytest.param("${flag} ${none}", "true null", id="booleans and null in text"),
        pytest.param("${list.1.0} ${list[0]} ${map.k.deep} ${map[k].deep}", "2 1 5 5", id="paths"),
        pytest.param("${map.k}", {"deep": 5}, id="a mapping"),
        pytest.param("\\${x}", "${x}", id="an escaped one"),
        pytest.param("$x $HOME $((1+1)) {x} %s \\n", "$x $HOME $((1+1)) {x} %s \\n", id="nothing else is special"),
        pytest.param("${text}", "it's $HOME; ${x}", id="what came of a value is not evaluated again"),
        pytest.param({"a": ["${x}", {"b": "${rate}"}], "c": 7}, {"a": [-3, {"b": 0.01}], "c": 7}, id="inside values"),
        pytest.param(("${x}", 1), [-3, 1], id="a tuple becomes a list"),
        pytest.param("${calc:'${x} ** 2'}", 9, id="a calculation over values"),
        pytest.param("${calc:'${x} < 0 and ${flag}'}", True, id="a comparison"),
        pytest.param("${calc:'\"M\" in ${name}'}", True, id="double quotes inside a calculation"),
        pytest.param("n${calc:'-${x}'}", "n3", id="a calculation inside text"),
        pytest.param("${calc:'${calc:'${x} * 2'} + 1'}", -5, id="a calculation inside a calculation"),
        pytest.param("${calc:'len(${list})'}", 2, id="a list in a calculation"),
        pytest.param("${calc:1 + 2}", 3, id="without quotes"),
        pytest.param("${calc:[${x}, 1]}", [-3, 1], id="a list of values"),
        pytest.param("${quantity:100M}", 100_000_000, id="a count"),
        pytest.param("${quantity:4GiB}", 4 * 1024**3, id="a size"),
        pytest.param("${quantity:12h}", 43_200, id="a duration"),
        pytest.param("${quantity:7}", 7, id="a number"),
        pytest.param("${quantity:${name}}", 10_000_000, id="a quantity that is a value"),
        pytest.param("${quantity:'4 k'}", 4_000, id="a quantity in quotes"),
        pytest.param("${oc.env:WHO}", "me", id="a variable"),
        pytest.param("${oc.env:NONE,${x}}", "-3", id="a default is text, as a variable would be"),
        pytest.param("${oc.env:NONE,8}", "8", id="a number as a default"),
        pytest.param("${oc.env:NONE,true}", "true", id="a boolean as a default"),
        pytest.param("${calc:'str(${flag}) + join(\" \", [${none}])'}", "truenull", id="booleans and null as text"),
        pytest.param("${oc.env:NONE,null}", None, id="null as a default"),
        pytest.param("${oc.env:NONE,[a,${x}]}", "['a', -3]", id="a list as a default"),
        pytest.param('${oc.env:${calc:\'"W" + "HO"\'}}', "me", id="a variable's name that is a value"),
    ],
)
def test_a_value_comes_to(value: object, expected: object) -> None:
    found = evaluate(value, WHO="me")

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("${", "cannot be read", id="unclosed"),
        pytest.param("${}", "cannot be read", id="empty"),
        pytest.param("\x000\x00 ${x}", "no text holds a NUL", id="a NUL"),
        pytest.param("${.x}", "${.x}: relative names are not used here", id="a relative name"),
        pytest.param("${${name}}", "a name is written out", id="a name made of a value"),
        pytest.param("${map.${name}}", "a name is written out", id="a path made of a value"),
        pytest.param(
            "${oc.select:x}", "${oc.select:...} is no resolver here; there are calc, quantity, oc.env", id="select"
        ),
        pytest.param("${calc:1,2}", "takes one expression, in single quotes", id="a comma outside quotes"),
        pytest.param("${calc:}", "takes one expression", id="an empty calculation"),
        pytest.param("${calc:'1 +'}", "1 + is no expression", id="half a calculation"),
        pytest.param("${calc:'\"${x}\"'}", "write ${x}, not ${x} inside quotes", id="a value inside inner quotes"),
        pytest.param("${calc:'x + 1'}", "the name 'x' stands for nothing; a value is written ${x}", id="a bare name"),
        pytest.param("${calc:'__hole_5__'}", "has no value", id="a hole of one's own"),
        pytest.param(
            "${calc:'1 / (${x} + 3)'}", "1 / (${x} + 3) has no value: division by zero", id="division by zero"
        ),
        pytest.param("${quantity:}", "takes one quantity", id="no quantity"),
        pytest.param("${quantity:many}", "'many' is no quantity", id="a bad quantity"),
        pytest.param("${quantity:${flag}}", "'True' is no quantity", id="a boolean as a quantity"),
        pytest.param("${oc.env:}", "takes a name and perhaps a default", id="no variable"),
        pytest.param("${oc.env:NONE}", "${oc.env:NONE}: the environment has no NONE", id="a variable that is not set"),
    ],
)
def test_what_cannot_be_evaluated_says_what_is_wrong(value: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(value)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "name", "known"),
    [
        pytest.param("${nope}", "nope", sorted(NAMES), id="a name"),
        pytest.param("a ${calc:'${nope} + 1'}", "nope", sorted(NAMES), id="in a calculation"),
        pytest.param("${map.nope}", "map.nope", ["k"], id="below a mapping"),
        pytest.param("${list.7}", "list.7", [], id="beyond a list"),
        pytest.param("${x.y}", "x.y", [], id="below a number"),
    ],
)
def test_an_undefined_name_is_told_with_those_there_are(value: str, name: str, known: list[str]) -> None:
    with pytest.raises(UndefinedName) as caught:
        evaluate(value)

    assert str(caught.value) == f"${{{name}}} is not defined"
    assert (caught.value.name, sorted(caught.value.known)) == (name, known)


def test_a_string_s_pieces_can_be_joined_by_whoever_asks() -> None:
    def bracketed(pieces: list[Any]) -> Any:
        return lambda scope: "".join(p if isinstance(p, str) else f"[{p(scope)}]" for p in pieces)

    value = compile_value({"a": "run ${x} ${name}", "b": "${x}", "c": "plain"}, bracketed)

    assert value(JobScope(levels=(NAMES,))) == {"a": "run [-3] [10M]", "b": "[-3]", "c": "plain"}


@settings(max_examples=300)
@given(
    st.recursive(
        st.integers()
        | st.text("a\\${}:.'", max_size=9)
        | st.lists(st.sampled_from(["\\", "${", "}", "a"])).map("".join),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("kl"), inner, max_size=2),
        max_leaves=4,
    )
)
def test_a_finished_value_written_as_a_literal_evaluates_to_itself(value: object) -> None:
    assert evaluate(literal(value)) == value


# OmegaConf is the reference wherever the meanings agree.

TEXT = st.text("ab $\\{}'\"():,.[]=/%#@~\n", max_size=6)
REFERENCES = [
    *("${a}", "${b}", "${c}", "${map}", "${map.k}", "${map[k]}", "${list}", "${list.0}", "${list[1]}", "${list[1].z}"),
    *(
        "\\${a}",
        "\\\\${a}",
        "\\\\\\${a}",
        "$${a}",
        "${oc.env:PATH}",
        "${oc.env:AUTOEXP_UNSET,d}",
        "${nope}",
        "${map.nope}",
    ),
    *("${oc.env:AUTOEXP_UNSET,${a}}", "${oc.env:AUTOEXP_UNSET,null}", "${oc.env:AUTOEXP_UNSET,'a, ${b}'}", "${a", "$"),
    *("${oc.env:AUTOEXP_UNSET,1e-3}", "${oc.env:AUTOEXP_UNSET,true}", '${oc.env:AUTOEXP_UNSET,"x\'y"}', "${list.9}"),
]
STRINGS = st.lists(TEXT | st.sampled_from(REFERENCES), max_size=4).map("".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("abc", max_size=3)
VALUES = st.one_of(STRINGS, st.lists(STRINGS, max_size=2), st.dictionaries(st.sampled_from("kl"), STRINGS, max_size=2))


def _omegaconf(names: Mapping[str, Any], key: str) -> Any:
    try:
        found = OmegaConf.create(dict(names))[key]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except (OmegaConfBaseException, KeyError):
        return ExpressionError


IN_YAML = {"True": "true", "False": "false", "None": "null"}


def as_in_yaml(value: Any) -> Any:
    """Spell booleans and null in texts as we do; nothing else in these texts is called so."""
    text = repr(value) if isinstance(value, list | dict) else value
    return re.sub("True|False|None", lambda word: IN_YAML[word[0]], text) if isinstance(text, str) else value


def _ours(names: Mapping[str, Any], key: str) -> Any:
    try:
        return JobScope(levels=(names,), variables=os.environ).lookup(key)
    except ExpressionError:
        return ExpressionError


@settings(max_examples=400)
@given(a=SCALARS, b=SCALARS, c=SCALARS, items=st.lists(SCALARS, min_size=1, max_size=3), deep=SCALARS, value=VALUES)
@example(a="x", b=1, c=None, items=[1], deep=2, value="\\\\${a} \\${b} ${c} \\")
def test_a_value_is_what_omegaconf_makes_of_it(  # noqa: PLR0917 - drawn
    a: Any, b: Any, c: Any, items: list[Any], deep: Any, value: Any
) -> None:
    names = {"a": a, "b": b, "c": c, "list": items, "map": {"k": deep}, "value": value}

    ours, theirs = _ours(names, "value"), _omegaconf(names, "value")

    assert as_in_yaml(ours) == as_in_yaml(theirs)
    assert type(ours) is type(theirs)


@settings(max_examples=200)
@given(st.text("abxcal:'\"{}$\\.,[]()0+ ", max_size=16).map(lambda text: "${" + text) | st.text(max_size=12))
def test_any_text_has_a_value_or_an_expression_error(text: str) -> None:
    try:
        evaluate(text)
    except ExpressionError as error:
        assert str(error)  # noqa: PT017 - both answers are fine
