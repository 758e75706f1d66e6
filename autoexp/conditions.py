"""Conditions: named questions with reasons. Pure: asking changes nothing, and asking twice answers the same.

One function each, by the name that recipes use. What a function needs to know of the world stands in `Facts`;
`questions` lists the files that somebody has to look at first.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.model import JSON, OVER, Condition, Job, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something about files: does `path` exist (`exists`), or how many match it (`glob`)."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What conditions may know."""

    job: Job
    """The one that asks."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Every job of the study that was born, by id."""
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The jobs that appeared for each template."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """What each template stands for: a job's id, or another template's."""
    progress: Mapping[str, int] = field(default_factory=dict)
    """The iteration a running job has reached, where it is known."""
    files: Mapping[Question, int] = field(default_factory=dict)
    """How many files answer each question; what nobody could look at is missing."""


Ask = Callable[[Condition, Facts], Verdict]


def ask(condition: Condition, facts: Facts) -> Verdict:
    """Answer a condition."""
    return CONDITIONS[condition.name].ask(condition, facts)


def questions(condition: Condition) -> Iterator[Question]:
    """List what a condition has to know about files."""
    if condition.name == "file_exists":
        yield Question(kind="exists", path=str(condition.params["path"]))
    if condition.name == "glob_exists":
        yield Question(kind="glob", path=str(condition.params["pattern"]))
    for part in condition.parts:
        yield from questions(part)


def jobs_of(condition: Condition) -> Iterator[str]:
    """List the jobs and templates a condition speaks of."""
    yield from condition.jobs
    yield from condition.templates
    for part in condition.parts:
        yield from jobs_of(part)


def all_of(condition: Condition, facts: Facts) -> Verdict:
    """Hold when every part holds."""
    verdicts = [ask(part, facts) for part in condition.parts]
    return _all(verdicts) if verdicts else Verdict(holds=True, reason="nothing to wait for")


def any_of(condition: Condition, facts: Facts) -> Verdict:
    """Hold when one part holds."""
    verdicts = [ask(part, facts) for part in condition.parts]
    holding = [verdict for verdict in verdicts if verdict.holds]
    if holding:
        return holding[0]
    reason = " and ".join(verdict.reason for verdict in verdicts)
    return Verdict(holds=False, reason=reason, dead=all(verdict.dead for verdict in verdicts))


def not_(condition: Condition, facts: Facts) -> Verdict:
    """Hold when the part does not."""
    verdict = ask(condition.parts[0], facts)
    return Verdict(holds=not verdict.holds, reason=verdict.reason)


def job_succeeded(condition: Condition, facts: Facts) -> Verdict:
    """Hold when every job of a stage succeeded; dead once one ended otherwise."""
    return _all([_in_state(name, State.SUCCEEDED, facts) for name in condition.jobs], _everything_of(condition, facts))


def job_state(condition: Condition, facts: Facts) -> Verdict:
    """Hold while every job of a stage is in a state."""
    state = State(str(condition.params["state"]))
    return _all([_in_state(name, state, facts) for name in condition.jobs])


def checkpoint_reached(condition: Condition, facts: Facts) -> Verdict:
    """Hold once every job of a stage has a whole checkpoint of this iteration, or a later one."""
    wanted = condition.params["iteration"]
    if not isinstance(wanted, int):
        raise TypeError(f"checkpoint_reached was planned with iteration {wanted!r}")
    return _all([_reached(name, wanted, facts) for name in condition.jobs])


def file_exists(condition: Condition, facts: Facts) -> Verdict:
    """Hold when a file or directory is there."""
    return _found(Question(kind="exists", path=str(condition.params["path"])), 1, facts)


def glob_exists(condition: Condition, facts: Facts) -> Verdict:
    """Hold when enough files match a pattern."""
    least = condition.params.get("min", 1)
    return _found(Question(kind="glob", path=str(condition.params["pattern"])), int(str(least)), facts)


def attempts_below(condition: Condition, facts: Facts) -> Verdict:
    """Hold while the job itself has had fewer attempts."""
    limit = int(str(condition.params["n"]))
    return Verdict(holds=facts.job.attempt < limit, reason=f"{facts.job.attempt} attempts of {limit}")


@dataclass(frozen=True, slots=True)
class Kind:
    """How a condition is written in a recipe, and who answers it."""

    ask: Ask
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    parts: bool = False
    """Its value is made of further conditions."""


CONDITIONS: Mapping[str, Kind] = {
    "job_succeeded": Kind(job_succeeded, ("stage",)),
    "job_state": Kind(job_state, ("stage", "state")),
    "checkpoint_reached": Kind(checkpoint_reached, ("stage", "iteration")),
    "file_exists": Kind(file_exists, ("path",)),
    "glob_exists": Kind(glob_exists, ("pattern",), ("min",)),
    "attempts_below": Kind(attempts_below, ("n",)),
    "all": Kind(all_of, parts=True),
    "any": Kind(any_of, parts=True),
    "not": Kind(not_, parts=True),
}


class ConditionError(Exception):
    """A condition that cannot be read; `path` leads to it from where it began."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix


