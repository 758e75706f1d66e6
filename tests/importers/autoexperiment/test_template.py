import subprocess

import pytest

from autoexp.expressions import compile_value
from autoexp.importers.autoexperiment.template import names, parse, resources, script

TEXT = """\
#!/bin/bash -x
#SBATCH --nodes={nodes}
#SBATCH --gres=gpu:4
#SBATCH --ntasks-per-node=4
#SBATCH -c 12
#SBATCH --mem=64G
#SBATCH --time=01:30:00   # enough
#SBATCH --exclusive
#SBATCH --job-name={name}
NODES={nodes}
HOME={HOME}
echo "{lr}_x" 'it is {lr}' {lr}_y # don't take {lr}
cat <<EOF
{lr} ${{OTHER}} {{"json": 1}}
EOF
"""
KNOWN = {"nodes", "name", "lr", "HOME"}


@pytest.mark.parametrize(("flag", "requeue"), [("--requeue", True), ("--no-requeue", False)])
def test_whether_it_is_queued_again_is_no_option(*, flag: str, requeue: bool) -> None:
    assert resources(parse(f"#!/bin/bash\n#SBATCH {flag}\ntrue\n").options, KNOWN, pytest.fail) == {"requeue": requeue}


def test_directives_become_resources() -> None:
    assert resources(parse(TEXT).options, KNOWN, pytest.fail) == {
        "nodes": "${nodes}",
        "gpus_per_node": 4,
        "processes_per_node": 4,
        "cpus": 48,
        "memory": "64GiB",
        "walltime": "90m",
        "options": {"exclusive": True},
    }


def test_values_reach_the_script_by_its_environment() -> None:
    made = script(parse(TEXT), KNOWN)

    assert made.variables == {"nodes": "${nodes}", "given_HOME": "${HOME}", "lr": "${lr}"}
    assert made.text.splitlines() == [
        "NODES=$nodes",
        "HOME=$given_HOME",
        "echo \"\\${lr}_x\" 'it is '\"$lr\"'' \\${lr}_y # don't take $lr",
        "cat <<EOF",
        '$lr \\${OTHER} {"json": 1}',
        "EOF",
    ]


def test_a_variable_that_the_script_means_otherwise_gets_another_name() -> None:
    made = script(parse("lr=$(cat lr.txt)\necho {lr}\n"), {"lr"})

    assert (made.text, made.variables) == ("lr=$(cat lr.txt)\necho $given_lr\n", {"given_lr": "${lr}"})


def test_each_format_of_a_name_has_a_variable_of_its_own_and_the_shell_s_defaults_stay() -> None:
    text = "echo {x:<5} {x:>5} {x:<5} {LR:.1e} ${CARDS:-0} ${x:-1}\n"

    made = script(parse(text), ("x", "LR", "LR__1e"))

    assert made.text == "echo $x__5 $x__5_ $x__5 $LR__1e_ \\${CARDS:-0} \\${x:-1}\n"
    assert list(made.variables) == ["x__5", "x__5_", "LR__1e_"]
    assert names(text) == set()


def test_a_value_that_is_formatted_in_the_script_is_a_variable_of_its_own() -> None:
    text = "run --it {steps:07d} {steps} 'lr is {lr:.1e}' {lr!r} {nobody:03d}\n"

    made = script(parse(text), ("steps", "lr"))

    assert made.text == "run --it $steps_07d $steps 'lr is '\"$lr__1e\"'' {lr!r} {nobody:03d}\n"
    assert made.variables == {
        "steps_07d": "${calc:'pad(${steps}, 7)'}",
        "steps": "${steps}",
        "lr__1e": "${calc:'format(${lr}, \".1e\")'}",
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('cat <<\'EOF\'\n{{"lr": {lr}, "home": "$HOME `x` \\\\ \\n"}}\nEOF\n', id="verbatim"),
        pytest.param("cat <<\"EOF\" | tr a b\nit's {lr}\nEOF\necho '{lr}' {lr}\n", id="a document in double quotes"),
        pytest.param('cat <<\\EOF\n"{lr}\n$x\nEOF\necho "{lr}"\n', id="an escaped delimiter"),
        pytest.param("cat <<EOF\ndon't {lr} # it's {lr}\nEOF\necho '{lr}' {lr}\n", id="an apostrophe in a document"),
        pytest.param("cat <<-END\n\ta 'b {lr}\n\tEND\necho '{lr}'\n", id="a document with tabs"),
        pytest.param("cat <<A - <<'B'\n' {lr}\nA\n' {lr}\nB\necho '{lr}'\n", id="two documents"),
        pytest.param("cat <<'EOF' | \\\n tr a b\n'{lr} $x\nEOF\necho '{lr}'\n", id="a line that goes on"),
        pytest.param("lr={lr}\necho $((8<<lr)) '{lr}' \"<<E'\" {lr}\n# <<'E' {lr}\ncat <<< '{lr}'\n", id="no document"),
        pytest.param("cat <<'EOF'\nnothing's given: $x ${{y}}\nEOF\necho '{lr}'\n", id="a document without values"),
    ],
)
def test_a_script_says_what_the_template_said_with_the_value_in_it(text: str) -> None:
    made = script(parse(text), {"lr"})
    command = str(compile_value(made.text)(None))  # type: ignore[arg-type] # it has no names

    said = [
        subprocess.run(["bash", "-c", each], capture_output=True, text=True, check=True, env={"PATH": "/bin", **given})
        for each, given in ((text.format(lr=2), {}), (command, dict.fromkeys(made.variables, "2")))
    ]

    assert said[1].stdout == said[0].stdout
    assert said[1].stderr == said[0].stderr == ""


def test_it_is_known_what_the_shell_would_have_read_of_a_value() -> None:
    text = "echo {a} \"{b}\" '{c}' # {d}\ncat <<E <<'F'\n{e}\nE\n{f}\nF\n"

    signs = script(parse(text), set("abcdef")).signs

    assert {name: "".join(sorted(said)) for name, said in signs.items()} == {
        "a": "\"$'\\`",
        "b": '"$\\`',
        "c": "'",
        "d": "",
        "e": "$\\`",
        "f": "",
    }
