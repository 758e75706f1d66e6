"""What a study's evaluations say: the held-out loss of checkpoints, and how they score tasks.

An evaluation is a job that leaves eval/results.json; whose checkpoint it measured is told by its chain of parents,
which ends at a training job.

Rule 1: a loss or a score that is no number is none, and the evaluation says so.
Rule 2: losses compare only where the same measure was taken on the same sample.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from autoexp.model import JobSpec, State
from autoexp.naming import label
from autoexp.report.numbers import finite, whole
from autoexp.status import Row
from autoexp.studies import Study
from autoexp.world import checkpoint_name

RESULTS = Path("eval", "results.json")
FOR_TASKS = "--tasks"
"""The flag of the hook `evaluate` that has tasks scored instead of a loss measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one metric says of one task."""

    task: str
    metric: str
    value: float | None = None
    stderr: float | None = None
    """Its standard error; None where the metric has none."""
    few_shot: int | None = None
    """Examples shown before each question."""
    samples: int | None = None
    samples_in_all: int | None = None
    """More than `samples` where it was tried on some of them only."""

    @property
    def is_cut(self) -> bool:
        """It compares with no other."""
        return None not in (self.samples, self.samples_in_all) and self.samples != self.samples_in_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One checkpoint's held-out loss, or scores, or why there is none."""

    job: str
    measure: str
    """What tells it from other evaluations of the same checkpoint: its stage, and its own axes."""
    iteration: int | None = None
    loss: float | None = None
    """Nats per token."""
    perplexity: float | None = None
    sample: str = ""
    """What it was measured on, as far as it says."""
    of_tasks: bool = False
    """It has scores, or will have, and no loss."""
    scores: tuple[Score, ...] = ()
    problem: str = ""


def is_training(spec: JobSpec) -> bool:
    """Say whether a job trains: its stage has a backend of its own."""
    return spec.backend not in (None, "command")


def read_evaluations(
    study: Study, specs: Mapping[str, JobSpec], states: Mapping[str, Row]
) -> tuple[dict[str, list[Evaluation]], str]:
    """Read the evaluations by the training job whose checkpoint they measured."""
    found: dict[str, list[Evaluation]] = {}
    lost = 0
    for spec, place in [(each, place) for each in specs.values() for place in _places(study, each)]:
        if is_training(spec) or not (spec.output == RESULTS.parent.name or _is_there(place.path)):
            continue
        trained = _training_of(spec, specs)
        if trained is None:
            lost += 1
        else:
            found.setdefault(trained.id, []).append(_read_evaluation(place, spec, trained, states.get(spec.id)))
    return found, f"{lost} evaluations belong to no training job of the study" if lost else ""


class _Place(NamedTuple):
    """Where an evaluation's results stand, and of which iteration's checkpoint they are."""

    iteration: int | None
    path: Path


def _places(study: Study, spec: JobSpec) -> list[_Place]:
    """List where a job leaves results; for a batch, in a folder for each iteration."""
    home = study.job_dir(spec.id)
    batch = [_Place(iteration, home / checkpoint_name(iteration) / RESULTS) for iteration in spec.iterations]
    return batch or [_Place(spec.iteration, home / RESULTS)]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # and reading it will say what is wrong


def _training_of(spec: JobSpec, specs: Mapping[str, JobSpec]) -> JobSpec | None:
    """Follow a job's parents to the training job they end at."""
    for _ in range(len(specs)):
        parent = specs.get(spec.parent or "")
        if parent is None or is_training(parent):
            return parent
        spec = parent
    return None


def _read_evaluation(place: _Place, spec: JobSpec, trained: JobSpec, row: Row | None) -> Evaluation:
    own = [f"{axis} {label(value)}" for axis, value in spec.values.items() if axis not in trained.values]
    argvs = (spec.argv, *(run.argv for run in spec.runs))
    blank = Evaluation(
        job=spec.id,
        measure=", ".join((spec.stage, *own)),
        iteration=place.iteration,
        of_tasks=any(FOR_TASKS in argv for argv in argvs),
    )
    try:
        data = json.loads(place.path.read_bytes())
    except FileNotFoundError:
        return replace(blank, problem=_why_missing(row))
    except (OSError, ValueError, RecursionError) as error:
        return replace(blank, problem=f"{RESULTS} cannot be read: {error}")
    return _judged(blank, data if isinstance(data, Mapping) else {})


def _why_missing(row: Row | None) -> str:
    if row is None or row.state is State.SUCCEEDED:
        return f"there is no {RESULTS}"
    return f"{row.state}: {row.reason}" if row.reason else str(row.state)


def _judged(blank: Evaluation, data: Mapping[str, Any]) -> Evaluation:
    iteration = blank.iteration if blank.iteration is not None else whole(data.get("iteration"))
    told = replace(blank, iteration=iteration, scores=tuple(_scores(data.get("scores"))))
    if told.scores and "loss" not in data:
        return replace(told, of_tasks=True)
    if told.of_tasks and not told.scores:
        return replace(told, problem=f"{RESULTS} is of no use: it has no scores")
    return _with_loss(told, data)


def _scores(listed: object) -> Iterator[Score]:
    """Read the scores that the hook listed, or another program in its way."""
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and {"task", "metric", "value"} <= each.keys():
            yield Score(
                task=str(each["task"]),
                metric=str(each["metric"]),
                value=finite(each["value"]),
                stderr=finite(each.get("stderr")),
                few_shot=_count(each.get("few_shot")),
                samples=_count(each.get("samples")),
                samples_in_all=_count(each.get("samples_in_all")),
            )


def _count(value: object) -> int | None:
    return 0 if value == 0 else whole(value)


def _with_loss(told: Evaluation, data: Mapping[str, Any]) -> Evaluation:
    loss = finite(data.get("loss"))
    if loss is None:
        said = f"its loss is {data['loss']!r}" if "loss" in data else "it has no loss"
        return replace(told, problem=f"{RESULTS} is of no use: {said[:80]}")
    text = "text_sha256" if "text_sha256" in data else "text"
    return replace(
        told,
        of_tasks=False,
        loss=loss,
        perplexity=finite(data.get("perplexity")) or _perplexity(loss),
        sample=json.dumps([data.get(name) for name in (text, "tokens", "seq_length")]),
    )


def _perplexity(loss: float) -> float | None:
    try:
        return math.exp(loss)
    except OverflowError:
        return None
