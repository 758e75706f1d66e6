"""A plan as a picture of its stages: how many jobs each has, and what they wait for. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from autoexp.model import Condition, JobSpec
from autoexp.outline import Plan


@dataclass(frozen=True, slots=True)
class Box:
    """A stage."""

    stage: str
    jobs: str
    """How many jobs it has, or what they appear for."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One stage waits for another."""

    source: str
    target: str
    why: str


def draw(plan: Plan, style: str) -> str:
    """Draw a plan in one of `STYLES`."""
    return "\n".join(STYLES[style](list(_boxes(plan)), list(dict.fromkeys(_arrows(plan)))))


def _boxes(plan: Plan) -> Iterator[Box]:
    counts = Counter(job.stage for job in plan.jobs)
    templates = {template.stage: template for template in plan.templates}
    parents = Counter(template.stage for template in plan.templates)
    for stage in dict.fromkeys([*counts, *templates]):
        if stage in counts:
            yield Box(stage, f"{counts[stage]} job{'s' * (counts[stage] > 1)}")
        else:
            batch = templates[stage].batch
            what = f"{batch} checkpoints" if batch else templates[stage].kind
            yield Box(stage, f"one for each {what} of {parents[stage]}")


def _arrows(plan: Plan) -> Iterator[Arrow]:
    stages = {job.id: job.stage for job in (*plan.jobs, *plan.previews)}
    for job in plan.jobs:
        yield from _waits(job, job.start, stages)
    for template in plan.templates:
        yield Arrow(stages[template.parent], template.stage, f"each {template.kind}")


def _waits(job: JobSpec, condition: Condition, stages: Mapping[str, str]) -> Iterator[Arrow]:
    for part in condition.parts:
        yield from _waits(job, part, stages)
    told = [f"{value}" for key, value in condition.params.items() if key != "stage"]
    for name in (*condition.jobs, *condition.templates):
        yield Arrow(stages[name], job.stage, " ".join((condition.name.replace("_", " "), *told)))


def _text(boxes: list[Box], arrows: list[Arrow]) -> Iterator[str]:
    for box in boxes:
        waits = [f"after {arrow.source}: {arrow.why}" for arrow in arrows if arrow.target == box.stage]
        lines = [
            f"{box.stage}: {box.jobs}",
            *waits[:MOST],
            *([f"and {len(waits) - MOST} more"] if waits[MOST:] else []),
        ]
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
"""How many reasons to wait a box of text shows."""
STYLES: Mapping[str, Callable[[list[Box], list[Arrow]], Iterator[str]]] = {
    "text": _text, "mermaid": _mermaid, "dot": _dot,
}  # fmt: skip
