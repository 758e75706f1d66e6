"""Conditions: named questions with reasons. Pure: asking changes nothing, and asking twice answers the same.

One function each, by the name that recipes use. What a function needs to know of the world stands in `Facts`;
`questions` lists the files that somebody has to look at first.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from autoexp.batches import children
from autoexp.model import JSON, OVER, Condition, Job, State, Verdict
from autoexp.patterns import problem
from autoexp.quantities import duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that somebody has to find out.

    Does `path` exist (`exists`), how many match it (`glob`), does a line of it (`contains`), does a program succeed
    (`runs`).
    """

    kind: str
    path: str = ""
    regex: str = ""
    words: tuple[str, ...] = ()
    """The program, and what it is told."""
    timeout_s: float = 0.0


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
    """How many files, or programs, answer each question; what nobody could find out is missing."""
    now: float = 0.0
    """Seconds since the epoch."""


Ask = Callable[[Condition, Facts], Verdict]

REASONS = 3
"""How many of several reasons are spelled out."""


def ask(condition: Condition, facts: Facts) -> Verdict:
    """Answer a condition."""
    return CONDITIONS[condition.name].ask(condition, facts)


def questions(condition: Condition) -> Iterator[Question]:
    """List what a condition has to know about files."""
    if condition.name == "file_exists":
        yield Question(kind="exists", path=str(condition.params["path"]))
    if condition.name == "glob_exists":
        yield Question(kind="glob", path=str(condition.params["pattern"]))
    if condition.name in ("file_contains", "log_matches"):
        yield _lines_of(condition)
    if condition.name == "command_succeeds":
        yield _program_of(condition)
    for part in condition.parts:
        yield from questions(part)


def changes_by_itself(condition: Condition) -> bool:
    """Say whether a condition may hold, some time, though nothing happens to any job."""
    asked = next(questions(condition), None) is not None
    return asked or condition.name == "elapsed" or any(map(changes_by_itself, condition.parts))


def rings(condition: Condition, job: Job) -> Iterator[float]:
    """List the times at which a condition's parts come to hold by the clock alone."""
    if condition.name == "elapsed":
        yield _over_at(condition, job)
    for part in condition.parts:
        yield from rings(part, job)


def open_ones(job: Job) -> Iterator[tuple[str, Condition]]:
    """Yield the conditions that matter to a job as it stands, by their names in the recipe: what ends it first."""
    spec = job.spec
    may_end = job.state not in OVER and job.state is not State.HELD and job.pending is None
    if spec.cancel is not None and may_end:
        yield "cancel", spec.cancel
    if spec.finish is not None and may_end and job.state in (State.RUNNING, State.STALLED):
        yield "finish", spec.finish
    if job.state is State.WAITING:
        yield "start", spec.start


def jobs_of(condition: Condition) -> Iterator[str]:
    """List the jobs and templates a condition speaks of."""
    yield from condition.jobs
    yield from condition.templates
    for part in condition.parts:
        yield from jobs_of(part)


def all_of(condition: Condition, facts: Facts) -> Verdict:
    """Hold when every part holds."""
    return _all([ask(part, facts) for part in condition.parts])


def any_of(condition: Condition, facts: Facts) -> Verdict:
    """Hold when one part holds."""
    verdicts = [ask(part, facts) for part in condition.parts]
    holding = sorted((verdict for verdict in verdicts if verdict.holds), key=lambda verdict: not verdict.stays)
    if holding:
        return holding[0]
    reason = " and ".join(verdict.reason for verdict in verdicts)
    unknown, dead = any(verdict.unknown for verdict in verdicts), all(verdict.dead for verdict in verdicts)
    return Verdict(holds=False, reason=reason, unknown=unknown, dead=dead)


def not_(condition: Condition, facts: Facts) -> Verdict:
    """Hold when the part does not; what nobody knows holds neither way."""
    verdict = ask(condition.parts[0], facts)
    if verdict.unknown:
        return verdict
    return Verdict(holds=not verdict.holds, reason=verdict.reason, dead=verdict.stays, stays=verdict.dead)


def job_succeeded(condition: Condition, facts: Facts) -> Verdict:
    """Hold when every job of a stage succeeded; dead once one ended otherwise."""
    return _every(condition, facts, lambda name: _in_state(name, State.SUCCEEDED, facts))


