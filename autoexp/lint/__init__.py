"""What a plan would come to regret: slips that nothing refuses, and that planning can see. Pure."""

from collections.abc import Iterator, Mapping

from autoexp.budget import in_words
from autoexp.costs import cost_of
from autoexp.lint import jobs, schedules, sweeps
from autoexp.lint.finding import Finding, told
from autoexp.model import JSON
from autoexp.outline import Plan
from autoexp.stages import Recipe
from autoexp.world import World


def warnings(recipe: Recipe, plan: Plan, world: World, whole: Plan | None = None) -> Iterator[Mapping[str, JSON]]:
    """Yield what is odd, each kind once for each stage: its code, a message, where, and the jobs concerned.

    `whole` is the plan of all jobs, where only some were chosen.
    """
    found = (
        *sweeps.of_sweeps(recipe, whole or plan),
        *_over_budget(plan),
        *jobs.of_jobs(plan, world),
        *schedules.of_schedules(plan, world.root),
    )
    return told(found, recipe.places)


def _over_budget(plan: Plan) -> Iterator[Finding]:
    wanted = cost_of(plan).hours
    if plan.gpu_hours is not None and wanted > plan.gpu_hours:
        budget = in_words(plan.gpu_hours)
        what = f"one attempt of each job may take {in_words(wanted)} GPU hours, and the budget is {budget}"
        yield Finding("over-budget", what, "what goes beyond it waits: plan fewer jobs, or more hours", ("budget",))
