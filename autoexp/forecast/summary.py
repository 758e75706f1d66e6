"""What a forecast comes to, for programs and for people: a line a stage, a picture of its course, dead ends. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from autoexp.budget import HOUR_S, gpus_of, in_words
from autoexp.forecast import Course, Forecast
from autoexp.model import JSON, Job, State
from autoexp.status import age

WIDTH = 80
MOST = 3
"""How many jobs of a dead end are named."""
MARKS = " .:=#"
"""None of the most that a stage has running at once; up to a quarter, half, three quarters, all of it."""
_NAMES = re.compile(r"[\w.-]*\d[\w.@-]*")
WHAT: Mapping[State, str] = {
    State.SKIPPED: "never start",
    State.WAITING: "wait for ever",
    State.BACKOFF: "wait for ever",
    State.SUBMITTING: "wait for ever",
    State.FAILED: "fail",
    State.HELD: "are held",
}
"""What becomes of jobs that come to no good end."""


def as_json(forecast: Forecast) -> dict[str, Any]:
    """Say it for programs; times are seconds from the study's start."""
    jobs = list(forecast.ledger.jobs.values())
    stages = [_stage(forecast, stage, group) for stage, group in _by_stage(jobs).items()]
    return {
        "study": forecast.ledger.study.name,
        "machine": forecast.site.machine.name,
        "makespan_s": max((stage["last_end_s"] or 0.0 for stage in stages), default=0.0),
        "gpu_hours": round(sum(stage["gpu_hours"] for stage in stages), 3),
        "budget_gpu_hours": forecast.ledger.budget.limit,
        "assumed": list(assumptions(forecast)),
        "stages": stages,
        "dead_ends": list(dead_ends(forecast)),
        "jobs": [_job(forecast, job) for job in jobs],
    }


def _by_stage(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.spec.stage, []).append(job)
    return found


def _job(forecast: Forecast, job: Job) -> dict[str, JSON]:
    course = forecast.courses[job.id]
    ended_at = course.ended_at if course.runs else None
    return {
        "job": job.id,
        "stage": job.spec.stage,
        "state": str(job.state),
        "start_s": _since(forecast, course.runs[0][0] if course.runs else None),
        "end_s": _since(forecast, ended_at),
        "queued_s": round(course.queued_s, 3),
        "attempts": len(course.runs),
        "gpu_hours": round(job.gpu_seconds / HOUR_S, 3),
    }


def _since(forecast: Forecast, at: float | None) -> float | None:
    return None if at is None else round(at - forecast.began_at, 3)


def _stage(forecast: Forecast, stage: str, jobs: Sequence[Job]) -> dict[str, Any]:
    courses = [forecast.courses[job.id] for job in jobs]
    runs = [run for course in courses for run in course.runs]
    waits = [course.queued_s for course in courses if course.runs]
    most, row = _row(forecast, courses)
    return {
        "stage": stage,
        "jobs": len(jobs),
        "succeeded": sum(job.state is State.SUCCEEDED for job in jobs),
        "attempts": len(runs),
        "first_start_s": _since(forecast, min((begin for begin, _ in runs), default=None)),
        "last_end_s": _since(forecast, max((end for _, end in runs), default=None)),
        "queued_mean_s": round(sum(waits) / len(waits), 3) if waits else 0.0,
        "queued_max_s": round(max(waits, default=0.0), 3),
        "most_at_once": most,
        "gpus": max(gpus_of(job.spec.resources) for job in jobs),
        "gpu_hours": round(sum(job.gpu_seconds for job in jobs) / HOUR_S, 3),
        "timeline": row,
    }


