"""A plan as a picture of its stages: how many jobs each has, and what they wait for. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from autoexp.model import Condition, JobSpec
from autoexp.outline import Plan


@dataclass(frozen=True, slots=True)
class Box:
    """A stage."""

    stage: str
    jobs: str
    """How many jobs it has, or what they appear for."""
    waits: tuple[str, ...] = ()
    """What its jobs wait for, each kind of them once."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One stage waits for another."""

    source: str
    target: str
    why: str


def draw(plan: Plan, style: str) -> str:
    """Draw a plan in one of `STYLES`."""
    return "\n".join(STYLES[style](*parts(plan)))


def parts(plan: Plan) -> tuple[list[Box], list[Arrow]]:
    """List what a picture of a plan consists of: each stage, and each reason for which one waits for another."""
    return list(_boxes(plan)), list(dict.fromkeys(_arrows(plan)))


def links(arrows: list[Arrow]) -> list[tuple[str, str]]:
    """List which stage waits for which other one."""
    return [*dict.fromkeys((arrow.source, arrow.target) for arrow in arrows if arrow.source != arrow.target)]


def layers(boxes: list[Box], arrows: list[Arrow]) -> dict[str, int]:
    """Say how deep each stage stands: below all that it waits for, as far as they do not wait for each other."""
    depth = {box.stage: 0 for box in boxes}
    for _ in boxes:
        for source, target in links(arrows):
            depth[target] = max(depth[target], min(depth[source] + 1, len(boxes) - 1))
    return depth


def _stages(plan: Plan) -> dict[str, str]:
    return {job.id: job.stage for job in (*plan.jobs, *plan.previews, *plan.first)}


def _waiting(plan: Plan) -> Iterator[JobSpec]:
    """List who waits for what: the jobs, and the first of those that appear, but for what they appear for."""
    yield from plan.jobs
    for job in plan.first:
        parts = job.start.parts if job.start.name == "all" else (job.start,)
        own = tuple(part for part in parts if (part.name, part.jobs) != ("job_succeeded", (job.parent,)))
        yield replace(job, start=Condition(name="all", parts=own))


def _boxes(plan: Plan) -> Iterator[Box]:
    stages, waiting = _stages(plan), list(_waiting(plan))
    counts = Counter(job.stage for job in plan.jobs)
    templates = {template.stage: template for template in plan.templates}
    parents = Counter(template.stage for template in plan.templates)
    waits: dict[str, dict[str, None]] = {stage: {} for stage in (*counts, *templates)}
    for template in plan.templates:
        waits[template.stage][f"after {stages[template.parent]}: each {template.kind}"] = None
    for job in waiting:
        waits[job.stage].update(dict.fromkeys(_told(job.start, stages)))
    for stage, told in waits.items():
        if stage in counts:
            jobs = f"{counts[stage]} job{'s' * (counts[stage] > 1)}"
        else:
            batch = templates[stage].batch
            what = f"{batch} checkpoints" if batch else templates[stage].kind
            jobs = f"one for each {what} of {parents[stage]}"
        yield Box(stage, jobs, tuple(told))


def _arrows(plan: Plan) -> Iterator[Arrow]:
    stages = _stages(plan)
    for template in plan.templates:
        yield Arrow(stages[template.parent], template.stage, f"each {template.kind}")
    for job in _waiting(plan):
        yield from _waits(job, job.start, stages, "")


def _waits(job: JobSpec, condition: Condition, stages: Mapping[str, str], how: str) -> Iterator[Arrow]:
    inside = {"not": "not ", "any": "or "}.get(condition.name, "")
    for part in condition.parts:
        yield from _waits(job, part, stages, how + inside)
    for name in dict.fromkeys(stages[name] for name in (*condition.jobs, *condition.templates)):
        yield Arrow(name, job.stage, f"{how}{_spelled(condition)}")


def _told(condition: Condition, stages: Mapping[str, str]) -> Iterator[str]:
    """Say what a condition waits for: one text for each that must hold."""
    if condition.name == "all":
        for part in condition.parts:
            yield from _told(part, stages)
    elif condition.name == "any":
        yield " or ".join(" and ".join(_told(part, stages)) for part in condition.parts)
    elif condition.name == "not":
        yield f"not {' and '.join(_told(condition.parts[0], stages))}"
    else:
        of = ", ".join(dict.fromkeys(stages[name] for name in (*condition.jobs, *condition.templates)))
        yield f"after {of}: {_spelled(condition)}" if of else _spelled(condition)


def _spelled(condition: Condition) -> str:
    told = [str(value) for key, value in condition.params.items() if key != "stage" and value is not None]
    return " ".join((condition.name.replace("_", " "), *told))


def reasons(box: Box) -> list[str]:
    """List what a stage's jobs wait for, as many as there is room for."""
    return [*box.waits[:MOST], *([f"and {len(box.waits) - MOST} more"] if box.waits[MOST:] else [])]


def _text(boxes: list[Box], _: list[Arrow]) -> Iterator[str]:
    for box in boxes:
        lines = [f"{box.stage}: {box.jobs}", *reasons(box)]
        width = max(map(len, lines))
        edge = f"+{'-' * (width + 2)}+"
        yield from (edge, *(f"| {line.ljust(width)} |" for line in lines), edge)


def _mermaid(boxes: list[Box], arrows: list[Arrow]) -> Iterator[str]:
    names = {box.stage: f"s{number}" for number, box in enumerate(boxes)}  # a stage may be called `end`
    yield "flowchart TD"
    yield from (f'  {names[box.stage]}["{box.stage}<br/>{box.jobs}"]' for box in boxes)
    yield from (f'  {names[arrow.source]} -->|"{arrow.why}"| {names[arrow.target]}' for arrow in arrows)


def _dot(boxes: list[Box], arrows: list[Arrow]) -> Iterator[str]:
    yield "digraph plan {"
    yield "  node [shape=box]"
    yield from (f'  "{box.stage}" [label="{box.stage}\\n{box.jobs}"]' for box in boxes)
    yield from (f'  "{arrow.source}" -> "{arrow.target}" [label="{arrow.why}"]' for arrow in arrows)
    yield "}"


MOST = 6
"""How many reasons to wait a box shows."""
STYLES: Mapping[str, Callable[[list[Box], list[Arrow]], Iterator[str]]] = {
    "text": _text, "mermaid": _mermaid, "dot": _dot,
}  # fmt: skip