def read_condition(raw: object) -> Condition:
    """Read a condition from its evaluated recipe value; several keys mean all of them.

    Raises:
        ConditionError: an unknown name, or parameters that do not fit it.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise ConditionError(f"{raw!r} is no condition", "a condition is written as NAME: {...}", _known())
    conditions = tuple(_read_named(str(name), value) for name, value in raw.items())
    return conditions[0] if len(conditions) == 1 else Condition(name="all", parts=conditions)


def _read_named(name: str, value: object) -> Condition:
    kind = CONDITIONS.get(name)
    if kind is None:
        raise ConditionError(f"unknown condition {name!r}", "nobody answers it", _known())
    if kind.parts:
        listed = value if isinstance(value, list | tuple) else [value]
        return Condition(name=name, parts=tuple(read_condition(part) for part in listed))
    params: Mapping[str, JSON] = value if isinstance(value, Mapping) else {}
    missing = [key for key in kind.required if key not in params]
    extra = [key for key in params if key not in (*kind.required, *kind.optional)]
    if missing or extra:
        wanted = ", ".join((*kind.required, *(f"[{key}]" for key in kind.optional)))
        said = f"it lacks {', '.join(missing)}" if missing else f"it has no {', '.join(extra)}"
        raise ConditionError(f"{name} does not fit", said, f"write {name}: {{{wanted}}}")
    _check_values(name, params)
    return Condition(name=name, params=params)


def _check_values(name: str, params: Mapping[str, JSON]) -> None:
    iteration = params.get("iteration", 1)
    if not isinstance(iteration, int) or isinstance(iteration, bool) or iteration < 1:
        raise ConditionError(f"{name}: {iteration!r} is no iteration", "iterations count from 1", "give a whole number")
    state = params.get("state")
    if state is not None and state not in set(State):
        raise ConditionError(f"{name}: {state!r} is no state", "no job is ever in it", f"use one of {', '.join(State)}")


def _known() -> str:
    return f"use one of {', '.join(CONDITIONS)}"


def _all(verdicts: list[Verdict], also: Verdict | None = None) -> Verdict:
    verdicts = [*verdicts, *([also] if also else [])]
    open_ones = [verdict for verdict in verdicts if not verdict.holds]
    if not open_ones:
        return Verdict(holds=True, reason="; ".join(verdict.reason for verdict in verdicts))
    dead = [verdict for verdict in open_ones if verdict.dead]
    shown = (dead or open_ones)[0].reason
    others = len(open_ones) - 1
    reason = f"{shown} (and {others} more)" if others and not dead else shown
    return Verdict(holds=False, reason=reason, dead=bool(dead))


def _in_state(name: str, wanted: State, facts: Facts) -> Verdict:
    job = facts.jobs.get(name)
    if job is None:
        return Verdict(holds=False, reason=f"{name} has not begun")
    dead = wanted in OVER and job.state in OVER and job.state is not wanted
    return Verdict(holds=job.state is wanted, reason=f"{name} is {job.state}", dead=dead)


def _reached(name: str, wanted: int, facts: Facts) -> Verdict:
    job = facts.jobs.get(name)
    if job is None:
        return Verdict(holds=False, reason=f"waits for iteration {wanted} of {name}, which has not begun")
    if job.iteration >= wanted:
        return Verdict(holds=True, reason=f"{name} has a checkpoint at iteration {job.iteration} of {wanted}")
    if job.state in OVER:
        reason = f"{name} {job.state} with its newest checkpoint at iteration {job.iteration} of {wanted}"
        return Verdict(holds=False, reason=reason, dead=True)
    training = facts.progress.get(name)
    at = f", and trains at iteration {training}" if training else ""
    reason = f"waits for iteration {wanted} of {name}, whose newest checkpoint is at iteration {job.iteration}{at}"
    return Verdict(holds=False, reason=reason)


def _everything_of(condition: Condition, facts: Facts) -> Verdict | None:
    """Answer for the templates of an each stage: all that will appear has appeared, and succeeded."""
    if not condition.templates:
        return None
    return _all([_template_done(name, facts) for name in condition.templates])


def _template_done(template: str, facts: Facts) -> Verdict:
    parent = facts.parents[template]
    is_template = parent in facts.parents
    complete = _template_done(parent, facts) if is_template else _in_state(parent, State.SUCCEEDED, facts)
    if not complete.holds:
        return complete
    return _all([_in_state(child, State.SUCCEEDED, facts) for child in facts.children.get(template, ())])


def _found(question: Question, least: int, facts: Facts) -> Verdict:
    count = facts.files.get(question)
    if count is None:
        return Verdict(holds=False, reason=f"{question.path} could not be looked at yet")
    seen = ("is there" if count else "is not there") if question.kind == "exists" else f"matches {count} of {least}"
    return Verdict(holds=count >= least, reason=f"{question.path} {seen}")
