import pytest

from autoexp.importing.autoexperiment.template import parse, resources, script, walltime

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


@pytest.mark.parametrize(
    ("slurm", "ours"),
    [
        ("360", "6h"), ("90", "90m"), ("06:00:00", "6h"), ("00:01:00", "1m"), ("30:00", "30m"), ("1-12", "36h"),
        ("2-00:30", "2910m"), ("${TIME}", "${calc:'str(${TIME}) + \"m\"'}"), ("00:00:20", "1m"),
    ],
)  # fmt: skip
def test_time_limits_become_durations(slurm: str, ours: str) -> None:
    assert walltime(slurm) == ours
