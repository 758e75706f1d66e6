from typing import TYPE_CHECKING

import pytest

from autoexp import studies
from autoexp.errors import AutoexpError
from autoexp.replanning import planner_of
from autoexp.studies import Study

if TYPE_CHECKING:
    from tests.conftest import Room

STAGES = """
train: {sweep: {params: {lr: [1, 2]}}, command: 'true'}
score: {each: {job: train}, command: [echo, "${sibling.train.dir}", "${oc.env:WORD,nothing}"]}
"""


@pytest.fixture
def study(room: "Room") -> Study:
    """A study that was planned with WORD=then."""
    room.variables = {"WORD": "then"}
    room.plan(STAGES)
    return studies.load(room.root / "demo")


def test_what_appears_is_the_job_that_was_announced(study: Study) -> None:
    planner = planner_of(study, study.plan.jobs)
    template = next(template for template in study.plan.templates if template.parent == "train-lr2")
    parent = next(job for job in study.plan.jobs if job.id == "train-lr2")

    appeared = planner.appear(template, parent, None)

    assert (appeared.id, appeared.parent, appeared.key) == ("score-train-lr2", "train-lr2", study.key)
    assert appeared.argv[1] == str(study.job_dir("train-lr2"))


def test_the_environment_is_the_one_of_the_plan(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "now")

    appeared = planner_of(study, study.plan.jobs).appear(study.plan.templates[0], study.plan.jobs[0], None)

    assert study.plan.environment == {"WORD": "then"}
    assert appeared.argv[2] == "then"


def test_a_recipe_that_was_changed_since_is_refused_with_the_command_that_plans_it(study: Study) -> None:
    recipe = study.dir / "recipe.yaml"
    recipe.write_text(f"{recipe.read_text()}# changed\n")

    with pytest.raises(AutoexpError) as told:
        planner_of(study, study.plan.jobs)

    assert told.value.what == f"{recipe} is not the recipe that was planned"
    assert told.value.fix == f"plan it: autoexp plan {recipe} --root {study.root}"


def test_a_recipe_that_is_gone_says_so(study: Study) -> None:
    (study.dir / "recipe.yaml").unlink()

    with pytest.raises(AutoexpError, match=r"recipe\.yaml cannot be read"):
        planner_of(study, study.plan.jobs)
