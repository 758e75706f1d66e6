"""Planning again what was planned before: the planner of a study on disk, for the jobs that appear."""

from collections.abc import Iterable

from autoexp import recipes, study_files
from autoexp.errors import AutoexpError
from autoexp.hooks import find
from autoexp.model import JobSpec
from autoexp.plan import Planner
from autoexp.studies import Study
from autoexp.world import World


def planner_of(study: Study, jobs: Iterable[JobSpec]) -> Planner:
    """Make the planner that planned a study, knowing its jobs.

    Raises:
        AutoexpError: the study's recipe.yaml is not the one that was planned.
    """
    path = study.dir / "recipe.yaml"
    recipe = recipes.load(path)
    if study_files.sha256_of(recipe.text) != study.recipe_sha256:
        raise AutoexpError(
            f"{path} is not the recipe that was planned",
            why="it was changed since, and jobs appear from the planned one",
            fix=f"plan it: autoexp plan {path} --root {study.root}",
        )
    variables = study.plan.environment
    world = World(machine=study.machine, root=str(study.root), hooks=find, variables=variables, key=study.key)
    planner = Planner(recipe, world)
    planner.know(jobs, study.plan)
    return planner
