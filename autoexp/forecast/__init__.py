"""A study in virtual time: when its jobs would start and end, and which never would.

What moves a job is what moves it under a watcher: the lifecycle's table, the conditions, the budget, the limits of a
machine file, the planner of what appears. Only the world is made up: attempts take as long as `lengths` says and go
well, but for the time limit, and a `site` runs what fits.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from autoexp import asking, clock, conditions
from autoexp.actions import Action, AnswerEvent, AppearJob, StopJob, SubmitJob, WithdrawJob
from autoexp.budget import most
from autoexp.events import (
    Answered,
    Appeared,
    BackoffElapsed,
    CheckpointSaved,
    Ended,
    Event,
    GatePassed,
    Planned,
    Started,
    SubmitRefused,
    Submitted,
)
from autoexp.forecast.lengths import Lengths
from autoexp.forecast.site import Site
from autoexp.happenings import rule_of
from autoexp.lifecycle import step
from autoexp.model import ACTIVE, OVER, Condition, EndingClass, Job, JobSpec, State, Verdict
from autoexp.registry import Ledger
from autoexp.rulebook import asked_of_job
from autoexp.world import checkpoint_name

TRYING = (State.WAITING, State.BACKOFF)
"""States in which a job may wait for its study's budget."""


TICK_S = 1e-6
"""What the clock counts in."""


class Fact(NamedTuple):
    """An event on its way to a job; without one the job's conditions are asked."""

    job: str
    event: Event | None
    spec: JobSpec | None = None
    """The job itself, if the event is its birth."""


@dataclass(slots=True)
class Course:
    """What became of one job; times are seconds since the epoch of virtual time."""

    submitted_at: float | None = None
    """When its newest attempt was ready to go."""
    started_at: float | None = None
    """When its newest attempt began."""
    ended_at: float | None = None
    queued_s: float = 0.0
    """How long its attempts waited to begin, together."""
    runs: list[tuple[float, float]] = field(default_factory=list)
    """From when to when each attempt ran."""


