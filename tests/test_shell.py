import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoexp.calculation import ExpressionError
from autoexp.expressions import compile_value
from autoexp.scope import JobScope
from autoexp.shell import quoted_pieces

NASTY = 'it\'s "$(touch pwned)" `touch pwned` \\ $HOME; touch pwned\n# *'
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.lists(
    st.sampled_from(
        ["'", '"', "$(echo x)", "`echo x`", "\\", "\n", "$HOME", ";", "*", "#", " ", "!", "~", "{a,b}", "-n", "ü"]
    )
).map("".join)
VALUES = VALUES.filter(lambda value: "${" not in value)  # that would be the recipe's


def script(text: str, **names: Any) -> str:
    return str(compile_value(text, quoted_pieces)(JobScope(levels=(names,))))


def run(text: str, cwd: Path) -> tuple[str, str]:
    done = subprocess.run(
        ["bash", "-c", text], cwd=cwd, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout.decode(), done.stderr.decode(errors="replace")


PRINT = "printf '%s\\0'"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, VALUES)
@example(NASTY, "")
def test_a_program_receives_each_value_as_one_word_unchanged(tmp_path: Path, one: str, other: str) -> None:
    text = script(f'{PRINT} ${{a}} pre${{b}}post "in quotes" ${{a}}${{b}} $({PRINT} x) a=${{a}}', a=one, b=other)

    assert run(text, tmp_path)[0].split("\0")[:-1] == [
        one,
        f"pre{other}post",
        "in quotes",
        one + other,
        "x",
        f"a={one}",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param(f"{PRINT} ${{v}}", "{v}", id="a word"),
        pytest.param(f"{PRINT} x${{v}}#y", "x{v}#y", id="a hash inside a word"),
        pytest.param(f"{PRINT} ${{v}} # it's ok", "{v}", id="before a comment"),
        pytest.param(f"# it's \"odd\n{PRINT} ${{v}}", "{v}", id="after a comment"),
        pytest.param(f"{PRINT} 'a\\' ${{v}} 'b'", "a\\\0{v}\0b", id="after a quoted backslash"),
        pytest.param(f"{PRINT} \\' ${{v}} \\\"", "'\0{v}\0\"", id="between escaped quotes"),
        pytest.param(f"{PRINT} $'it\\'s' ${{v}}", "it's\0{v}", id="after $'...'"),
        pytest.param(f'{PRINT} "$(echo "a b")" ${{v}}', "a b\0{v}", id="after nested quotes"),
        pytest.param(f'{PRINT} "\\"" ${{v}}', '"\0{v}', id="after an escaped quote inside quotes"),
        pytest.param(f"{PRINT} $((1 + (2))) ${{v}}", "3\0{v}", id="after arithmetic"),
        pytest.param(f"{PRINT} $[1+1] ${{v}}", "2\0{v}", id="after old arithmetic"),
        pytest.param(f"{PRINT} $((1 << 2)) ${{v}}", "4\0{v}", id="after a shift"),
        pytest.param(f'{PRINT} `echo "a"` ${{v}}', "a\0{v}", id="after backticks"),
        pytest.param(f'{PRINT} \\${{X:-"it\'s"}} ${{v}}', "it's\0{v}", id="after another expansion"),
        pytest.param(f'for x in ${{v}}; do {PRINT} "$x"; done', "{v}", id="in a loop"),
        pytest.param(f"case ${{v}} in a) ;; *) {PRINT} ${{v}} ;; esac", "{v}", id="in a case"),
        pytest.param(f"( {PRINT} ${{v}} )", "{v}", id="in a subshell"),
        pytest.param("cat <<< ${v}", "{v}\n", id="as a here-string"),
        pytest.param("X=${v} bash -c 'printf %s \"$X\"'", "{v}", id="as a variable"),
        pytest.param('a=(${v} y); printf %s "\\${a[0]}"', "{v}", id="in an array"),
    ],
)
def test_a_value_stands_wherever_the_shell_reads_words(tmp_path: Path, text: str, printed: str) -> None:
    out, err = run(script(text, v=NASTY), tmp_path)

    assert err == ""
    assert out.removesuffix("\0") == printed.format(v=NASTY)
    assert list(tmp_path.iterdir()) == []


