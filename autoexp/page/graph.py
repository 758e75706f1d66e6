"""A study as a picture: its stages, what they wait for, and in each its jobs, grouped by an axis. Pure."""

from collections.abc import Iterable
from typing import Any

from autoexp import flow
from autoexp.model import JSON, Job
from autoexp.registry import Ledger
from autoexp.rows import is_shown


def graph(ledger: Ledger, by: str = "") -> dict[str, Any]:
    """Return the stages with their jobs and depths, the arrows between them, and the axes by which jobs can be grouped.

    `by` is one of those axes; any other text groups nothing.
    """
    boxes, arrows = flow.parts(ledger.study.plan)
    jobs = [job for job in ledger.jobs.values() if is_shown(job)]
    planned = {box.stage for box in boxes}
    boxes += [flow.Box(stage, "") for stage in dict.fromkeys(job.spec.stage for job in jobs) if stage not in planned]
    depth = flow.layers(boxes, arrows)
    return {
        "axes": _axes(jobs),
        "stages": [
            {
                "stage": box.stage,
                "planned": box.jobs,
                "waits": flow.reasons(box),
                "layer": depth[box.stage],
                "groups": _groups([job for job in jobs if job.spec.stage == box.stage], by),
            }
            for box in boxes
        ],
        "arrows": flow.links(arrows),
    }


def _axes(jobs: Iterable[Job]) -> list[str]:
    """List the axes that tell some of the jobs apart."""
    seen: dict[str, set[str]] = {}
    for job in jobs:
        for name, value in job.spec.values.items():
            seen.setdefault(name, set()).add(repr(value))
    return [name for name, values in seen.items() if len(values) > 1]


def _groups(jobs: Iterable[Job], by: str) -> list[dict[str, Any]]:
    """Group the jobs of a stage by their value of an axis; those that have none come last."""
    found: dict[str, dict[str, Any]] = {}
    for job in sorted(jobs, key=lambda job: by not in job.spec.values):
        label, where = _named(by, job.spec.values[by]) if by in job.spec.values else ("", "")
        found.setdefault(label, {"label": label, "where": where, "jobs": []})["jobs"].append(job.id)
    return list(found.values())


def _named(by: str, value: JSON) -> tuple[str, str]:
    """Name a group, and say how `--where` chooses it, where it can."""
    can_be_chosen = by.isidentifier() and isinstance(value, str | int | float)
    return f"{by}={value}", f"{by} == {value!r}" if can_be_chosen else ""