@dataclass(slots=True)
class Forecast:
    """One study's course."""

    ledger: Ledger
    site: Site
    lengths: Lengths
    began_at: float
    now: float = field(init=False)
    courses: dict[str, Course] = field(default_factory=dict)
    bases: dict[tuple[str, str], int] = field(default_factory=dict)
    """By stage, why its attempts last as long as they do, and how many."""
    hoped: dict[tuple[str, str], None] = field(default_factory=dict)
    """By stage, what was assumed to be found when a job asked for it."""
    _coming: list[tuple[float, int, Fact]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _poor: dict[float, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Jobs that wait for their study's budget, by how much they may use."""

    def __post_init__(self) -> None:
        self.now = self.began_at

    def run(self) -> None:
        """Let everything happen that will."""
        with clock.simulated(lambda: self.now):
            self._settle([Fact(spec.id, Planned(at=self.now), spec) for spec in self.ledger.study.plan.jobs])
            while self._coming:
                self.now = self._coming[0][0]
                facts = []
                while self._coming and self._coming[0][0] <= self.now:
                    facts.append(heapq.heappop(self._coming)[2])
                self._settle(facts)

    def why(self, job: Job) -> str:
        """Say why a job is where it is."""
        if job.state not in TRYING:
            return job.reason
        with clock.simulated(lambda: self.now):
            said = self._verdict(job, "start", job.spec.start)
        waits = job.state is State.WAITING and not said.holds
        return said.reason if waits else self.ledger.budget.shortage(job)

    def _plan(self, at: float, fact: Fact) -> None:
        heapq.heappush(self._coming, (round(max(at, self.now), 6), next(self._numbers), fact))

    def _settle(self, facts: Iterable[Fact]) -> None:
        """Step until nothing is left to do at this time."""
        queue = list(facts)
        while queue:
            changed: dict[str, None] = {fact.job: None for fact in queue if fact.event is None}
            actions: list[Action] = []
            for fact in queue:
                actions += self._step(fact, changed) if fact.event is not None else ()
            acted = [fact for action in actions for fact in self._act(action)]
            queue = [*acted, *self._gathered(changed), *self._asked(changed), *self._tended()]
            queue = queue or list(self._granted())

    def _step(self, fact: Fact, changed: dict[str, None]) -> tuple[Action, ...]:
        before = self.ledger.job_for(fact.job, fact.spec)
        too_late = isinstance(fact.event, CheckpointSaved) and before.state not in ACTIVE
        too_soon = isinstance(fact.event, BackoffElapsed) and not self._may_try(before)
        if fact.event is None or too_late or too_soon:
            return ()
        decision = step(before, fact.event)
        if decision.transition is None:
            return ()
        self.ledger.put(decision.job)
        self._note(before, decision.job)
        changed[fact.job] = None
        return decision.actions

    def _may_try(self, job: Job) -> bool:
        """Say whether a job's wait is over; one that the budget keeps waiting is asked again later."""
        if job.state is not State.BACKOFF or job.wake_at is None or job.wake_at > self.now:
            return False
        if self.ledger.budget.grant(job):
            return True
        self._poor[most(job)][job.id] = None
        return False

    def _note(self, before: Job, job: Job) -> None:
        """Keep what a move means for the site, the clock and the course."""
        course = self.courses.setdefault(job.id, Course())
        if before.state in ACTIVE and (job.state not in ACTIVE or job.token != before.token):
            self.site.leave(job.id)
            if course.started_at is not None:
                course.runs.append((course.started_at, self.now))
                course.started_at = None
        if job.state is State.SUBMITTING and before.token != job.token:
            course.submitted_at = self.now
        if job.state is State.BACKOFF and job.wake_at is not None:
            self._plan(job.wake_at, Fact(job.id, BackoffElapsed(at=job.wake_at)))
        if job.state is not before.state:
            course.ended_at = self.now if job.state in OVER else None
            for _, condition in conditions.open_ones(job):
                for at in conditions.rings(condition, job):
                    self._plan(at + TICK_S, Fact(job.id, None))

    # Acting

    def _act(self, action: Action) -> Iterator[Fact]:
        """Do what an action says, in a world where all goes well."""
        job = self.ledger.jobs.get(action.job)
        if isinstance(action, AppearJob):
            spec = self.ledger.appear(action.template, action.parent, action.iteration, action.iterations)
            born = Appeared(at=self.now, parent=action.parent, iteration=action.iteration, iterations=action.iterations)
            yield Fact(spec.id, born, spec)
        elif isinstance(action, AnswerEvent):
            yield from (Fact(action.job, event) for event in self._answers(action))
        elif job is None or action.attempt != job.attempt:
            return
        elif isinstance(action, SubmitJob):
            if reason := self.site.refusal(job):
                yield Fact(job.id, SubmitRefused(at=self.now, attempt=job.attempt, reason=reason))
            else:
                self.site.submit(job)
        elif isinstance(action, StopJob | WithdrawJob):
            if isinstance(action, WithdrawJob):
                self.site.withdraw(job.id)
            reason = "it was ended" if isinstance(action, StopJob) else "taken back before it began"
            yield Fact(job.id, Ended(at=self.now, attempt=job.attempt, ending=EndingClass.CANCELLED, reason=reason))

    def _answers(self, action: AnswerEvent) -> Iterator[Event]:
        """Ask of a job what its recipe wants when something happens; files and hooks are left alone."""
        job = self.ledger.jobs[action.job]
        rule = rule_of(job, action.event)
        for owed in (owed for owed in job.due if (owed["event"], owed["number"]) == (action.event, action.number)):
            if rule is not None and (rule.when is None or self._verdict(job, "start", rule.when).holds):
                yield from asked_of_job(rule, owed, self.now)
        yield Answered(at=self.now, event=action.event, number=action.number)

    def _tended(self) -> Iterator[Fact]:
        """Submit and start what the site has room for."""
        for job in self.site.send():
            yield Fact(job.id, Submitted(at=self.now, attempt=job.attempt))
        for job in self.site.begin():
            yield Fact(job.id, Started(at=self.now, attempt=job.attempt))
            if job.spec.gate:
                yield Fact(job.id, GatePassed(at=self.now, attempt=job.attempt))
            self._begin(job)

    def _begin(self, job: Job) -> None:
        """Let an attempt run: plan what it saves, and its end."""
        course = self.courses[job.id]
        course.started_at = self.now
        course.queued_s += self.now - (course.submitted_at or self.now)
        watched = bool(job.spec.children) or job.id in self.ledger.waiters
        attempt = self.lengths.of(job, all_saves=watched)
        reason = "exit code 0"
        if attempt.ending is EndingClass.TIME_LIMIT:
            reason = "its walltime is shorter than its work"
        basis = job.spec.stage, attempt.basis
        self.bases[basis] = self.bases.get(basis, 0) + 1
        for after_s, iteration in attempt.saves:
            path = f"checkpoints/{checkpoint_name(iteration)}"
            saved = CheckpointSaved(at=self.now + after_s, attempt=job.attempt, path=path, iteration=iteration)
            self._plan(min(saved.at, self.now + attempt.lasts_s), Fact(job.id, saved))
        at = self.now + attempt.lasts_s
        ended = Ended(at=at, attempt=job.attempt, ending=attempt.ending, reason=reason)
        self._plan(at, Fact(job.id, ended))

    # Asking

    def _gathered(self, changed: Iterable[str]) -> Iterator[Fact]:
        for name in changed:
            yield from (Fact(name, event) for event in self.ledger.gathered(self.ledger.jobs[name], self.now))

    def _asked(self, changed: Iterable[str]) -> Iterator[Fact]:
        """Ask the jobs that moved, and those whose conditions look at them."""
        jobs = self.ledger.jobs
        touched = ((name, *self.ledger.touched_by(jobs[name])) for name in changed)
        for name in dict.fromkeys(name for names in touched for name in names if name in jobs):
            if (event := self._following(jobs[name])) is not None:
                yield Fact(name, event)

    def _following(self, job: Job) -> Event | None:
        said: dict[str, Verdict] = {}

        def ask(key: str, condition: Condition) -> Verdict:
            said[key] = self._verdict(job, key, condition)
            return said[key]

        event = asking.following(job, self.ledger, ask, self.now)
        if event is None and "start" in said and said["start"].holds:
            self._poor[most(job)][job.id] = None
        return event

    def _verdict(self, job: Job, key: str, condition: Condition) -> Verdict:
        """Ask a condition in a world where all is found that a start waits for, and nothing that would end a job."""
        files = {question: int(found) for question, found in expected(condition, found=key == "start")}
        for question in files if key == "start" else ():
            what = question.path if question.kind != "runs" else " ".join(question.words)
            self.hoped[job.spec.stage, what.replace(f"/{job.id}/", "/.../")] = None
        return conditions.ask(condition, self.ledger.facts(job, {}, files))

    def _granted(self) -> Iterator[Fact]:
        """Ask those again that wait for the budget, of those that want as much until one wants too much."""
        for names in list(self._poor.values()):
            for name in list(names):
                job = self.ledger.jobs[name]
                if job.state in TRYING and self.ledger.budget.shortage(job):
                    break
                del names[name]
                if job.state is State.BACKOFF:
                    yield Fact(name, BackoffElapsed(at=self.now))
                elif (event := self._following(job)) is not None:
                    yield Fact(name, event)


def expected(condition: Condition, *, found: bool) -> Iterator[tuple[conditions.Question, bool]]:
    """Answer what a condition asks of files and programs, in its favour or not; under `not` the other way round."""
    if condition.parts:
        for part in condition.parts:
            yield from expected(part, found=found is not (condition.name == "not"))
    else:
        yield from ((question, found) for question in conditions.questions(condition))
