import pytest

from autoexp.importers.placeholders import calculated, holes, native, number

KNOWN = {"LR", "A", "B"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("x_{A}_{{B}}", "x_${A}_${B}", id="names, also in doubled braces"),
        pytest.param("/data/{0000..0139}.tar", "/data/{0000..0139}.tar", id="braces around no name"),
        pytest.param("/data/{{0000..0010}}.tar", "/data/{0000..0010}.tar", id="doubled braces around no name"),
        pytest.param("{{0..1}}_{A}", "{0..1}_${A}", id="such braces beside a name"),
        pytest.param('{"a": {"b": 1}}', '{"a": {"b": 1}}', id="braces that no format takes"),
        pytest.param("iter_{A:07d}", "iter_${calc:'pad(${A}, 7)'}", id="a width"),
        pytest.param("{A:}", "${A}", id="no format"),
        pytest.param(
            "x_{LR:.1e}_{A:,}{A:7d}",
            "x_${calc:'format(${LR}, \".1e\")'}_${calc:'format(${A}, \",\")'}${calc:'format(${A}, \"7d\")'}",
            id="formats",
        ),
        pytest.param("{a..z} {q: {A}} {q[x]}", "{a..z} {q: ${A}} {q[x]}", id="braces around what is no name's"),
        pytest.param('expr("{A:.2f}" + "x")', '${calc:\'format(${A}, ".2f") + "x"\'}', id="one in an expression"),
        pytest.param("expr(1e-4 / {LR})", "${calc:'1e-4 / ${LR}'}", id="an expression"),
        pytest.param("expr(1 if '{A}' == 'x' else 2)", "${calc:'1 if ${A} == \"x\" else 2'}", id="quoted names in one"),
        pytest.param("${oc.env:HOME} ${q.A}", "${oc.env:HOME} ${A}", id="OmegaConf's own"),
        pytest.param("echo ${USER} $LR $((1+1))", "echo \\${USER} $LR $((1+1))", id="the shell's own"),
    ],
)
def test_values_are_written_in_our_words(text: str, expected: str) -> None:
    assert native(text, KNOWN, pytest.fail) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a{C}", "{C} is not defined", id="a name that nobody defines"),
        pytest.param("a{C:.1e}", "{C:.1e} is not defined", id="a format of such a name"),
        pytest.param("a{A!r}", "{A!r} has no words", id="a conversion"),
        pytest.param("a{A.real:d}", "{A.real:d} has no words", id="a part of a value"),
        pytest.param("a{A[0]}", "{A[0]} has no words", id="an entry of a value"),
        pytest.param("a{A:{B}d}", "{A:{B}d} has no words", id="a format that is a value"),
        pytest.param("a{A:%Y}", "{A:%Y} has no words", id="a format of dates"),
        pytest.param("expr(__import__('os').getcwd())", "cannot be calculated", id="what only Python does"),
    ],
)
def test_what_has_no_words_here_stays_text_and_is_told(text: str, said: str) -> None:
    told: list[str] = []

    assert native(text, KNOWN, told.append) == text
    assert said in told[0]


def test_names_are_found_at_any_depth() -> None:
    raw = {"x": ["{A:.1e}{C!r}{D:{E}}", {"y": "expr({B} + 1)"}], "z": 3}

    assert (holes(raw), calculated(raw)) == ({"A", "B", "C", "D", "E"}, {"B"})


def test_numbers_written_as_text_are_numbers() -> None:
    assert [number(text) for text in ("1_000", "1e-3", "0.5", "v1")] == [1000, 0.001, 0.5, "v1"]