def test_a_command_substitution_takes_values_too(tmp_path: Path) -> None:
    assert run(script("printf %s $(printf %s ${v} | wc -c)", v=NASTY), tmp_path) == (str(len(NASTY)), "")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        pytest.param('echo "${v}"', "quotes", id="double quotes"),
        pytest.param("echo 'a ${v}'", "quotes", id="single quotes"),
        pytest.param("echo $'a ${v}'", "quotes", id="ansi quotes"),
        pytest.param('echo "a $(echo ${v})"', "quotes", id="a substitution inside quotes"),
        pytest.param('echo "$(echo "b ${v}")"', "quotes", id="quotes inside a substitution inside quotes"),
        pytest.param('echo $(echo "${v}")', "quotes", id="quotes inside a substitution"),
        pytest.param("echo 'a\\' 'b ${v}'", "quotes", id="quotes after a quoted backslash"),
        pytest.param("echo `echo ${v}`", "backticks", id="backticks"),
        pytest.param('echo "`echo ${v}`"', "backticks", id="backticks inside quotes"),
        pytest.param("echo $((1 + ${v}))", "arithmetic", id="arithmetic"),
        pytest.param("echo $(( ((1)) + ${v} ))", "arithmetic", id="arithmetic after inner parentheses"),
        pytest.param("(( ${v} > 1 )) && echo", "arithmetic", id="an arithmetic command"),
        pytest.param("echo $[${v}]", "arithmetic", id="old arithmetic"),
        pytest.param("echo a # ${v}", "a comment", id="a comment"),
        pytest.param("#${v}", "a comment", id="a comment at once"),
        pytest.param("echo a;# it's ${v}", "a comment", id="a comment behind a semicolon"),
        pytest.param("echo \\${X:-${v}}", "another expansion", id="another expansion"),
        pytest.param("echo $(case a in a) echo;; esac) ${v}", "cannot follow", id="a case inside parentheses"),
        pytest.param('echo "\\${X:-\'}" ${v}', "cannot follow", id="a quote that may be none"),
    ],
)
def test_a_value_is_refused_where_quotes_would_not_protect_it(text: str, inside: str) -> None:
    with pytest.raises(ExpressionError, match="stands inside") as caught:
        compile_value(text, quoted_pieces)

    assert inside in str(caught.value)
    assert caught.value.fix == "leave it outside: each value is one quoted word already"


@pytest.mark.parametrize("text", ["cat <<EOF\n${v}\nEOF", "echo ${v}; cat <<'EOF'\nit's\nEOF", "cat <<-X ${v}\nX"])
def test_a_here_document_takes_no_values(text: str) -> None:
    with pytest.raises(ExpressionError, match="a script with a here-document takes no ") as caught:
        compile_value(text, quoted_pieces)

    assert caught.value.fix == "pass the value by env: and use $NAME"


@pytest.mark.parametrize(("text", "sign"), [("echo $${v}", r"\$"), ("echo \\\\${v}", r"\\")])
def test_a_value_right_behind_a_sign_that_changes_its_quotes_is_refused(text: str, sign: str) -> None:
    with pytest.raises(ExpressionError, match=f"stands right behind a {sign}, which would change its quotes"):
        compile_value(text, quoted_pieces)


def test_a_script_without_values_is_left_alone() -> None:
    text = 'cat <<EOF\n"$HOME" `date` $((1+1)) it\'s\nEOF'

    assert script(text) == text


FRAGMENTS = [
    *("'", '"', "`", "\\", "$", "#", "\n", " ", ";", "a", "=", "$(", "(", ")", "((", "))", "$((", "\\${A:-", "}", "{"),
    *(
        "$'",
        "[",
        "]",
        "$[",
        "case ",
        "esac",
        "<<",
        "<",
        "|",
        "&",
        "\\'",
        '\\"',
        "echo ",
        "\\`",
        "\\\n",
        "in",
        "*)",
        ";;",
    ),
]


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=9), st.lists(st.sampled_from(FRAGMENTS), max_size=5))
@example(["echo ", '"', "$(", "echo ", '"'], ['"', ")", '"'])
@example(["echo ", "'", "a", "\\", "'", "'"], ["'"])
def test_whatever_script_is_accepted_no_value_runs_as_code(
    tmp_path: Path, before: list[str], behind: list[str]
) -> None:
    try:
        text = script("".join((*before, "${v}", *behind)), v=NASTY)
    except ExpressionError:
        return

    run(text, tmp_path)

    assert not (tmp_path / "pwned").exists()
