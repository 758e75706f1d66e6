import pytest

from autoexp.importers.autoexperiment.template import parse, resources, script

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
    text, variables = script(parse(TEXT), KNOWN)

    assert variables == {"nodes": "nodes", "given_HOME": "HOME", "lr": "lr"}
    assert text.splitlines() == [
        "NODES=$nodes",
        "HOME=$given_HOME",
        "echo \"\\${lr}_x\" 'it is '\"$lr\"'' \\${lr}_y # don't take $lr",
        "cat <<EOF",
        '$lr \\${OTHER} {"json": 1}',
        "EOF",
    ]


def test_a_variable_that_the_script_means_otherwise_gets_another_name() -> None:
    text, variables = script(parse("lr=$(cat lr.txt)\necho {lr}\n"), {"lr"})

    assert (text, variables) == ("lr=$(cat lr.txt)\necho $given_lr\n", {"given_lr": "lr"})