def happened(condition: Condition, facts: Facts) -> Verdict:
    """Hold once an event of a stage has happened to one of its jobs; dead once none of them can have it any more."""
    name = str(condition.params["event"])
    appeared = (child for template in condition.templates for child in facts.children.get(template, ()))
    names = (*condition.jobs, *appeared)
    jobs = [facts.jobs[job] for job in names if job in facts.jobs]
    met = next((job.id for job in jobs if name in job.matched), None)
    if met is not None:
        return Verdict(holds=True, reason=f"{name} happened to {met}", stays=True)
    complete = len(jobs) == len(names) and all(_has_appeared(template, facts).holds for template in condition.templates)
    over = complete and all(job.state in OVER for job in jobs)
    said = "whose jobs are all over" if over else "yet"
    return Verdict(holds=False, reason=f"{name} has not happened to {condition.params['stage']} {said}", dead=over)


def job_state(condition: Condition, facts: Facts) -> Verdict:
    """Hold while every job of a stage is in a state."""
    state = State(str(condition.params["state"]))
    return _every(condition, facts, lambda name: _in_state(name, state, facts))


def checkpoint_reached(condition: Condition, facts: Facts) -> Verdict:
    """Hold once every job of a stage has a whole checkpoint of this iteration, or a later one."""
    wanted = int(str(condition.params["iteration"]))
    return _every(condition, facts, lambda name: _reached(name, wanted, facts))


def file_exists(condition: Condition, facts: Facts) -> Verdict:
    """Hold when a file or directory is there."""
    return _found(Question(kind="exists", path=str(condition.params["path"])), 1, facts)


def glob_exists(condition: Condition, facts: Facts) -> Verdict:
    """Hold when enough files match a pattern."""
    least = condition.params.get("min", 1)
    return _found(Question(kind="glob", path=str(condition.params["pattern"])), int(str(least)), facts)


def file_contains(condition: Condition, facts: Facts) -> Verdict:
    """Hold once a line of a file matches."""
    question = _lines_of(condition)
    count = facts.files.get(question)
    if count is None:
        reason = problem(question.regex) or f"{question.path} could not be read yet"
        return Verdict(holds=False, reason=reason, unknown=True)
    said = f"matches {question.regex!r}" if count else f"has no line that matches {question.regex!r}"
    return Verdict(holds=count > 0, reason=f"{question.path} {said}")


def command_succeeds(condition: Condition, facts: Facts) -> Verdict:
    """Hold once a program ends with 0."""
    question = _program_of(condition)
    status = facts.files.get(question)
    said = "has not ended yet" if status is None else "succeeds" if status else "does not succeed"
    reason = f"{' '.join(question.words)!r:.80} {said}"
    return Verdict(holds=bool(status), reason=reason, unknown=status is None)


def elapsed(condition: Condition, facts: Facts) -> Verdict:
    """Hold so long after a time, or after the job began to wait; from then on it does."""
    left = _over_at(condition, facts.job) - facts.now
    reason = (
        f"{left:.0f} s are left of {condition.params['for']}" if left > 0 else f"{condition.params['for']} are over"
    )
    return Verdict(holds=left <= 0, reason=reason, stays=left <= 0)


def metadata_equals(condition: Condition, facts: Facts) -> Verdict:
    """Hold if one of the job's own params or axes has a value; both are planned, and stay as they are."""
    key, wanted = str(condition.params["key"]), condition.params["value"]
    known = {**facts.job.spec.params, **facts.job.spec.values}
    if key not in known:
        return Verdict(holds=False, reason=f"it has no {key}", dead=True)
    holds = known[key] == wanted
    reason = f"{key} is {known[key]!r}" if holds else f"{key} is {known[key]!r}, not {wanted!r}"
    return Verdict(holds=holds, reason=reason, dead=not holds, stays=holds)


def attempts_below(condition: Condition, facts: Facts) -> Verdict:
    """Hold while the job itself has had fewer attempts; it never has fewer again."""
    had, limit = facts.job.attempt, int(str(condition.params["n"]))
    return Verdict(holds=had < limit, reason=f"{had} attempts of {limit}", dead=had >= limit)


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
    "file_contains": Kind(file_contains, ("path", "regex")),
    "log_matches": Kind(file_contains, ("regex",)),
    "command_succeeds": Kind(command_succeeds, ("command",), ("timeout",)),
    "attempts_below": Kind(attempts_below, ("n",)),
    "elapsed": Kind(elapsed, ("for",), ("since",)),
    "metadata_equals": Kind(metadata_equals, ("key", "value")),
    "happened": Kind(happened, ("stage", "event")),
    "all": Kind(all_of, parts=True),
    "any": Kind(any_of, parts=True),
    "not": Kind(not_, parts=True),
}


