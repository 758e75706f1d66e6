"""Slips of trainings' schedules, of what branches off them, and of what waits for them. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoexp import branching
from autoexp.branching import number, plain
from autoexp.conditions import jobs_of
from autoexp.lint.finding import Finding
from autoexp.model import Condition, JobSpec, Template
from autoexp.outline import Plan
from autoexp.places import KeyPath
from autoexp.saves import branched

CHECKPOINTS = "checkpoints"
"""What a training's output is."""


def of_schedules(plan: Plan, root: str) -> Iterator[Finding]:
    """Find them."""
    yield from _barren(plan)
    yield from _of_jobs(plan.jobs, root)


def _barren(plan: Plan) -> Iterator[Finding]:
    """Find jobs that are to appear for the checkpoints of a job that saves none, or none so late as any of its kind."""
    by_id = {job.id: job for job in (*plan.jobs, *plan.previews)}
    latest: dict[str, float] = {}
    for job in by_id.values():
        if (end := number(plain(job.args).get("train_iters"))) is not None:
            latest[job.stage] = max(end, latest.get(job.stage, 0))
    for template in plan.templates:
        parent = by_id.get(template.parent)
        if template.kind == "checkpoint" and parent is not None:
            why = _unmet(template, parent, latest.get(parent.stage))
            if why is not None:
                yield Finding("never-starts", *why, ("stages", template.stage, "each"), template.id)


