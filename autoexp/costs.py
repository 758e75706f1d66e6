"""What the jobs of a plan may use of GPUs at most, those included that will appear. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autoexp.budget import HOUR_S, gpus_of
from autoexp.courses import course_of
from autoexp.model import JobSpec, Template
from autoexp.outline import Plan


@dataclass(frozen=True, slots=True)
class Cost:
    """GPU hours of one attempt of each job, and what they leave out."""

    hours: float
    unlimited: Mapping[str, int]
    """How many jobs of a stage have GPUs and no walltime."""
    uncounted: tuple[str, ...]
    """Stages with GPUs of which nobody knows how many jobs will appear."""

    def unknown(self) -> list[str]:
        """Name the stages that it leaves out, and why."""
        endless = [f"{stage} ({count} without a walltime)" for stage, count in self.unlimited.items()]
        return [*endless, *(f"{stage} (nobody knows how many jobs it will have)" for stage in self.uncounted)]


def cost_of(plan: Plan) -> Cost:
    """Add up what one attempt of each job may use at most; of a plan just made, as one that was read has no `first`."""
    hours, unlimited = 0.0, Counter[str]()
    uncounted: dict[str, None] = {}
    for spec, count in _numbers(plan):
        gpus, walltime_s = gpus_of(spec.resources), spec.resources.walltime_s
        if gpus and count is None:
            uncounted[spec.stage] = None
        elif gpus and count and walltime_s is None:
            unlimited[spec.stage] += count
        elif gpus and count and walltime_s is not None:
            hours += count * gpus * walltime_s / HOUR_S
    return Cost(hours, unlimited, tuple(uncounted))


def _numbers(plan: Plan) -> Iterator[tuple[JobSpec, int | None]]:
    """Pair each job with 1, and the first of each template's with how many there will be; None if nobody knows."""
    specs = {job.id: job for job in plan.jobs}
    specs |= {template.id: first for template, first in zip(plan.templates, plan.first, strict=True)}
    templates = {template.id: template for template in plan.templates}
    for name, spec in specs.items():
        yield spec, _number(name, templates, specs)


def _number(name: str, templates: Mapping[str, Template], specs: Mapping[str, JobSpec]) -> int | None:
    if (template := templates.get(name)) is None:
        return 1
    parents = _number(template.parent, templates, specs)
    if parents is None or template.kind == "job":
        return parents
    course = course_of(specs[template.parent])
    if course is None:
        return None
    wanted = sum(map(template.wants, course.saves(course.origin)))
    return parents * -(-wanted // (template.batch or 1))