COMMAND_TIMEOUT = "60s"
COUNTS: Mapping[str, str] = {"iteration": "iteration", "n": "number of attempts", "min": "number of files"}
TEXTS = ("stage", "event", "path", "pattern", "regex", "key")


class ConditionError(Exception):
    """A condition that cannot be read."""

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
        raise ConditionError(f"unknown condition {name!r}", "nobody answers it", _meant(name))
    if kind.parts:
        listed = value if isinstance(value, list | tuple) else [value]
        if not listed or (name == "not" and len(listed) > 1):
            said = "it is made of one other" if name == "not" else "it is made of others"
            raise ConditionError(f"{name} has {len(listed)} conditions", said, f"write {name}: [NAME: {{...}}]")
        return Condition(name=name, parts=tuple(read_condition(part) for part in listed))
    params: Mapping[str, JSON] = value if isinstance(value, Mapping) else {}
    missing = [key for key in kind.required if key not in params]
    extra = [key for key in params if key not in (*kind.required, *kind.optional)]
    if missing or extra:
        wanted = ", ".join((*kind.required, *(f"[{key}]" for key in kind.optional)))
        said = f"it lacks {', '.join(map(repr, missing))}" if missing else f"it has no {', '.join(extra)}"
        raise ConditionError(f"{name} does not fit", said, f"write {name}: {{{wanted}}}")
    _check_values(name, params)
    return Condition(name=name, params=params)


def _check_values(name: str, params: Mapping[str, JSON]) -> None:
    for key, value in params.items():
        if key in COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            said, fix = "it counts from 1", f"give {key} a whole number"
            if key == "iteration" and value == 0 and not isinstance(value, bool):
                said = "nothing is saved before the first save"
                fix = "save more often or train longer, so that it is none that was rounded to 0"
            if isinstance(value, float) and value >= 1:
                said, fix = "it is a number with a point", f"give {key} a whole one: int(...), or // for /"
            raise ConditionError(f"{name}: {value!r} is no {COUNTS[key]}", said, fix)
        if key == "state" and value not in set(State):
            fix = f"use one of {', '.join(State)}"
            raise ConditionError(f"{name}: {value!r} is no state", "no job is ever in it", fix)
        if key in READ and (reason := _unreadable(READ[key][0], value)) is not None:
            _, noun, shape = READ[key]
            raise ConditionError(f"{name}: {value!r} is no {noun}", f"{key} is {shape}{reason}", f"correct {key}")
        if key in TEXTS and (not isinstance(value, str) or not value):
            raise ConditionError(f"{name}: {value!r} is no {key}", "it is written as text", f"write {key}: TEXT")
        if any(
            "\0" in text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)
        ):
            said = "neither a path nor a program's word can hold one"
            raise ConditionError(f"{name}: {value!r} holds a zero byte", said, f"correct {key}")


def _words(command: object) -> tuple[str, ...]:
    words = ("bash", "-c", command) if isinstance(command, str) else command
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError(command)
    return tuple(words)


def _over_at(condition: Condition, job: Job) -> float:
    since = condition.params.get("since")
    begin = job.since if since is None else _moment(since)
    return begin + duration_s(condition.params["for"])


def _moment(text: object) -> float:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError(text)
    return time.timestamp()


READ: Mapping[str, tuple[Callable[[Any], object], str, str]] = {
    "regex": (re.compile, "regex", "a regular expression of Python's"),
    "for": (duration_s, "duration", "a duration with its unit: 90s, 30m, 12h, 2d"),
    "timeout": (duration_s, "duration", "a duration with its unit: 90s, 30m, 12h, 2d"),
    "since": (_moment, "time", "a time with its zone: 2026-11-20T21:40:00Z"),
    "command": (_words, "command", "a line for bash, or a program's list of words"),
}
"""What reads a value, or raises, what it is called, and how it is written."""


def _unreadable(read: Callable[[Any], object], value: object) -> str | None:
    """Try to read a value; return None if it can be, else why not, where that says more."""
    try:
        read(value)
    except (re.error, OverflowError) as error:
        return f": {error}"
    except (ValueError, TypeError):
        return ""
    return None