def _row(forecast: Forecast, courses: Sequence[Course]) -> tuple[int, str]:
    """Count the most jobs that run at once, and draw how many do over the whole time."""
    edges = sorted(
        (at, step) for course in courses for run in course.runs for at, step in zip(run, (1, -1), strict=True)
    )
    width = WIDTH - 2 - len("timeline  ")
    bucket_s = max(forecast.now - forecast.began_at, 1.0) / width
    peaks, running, most = [0] * width, 0, 0
    for number, (at, step) in enumerate(edges):
        running += step
        most = max(most, running)
        until = edges[number + 1][0] if number + 1 < len(edges) else at
        first = min(int((at - forecast.began_at) / bucket_s), width - 1)
        last = min(int((until - forecast.began_at) / bucket_s - 1e-9), width - 1)
        for place in range(first, last + 1):
            peaks[place] = max(peaks[place], running)
    return most, "".join(MARKS[-(-peak * (len(MARKS) - 1) // most) if most else 0] for peak in peaks)


def assumptions(forecast: Forecast) -> Iterator[str]:
    """List what was assumed where the recipe and the machine file do not say."""
    for (stage, basis), times in forecast.bases.items():
        yield f"{stage}: {basis} ({times} attempt{'s' if times > 1 else ''})"
    for stage, what in forecast.hoped:
        yield f"{stage}: of files and programs it is told what it waits for: {what}"
    if not forecast.site.room:
        yield "there are as many nodes as are asked for (--nodes)"
    yield "nothing fails; nobody else wants the machine, and the first come is the first served"


def dead_ends(forecast: Forecast) -> Iterator[dict[str, Any]]:
    """List the jobs that come to no good end, those for one reason together, and what never appears."""
    kinds: dict[tuple[str, str, str], list[Job]] = {}
    for job in forecast.ledger.jobs.values():
        if what := WHAT.get(job.state or State.SUCCEEDED):
            kinds.setdefault((job.spec.stage, what, _NAMES.sub("", forecast.why(job))), []).append(job)
    for (stage, what, _), jobs in kinds.items():
        yield {"stage": stage, "what": what, "why": forecast.why(jobs[0]), "jobs": [job.id for job in jobs]}
    missing: dict[str, list[str]] = {}
    for template in forecast.ledger.study.plan.templates:
        if not forecast.ledger.children.get(template.id) and template.parent in forecast.ledger.jobs:
            missing.setdefault(template.stage, []).append(template.parent)
    for stage, parents in missing.items():
        yield {"stage": stage, "what": "never appear", "why": "these save nothing that they stand for", "jobs": parents}


def text(forecast: Forecast) -> Iterator[str]:
    """Say it for people."""
    said = as_json(forecast)
    attempts = sum(stage["attempts"] for stage in said["stages"])
    yield (
        f"{said['study']} on machine {said['machine']}, in virtual time: {len(said['jobs'])} jobs, {attempts} attempts,"
        f" {in_words(said['gpu_hours'])} GPU hours, over after {age(said['makespan_s'])}"
    )
    yield from (f"assumed: {what}" for what in said["assumed"])
    yield ""
    yield from _table(said["stages"])
    yield ""
    yield from _timeline(said)
    for end in said["dead_ends"]:
        names, count = ", ".join(end["jobs"][:MOST]), len(end["jobs"])
        more = f" and {count - MOST} more" if count > MOST else ""
        whom = f"of {names}{more}" if end["what"] == "never appear" else f"{names}{more}"
        yield f"dead end: jobs of {end['stage']} {end['what']}: {whom}: {end['why']}"


def _table(stages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    heads = ("stage", "jobs", "attempts", "at once", "first start", "last end", "queued: mean", "max", "GPU hours")
    rows = [heads, *(_cells(stage) for stage in stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells)


def _cells(stage: Mapping[str, Any]) -> tuple[str, ...]:
    times = (stage[name] for name in ("first_start_s", "last_end_s", "queued_mean_s", "queued_max_s"))
    counts = (f"{stage[name]}" for name in ("jobs", "attempts", "most_at_once"))
    return (stage["stage"], *counts, *("-" if at is None else age(at) for at in times), in_words(stage["gpu_hours"]))


def _timeline(said: Mapping[str, Any]) -> Iterator[str]:
    """Draw one line a stage under the other, each as wide as the whole time."""
    shown = [stage for stage in said["stages"] if stage["attempts"]]
    for stage in shown:
        yield f"{stage['stage'][:9]:<9} |{stage['timeline']}|"
    if shown:
        width = len(shown[0]["timeline"])
        yield f"{'':<9} 0{age(said['makespan_s']).rjust(width)}"
        yield f"{'':<9} running at once: '{MARKS[1]}' up to a quarter of the stage's most, '{MARKS[-1]}' nearly all"
