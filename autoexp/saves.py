"""Who branches off whose checkpoint, and what a run has to save besides its interval so that they can. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from autoexp.branching import HOOK, branch_point, number, plain
from autoexp.model import JSON, JobSpec
from autoexp.world import job_dir

FLAG = "save-extra-steps"
"""OpenEuroLLM's Megatron-LM and our own trainer know it; `auto` is replaced by what is needed."""
AUTO = "auto"


def branched(jobs: Iterable[JobSpec], root: str) -> Iterator[tuple[JobSpec, int, JobSpec | None]]:
    """List the cooldowns among these jobs, each with its branch point and whose that is, if it is one of them."""
    listed = list(jobs)
    savers = {f"{job_dir(root, job.study, job.id)}/checkpoints": job for job in listed}
    for job in listed:
        if (iteration := branch_point(job)) is not None:
            named = (call.values.get("from") for call in job.prepare if call.name == HOOK)
            yield job, iteration, savers.get(str(next(named, "")))


def with_saves(jobs: Iterable[JobSpec], root: str) -> Iterator[JobSpec]:
    """Let each run that says `save-extra-steps: auto` save where others branch off it."""
    listed = list(jobs)
    wanted: dict[str, set[int]] = {job.id: set() for job in listed if _name(job)}
    for _, iteration, parent in branched(listed, root) if wanted else ():
        if parent is not None and parent.id in wanted:
            wanted[parent.id].add(iteration)
    yield from (saving(job, wanted[job.id]) if job.id in wanted else job for job in listed)


def saving(job: JobSpec, iterations: Iterable[int]) -> JobSpec:
    """Replace a job's `auto` by these iterations, those of its interval left out."""
    if not (name := _name(job)):
        return job
    every = number(plain(job.args).get("save_interval"))
    saved = {iteration for iteration in iterations if iteration > 0 and (not every or iteration % every)}
    steps: list[JSON] = [*sorted(saved)]
    at = job.argv.index(f"--{name}")
    given = (f"--{name}", *map(str, steps)) if steps else ()
    return replace(job, args={**job.args, name: steps or None}, argv=(*job.argv[:at], *given, *job.argv[at + 2 :]))


def steps_of(job: JobSpec) -> list[int]:
    """List what a planned job saves besides its interval."""
    said = plain(job.args).get(FLAG.replace("-", "_"))
    return [step for step in said if isinstance(step, int)] if isinstance(said, list | tuple) else []


def _name(job: JobSpec) -> str:
    """Spell the flag as the job's args do, if they leave it to us."""
    names = (FLAG, FLAG.replace("-", "_"))
    return next((name for name in names if job.args.get(name) == AUTO and f"--{name}" in job.argv), "")