def _unmet(template: Template, parent: JobSpec, last: float | None) -> tuple[str, str] | None:
    """Say why no checkpoint is one that a template wants, and what to do; None if some may be.

    `last` is the iteration that the longest job of the parent's stage ends at; None if nobody knows.
    """
    first = -(-template.first // template.every) * template.every
    if parent.output != CHECKPOINTS:
        what = f"it appears for checkpoints of {parent.stage}, whose jobs are no trainings, and save none"
        return what, "name a stage with a backend"
    if last is not None and first > last > 0:
        what = f"it appears for checkpoints from iteration {first} on, and {parent.stage} ends at {last:.15g}"
        return what, "correct from or every"
    interval = number(plain(parent.args).get("save_interval"))
    if (
        last
        and interval
        and 1 <= interval < math.inf
        and not any(map(template.wants, _saved(parent, int(interval), int(last))))
    ):
        what = f"it appears for checkpoints at multiples of {template.every}, and {parent.stage} saves none there"
        return what, f"correct every: save-interval is {interval:.15g}, and it ends at {last:.15g}"
    return None


def _saved(parent: JobSpec, interval: int, last: int) -> Iterator[int]:
    """List the iterations that a training saves at."""
    yield from range(interval, last + 1, interval)
    yield last
    extra = plain(parent.args).get("save_extra_steps")
    yield from (int(each) for each in map(number, extra if isinstance(extra, list | tuple) else [extra]) if each)


def _of_jobs(jobs: Iterable[JobSpec], root: str) -> Iterator[Finding]:
    by_id = {job.id: job for job in jobs}
    for job in by_id.values():
        yield from _odd_branch(job)
        yield from _no_iteration(job)
        yield from _flat_end(job)
        yield from _schedule(job)
        if (why := _never(job, job.start, by_id)) is not None:
            yield Finding("never-starts", *why, ("stages", job.stage, "start"), job.id)
    for branch in branched(by_id.values(), root):
        yield from _branch(*branch)


def _odd_branch(job: JobSpec) -> Iterator[Finding]:
    said = branching.branch_said(job)
    if said is not None and (isinstance(said, bool) or not isinstance(said, int)):
        what = f"it branches off at {said!r}, which is no whole number: the hook would refuse it"
        fix = "write int(...) or // in its expression, or the number itself"
        yield Finding("branch-not-whole", what, fix, ("stages", job.stage, "prepare", branching.HOOK), job.id)


def _no_iteration(job: JobSpec) -> Iterator[Finding]:
    last = number(plain(job.args).get("train_iters"))
    skips = plain(job.args).get("skip_train")
    if last is not None and last < 1 and not skips and branching.branch_point(job) is None:
        what, path = (
            f"it trains {last:.15g} iterations, and saves nothing",
            ("stages", job.stage, "args", "train-iters"),
        )
        yield Finding("no-iteration", what, "give train-iters of at least 1", path, job.id)


def _flat_end(job: JobSpec) -> Iterator[Finding]:
    """Find a training whose schedule is over before it is: Megatron-LM goes on with the lowest rate."""
    said = plain(job.args)
    end, last = number(said.get("lr_decay_iters")), number(said.get("train_iters"))
    falls = said.get("lr_decay_style") != "constant"  # left out, it is linear
    if falls and end is not None and last is not None and end < last and not number(said.get("min_lr")):
        what = f"its last {last - end:.15g} iterations train with a learning rate of 0: the schedule ends at {end:.15g}"
        fix = f"give lr-decay-iters {last:.15g}, as train-iters"
        yield Finding("zero-learning-rate", what, fix, ("stages", job.stage, "args", "lr-decay-iters"), job.id)


def _schedule(job: JobSpec) -> Iterator[Finding]:
    """Find schedules whose parts do not fit into each other; those of cooldowns are looked at as such."""
    said = plain(job.args)
    is_wsd = said.get("lr_decay_style") == "WSD" and branching.branch_point(job) is None
    end = number(said.get("lr_decay_iters")) or number(said.get("train_iters"))
    pairs = (
        ("lr-wsd-decay-iters", end if is_wsd else None, "the schedule ends at"),
        ("lr-decay-iters", number(said.get("train_iters")) if is_wsd else None, "it trains"),
        ("lr-warmup-iters", number(said.get("train_iters")), "it trains"),
    )
    for name, most, where in pairs:
        value = number(said.get(name.replace("-", "_")))
        if value is not None and most is not None and value > most:
            what = f"its {name} is {value:.15g}, and {where} {most:.15g}"
            yield Finding("schedule", what, "correct one of the two", ("stages", job.stage, "args", name), job.id)


def _never(job: JobSpec, condition: Condition, jobs: Mapping[str, JobSpec]) -> tuple[str, str] | None:
    """Say why a condition can never hold, and what to do, as far as the plan shows it."""
    inside = [_never(job, part, jobs) for part in condition.parts if condition.name in ("all", "any")]
    if condition.name == "all" or (condition.name == "any" and inside and all(inside)):
        return next(filter(None, inside), None)
    if condition.name == "metadata_equals":
        key, wanted = str(condition.params["key"]), condition.params["value"]
        known = {**job.params, **job.values}
        is_said = f"is {known[key]!r}, and waits for {wanted!r}" if key in known else "is nothing that it has"
        return None if known.get(key, jobs) == wanted else (f"its {key} {is_said}", "correct the key, or the value")
    if condition.name == "checkpoint_reached":
        return next(filter(None, (_out_of_reach(condition, jobs.get(name)) for name in condition.jobs)), None)
    return None


def _out_of_reach(condition: Condition, writer: JobSpec | None) -> tuple[str, str] | None:
    wanted = number(condition.params["iteration"]) or 0
    last = number(plain(writer.args).get("train_iters")) if writer is not None else None
    if writer is not None and writer.output != CHECKPOINTS:
        return f"it waits for a checkpoint of {writer.stage}, which is no training", "name a stage with a backend"
    if writer is not None and last is not None and wanted > last:
        return (
            f"it waits for iteration {wanted:.15g} of {writer.id}, which ends at {last:.15g}",
            "correct one of the two",
        )
    return None


def _branch(job: JobSpec, iteration: int, parent: JobSpec | None) -> Iterator[Finding]:
    """Find what is wrong with a cooldown from this iteration of another job."""
    path: KeyPath = ("stages", job.stage, "prepare", branching.HOOK)
    before = plain(parent.args) if parent else {}
    if iteration < 1:
        fix = "give it a longer run, or save more often: wsd_branch(train_iters, decay, save_interval)"
        yield Finding("branch-at-zero", f"it branches off at iteration {iteration}", fix, path, job.id)
    elif not _is_saved(iteration, before):
        every = number(before.get("save_interval"))
        what = f"it branches off at iteration {iteration}, where nothing is saved (save-interval {every:.15g})"
        fix = "branch at a multiple, or save there: save-extra-steps: auto, where the program knows it"
        yield Finding("branch-not-saved", what, fix, path, job.id)
    if parent is not None and (begins := _begins(job.start, parent.id)) < iteration:
        what = f"it may begin at iteration {begins:.15g} of {parent.id}, and branches off at {iteration}"
        yield Finding("branch-too-early", what, "let start wait for that iteration", path, job.id)
    if (falls := branching.falls_from(before)) is not None and iteration > falls:
        what = (
            f"it branches off at {iteration}, and the rate of {parent.id if parent else ''} falls from {falls:.15g} on"
        )
        fix = f"branch at {falls:.15g} at the latest, or let that one decay later"
        yield Finding("branch-in-decay", what, fix, path, job.id)
    for what, fix in branching.troubles(job.args, iteration, before):
        yield Finding("cooldown-flags", what, fix, ("stages", job.stage, "args"), job.id)
    if option := branching.deletes(before, iteration):
        what = f"its branch point {iteration} would be deleted by {option} of {parent.id if parent else ''}"
        yield Finding("branch-deleted", what, "keep it, or write keep: link in prepare", path, job.id)


def _begins(start: Condition, parent: str) -> float:
    """Say from which iteration of another job on a condition may hold; without end if it says nothing plain of it."""
    named = [part for part in (start.parts if start.name == "all" else (start,)) if parent in jobs_of(part)]
    if not named or any(part.name != "checkpoint_reached" for part in named):
        return math.inf
    return max(number(part.params["iteration"]) or 0 for part in named)


def _is_saved(iteration: int, args: Mapping[str, Any]) -> bool:
    """Say whether a run of these flags saves there, as far as they tell."""
    every, last = number(args.get("save_interval")), number(args.get("train_iters"))
    extra = args.get("save_extra_steps")
    listed = extra if isinstance(extra, list | tuple) else [extra]
    return not every or iteration % every == 0 or iteration == last or iteration in listed