def _meant(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    near = get_close_matches(name, CONDITIONS, 1)
    return f"did you mean {near[0]}?" if near else _known()


def _known() -> str:
    return f"use one of {', '.join(CONDITIONS)}"


def _all(verdicts: list[Verdict]) -> Verdict:
    if not verdicts:
        return Verdict(holds=True, reason="nothing to wait for", stays=True)
    open_ones = [verdict for verdict in verdicts if not verdict.holds]
    dead = [verdict for verdict in open_ones if verdict.dead]
    shown = dead or open_ones or verdicts
    reasons = "; ".join(verdict.reason for verdict in (shown[:1] if open_ones else shown[:REASONS]))
    more = len(shown) - (1 if open_ones else REASONS)
    reason = f"{reasons} (and {more} more)" if more > 0 else reasons
    stays = not open_ones and all(verdict.stays for verdict in verdicts)
    unknown = bool(open_ones) and all(verdict.unknown for verdict in open_ones)
    return Verdict(holds=not open_ones, reason=reason, unknown=unknown, dead=bool(dead), stays=stays)


def _every(condition: Condition, facts: Facts, answer: Callable[[str], Verdict]) -> Verdict:
    """Ask about every job a condition stands for; those of an each stage must all have appeared."""
    verdicts = [answer(name) for name in condition.jobs]
    for template in condition.templates:
        verdicts += [_has_appeared(template, facts), *map(answer, facts.children.get(template, ()))]
    return _all(verdicts)


def _has_appeared(template: str, facts: Facts) -> Verdict:
    """Say whether all that will ever appear for a template is there; its parents have to succeed for that."""
    parent = facts.parents.get(template)
    if parent is None:
        return Verdict(holds=False, reason=f"{template} is no longer planned")
    if parent in facts.parents:
        settled, parents = _has_appeared(parent, facts), facts.children.get(parent, ())
    else:
        settled, parents = _in_state(parent, State.SUCCEEDED, facts), (parent,)
    if not settled.holds:
        return settled
    awaited = (child for name in parents for child in children(facts.jobs[name], template))
    missing = next((child for child in awaited if child not in facts.jobs), None)
    if missing is not None:
        return Verdict(holds=False, reason=f"{missing} has not appeared yet")
    return Verdict(holds=True, reason=f"all of {template} has appeared", stays=True)


def _in_state(name: str, wanted: State, facts: Facts) -> Verdict:
    job = facts.jobs.get(name)
    if job is None:
        return Verdict(holds=False, reason=f"{name} has not begun")
    dead = job.state in OVER and job.state is not wanted
    holds = job.state is wanted
    return Verdict(holds=holds, reason=f"{name} is {job.state}", dead=dead, stays=holds and job.state in OVER)


def _reached(name: str, wanted: int, facts: Facts) -> Verdict:
    job = facts.jobs.get(name)
    if job is None:
        return Verdict(holds=False, reason=f"waits for iteration {wanted} of {name}, which has not begun")
    if job.iteration >= wanted:
        reason = f"{name} has a checkpoint at iteration {job.iteration} of {wanted}"
        return Verdict(holds=True, reason=reason, stays=True)
    if job.state in OVER:
        reason = f"{name} {job.state} with its newest checkpoint at iteration {job.iteration} of {wanted}"
        return Verdict(holds=False, reason=reason, dead=True)
    training = facts.progress.get(name)
    at = f", and trains at iteration {training}" if training else ""
    newest = (
        f"whose newest checkpoint is at iteration {job.iteration}" if job.iteration else "which has no checkpoint yet"
    )
    reason = f"waits for iteration {wanted} of {name}, {newest}{at}"
    return Verdict(holds=False, reason=reason)


def _lines_of(condition: Condition) -> Question:
    path = str(condition.params.get("path", "current.log"))
    return Question(kind="contains", path=path, regex=str(condition.params["regex"]))


def _program_of(condition: Condition) -> Question:
    timeout_s = duration_s(condition.params.get("timeout", COMMAND_TIMEOUT))
    return Question(kind="runs", words=_words(condition.params["command"]), timeout_s=timeout_s)


def _found(question: Question, least: int, facts: Facts) -> Verdict:
    count = facts.files.get(question)
    if count is None:
        return Verdict(holds=False, reason=f"{question.path} could not be looked at yet", unknown=True)
    seen = ("is there" if count else "is not there") if question.kind == "exists" else f"matches {count} of {least}"
    return Verdict(holds=count >= least, reason=f"{question.path} {seen}")
