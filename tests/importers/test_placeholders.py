import pytest

from autoexp.importers.placeholders import calculated, holes, native, number

KNOWN = {"LR", "A", "B"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("x_{A}_{{B}}", "x_${A}_${B}", id="names, also in doubled braces"),
        pytest.param("/data/{0000..0139}.tar", "/data/{0000..0139}.tar", id="braces around no name"),
        pytest.param("iter_{A:07d}", "iter_${calc:'pad(${A}, 7)'}", id="a width"),
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
        pytest.param("expr(__import__('os').getcwd())", "cannot be calculated", id="what only Python does"),
    ],
)
def test_what_has_no_words_here_stays_text_and_is_told(text: str, said: str) -> None:
    told: list[str] = []

    assert native(text, KNOWN, told.append) == text
    assert said in told[0]


def test_names_are_found_at_any_depth() -> None:
    raw = {"x": ["{A}", {"y": "expr({B} + 1)"}], "z": 3}

    assert (holes(raw), calculated(raw)) == ({"A", "B"}, {"B"})


def test_numbers_written_as_text_are_numbers() -> None:
    assert [number(text) for text in ("1_000", "1e-3", "0.5", "v1")] == [1000, 0.001, 0.5, "v1"]
