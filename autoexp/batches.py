"""Jobs that stand for a batch of checkpoints: which belong together, and what such a job does for each. Pure.

Rule 1: a checkpoint stands in one batch. Its parent remembers which, in the journal, before anything else happens.
Rule 2: what stands on disk counts as well: where the journal has lost a batch, the same batch is made again.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoexp.events import CheckpointsGathered
from autoexp.model import Job, JobSpec, Run, Template

OF_ALL = {
    **{key: key for key in ("start", "cancel", "finish", "prepare", "gate", "resources", "retry")},
    "stall": "no_progress_s",
}
"""The keys of a stage that a job has once, whatever it stands for, each with its field."""


def gathered(job: Job, known: Container[str], on_disk: Sequence[JobSpec], at: float) -> Iterator[CheckpointsGathered]:
    """Say which of a job's checkpoints belong together and have no job yet.

    `known` are the ids of the study's jobs, `on_disk` those that ever appeared, whether the journal knows them or not.
    """
    for template in job.spec.children:
        if template.batch is not None:
            made = [spec for spec in on_disk if (spec.template, spec.parent) == (template.id, job.id)]
            groups = _groups(job, template, known, made)
            yield from (CheckpointsGathered(at=at, template=template.id, iterations=g, complete=c) for g, c in groups)


def _groups(
    job: Job, template: Template, known: Container[str], made: Iterable[JobSpec]
) -> Iterator[tuple[tuple[int, ...], bool]]:
    """List groups of checkpoints, and whether they are complete: those that the journal has lost, then new ones."""
    taken = set(job.batched(template.id))
    for spec in {spec.id: spec for spec in made}.values():
        batch = spec.iterations or ((spec.iteration,) if spec.iteration is not None else ())
        lost = spec.id not in known and taken.isdisjoint(batch)
        if lost and not set(batch).isdisjoint(job.checkpoints):
            yield batch, True
        taken.update(batch)
    wanted = (iteration for iteration in sorted(job.checkpoints) if template.wants(iteration))
    free = [i for i in wanted if i not in taken and template.child(job.id, i) not in known]
    size = template.batch or 1
    for first in range(0, len(free), size):
        batch = tuple(free[first : first + size])
        yield batch, len(batch) == size


def children(job: Job, template: str) -> Iterator[str]:
    """Name the jobs of a template that a job and its checkpoints bring about; what has no batch yet by itself."""
    for child in job.spec.children:
        if child.id == template:
            grouped = job.batched(template)
            alone = (i for i in job.checkpoints if child.wants(i) and i not in grouped)
            each = (None,) if child.kind == "job" else (*(b[-1] for b in job.batches.get(template, ())), *alone)
            yield from (child.child(job.id, iteration) for iteration in each)


def joined(specs: Sequence[JobSpec]) -> JobSpec:
    """Make one job of what it would be for each of its iterations; the last one's values are the job's own."""
    last = specs[-1]
    runs = tuple(
        Run(argv=spec.argv, env=_differing(spec.env, last.env), params=_differing(spec.params, last.params))
        for spec in specs
    )
    return replace(last, iterations=tuple(spec.iteration or 0 for spec in specs), runs=runs, argv=())


def unlike(specs: Sequence[JobSpec]) -> str | None:
    """Name a key of the stage that is not the same for each iteration, and must be; None if there is none."""
    for key, name in OF_ALL.items():
        first, *others = (getattr(spec, name) for spec in specs)
        if any(other != first for other in others):
            return key
    return None


def for_iteration(spec: JobSpec, iteration: int) -> JobSpec:
    """Return what a job is for one iteration of its batch."""
    run = spec.runs[spec.iterations.index(iteration)]
    values: dict[str, Any] = {"env": {**spec.env, **run.env}, "params": {**spec.params, **run.params}}
    return replace(spec, iteration=iteration, argv=run.argv, **values)


def _differing(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in usual or usual[name] != value}
