import json
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import Say
from tests.recipes.test_recipes import PINNED, RECIPES

if TYPE_CHECKING:
    from tests.conftest import Room

REFERENCES = RECIPES.parent / "tests" / "recipes"
RECIPE = """
study: ladder
machine: bench
sweep: {params: {seed: [1, 2]}}
stages:
  train: {command: [echo, "${seed}"], resources: {walltime: 2h}}
  score: {needs: train, command: [echo, "${seed}"]}
"""


def test_a_recipe_is_played_and_nothing_is_written(say: Say, here: "Room") -> None:
    here.machine(cpus=1)
    here.write("ladder.yaml", RECIPE)

    said = say("simulate", "ladder.yaml", "--takes", "score=30m", "--json")

    told = json.loads(said.out)
    assert (said.status, told["makespan_s"]) == (0, 5 * 3600)
    assert not here.root.exists()


def test_a_planned_study_is_played_from_its_beginning(say: Say, here: "Room") -> None:
    here.machine(cpus=2)
    here.write("ladder.yaml", RECIPE)
    say("plan", "ladder.yaml")

    said = say("simulate", "experiments/ladder")

    assert said.out.startswith(
        "ladder on machine bench, in virtual time: 4 jobs, 4 attempts, 0 GPU hours, over after 3h"
    )


def test_a_recipe_s_values_can_be_set(say: Say, here: "Room") -> None:
    here.machine(cpus=4)
    here.write("ladder.yaml", RECIPE)

    assert "2 jobs" in say("simulate", "ladder.yaml", "seed=1").out
    said = say("simulate", "experiments/ladder", "seed=1")
    assert said.status == 1
    say("plan", "ladder.yaml")
    assert "is planned already" in say("simulate", "experiments/ladder", "seed=1").err


def test_a_cluster_has_as_many_nodes_as_are_given(say: Say, here: "Room") -> None:
    here.write("ladder.yaml", RECIPE)
    words = ("simulate", "ladder.yaml", "--machine", "slurm", "--json")

    assert json.loads(say(*words).out)["makespan_s"] == 3 * 3600
    assert json.loads(say(*words, "--nodes", "1").out)["makespan_s"] == 6 * 3600


def test_options_that_mean_nothing_are_refused(say: Say, here: "Room") -> None:
    here.machine(cpus=4)
    here.write("ladder.yaml", RECIPE)

    for options, what in {
        ("--takes", "trian=1h"): "there is no stage 'trian'",
        ("--takes", "60"): "--takes 60 cannot be read",
        ("--nodes", "2"): "machine bench is one computer",
        ("--machine", "slurm", "--nodes", "0"): "nothing runs on no node",
    }.items():
        said = say("simulate", "ladder.yaml", *options)
        assert (said.status, what in said.err) == (1, True), said.err


@pytest.mark.parametrize("name", sorted(PINNED))
def test_the_shipped_recipes_have_the_jobs_that_they_have_when_they_run(say: Say, here: "Room", name: str) -> None:
    here.machine(cpus=2)
    words = ("simulate", RECIPES / f"{name}.yaml", *PINNED[name], "--machine", "bench", "--json")

    told = json.loads(say(*words).out)

    moves = (REFERENCES / f"{name}.moves").read_text(encoding="utf-8").splitlines()
    assert sorted(job["job"] for job in told["jobs"]) == [line for line in moves if line and not line.startswith(" ")]
    assert {job["state"] for job in told["jobs"]} == {"succeeded"}
    assert told["dead_ends"] == []
