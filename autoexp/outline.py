"""A plan as data: what `plan.Planner` makes and plan.json keeps."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from autoexp.model import JSON, JobSpec, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a recipe comes to."""

    study: str
    jobs: tuple[JobSpec, ...] = ()
    templates: tuple[Template, ...] = ()
    previews: tuple[JobSpec, ...] = ()
    """One for each template: what is known of its jobs before any of them appears."""
    first: tuple[JobSpec, ...] = field(default=(), compare=False)
    """One for each template, while planning: its first job as it would be. Not kept."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that the recipe read, with what they said."""
    gpu_hours: float | None = None
    """What all attempts together may use; None is no limit."""
    warnings: tuple[Mapping[str, JSON], ...] = ()


def attach(jobs: Iterable[JobSpec], templates: Iterable[Template]) -> Iterator[JobSpec]:
    """Give each job the templates that stand for it."""
    by_parent: dict[str, list[Template]] = {}
    for template in templates:
        by_parent.setdefault(template.parent, []).append(template)
    for job in jobs:
        children = tuple(by_parent.get(job.id, ()))
        yield job if job.children == children else replace(job, children=children)
