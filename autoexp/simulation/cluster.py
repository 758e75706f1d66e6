"""A scheduler and its nodes, in virtual time: the port `scheduling.Scheduler`, and what becomes of what it takes.

Job ids are few, and used again. Finished jobs leave the queue at once, and come into the accounting a while later;
in between the scheduler does not know them. Under some names it knows a job from long before.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Literal

from autoexp.events import SubmitLost, SubmitRefused, Submitted
from autoexp.model import JobSpec
from autoexp.orders import Order
from autoexp.simulation.disk import Disk
from autoexp.simulation.programs import Program, program_of, say
from autoexp.simulation.timeline import Timeline
from autoexp.simulation.weather import DAY_S, HOUR_S, Answer, Fate, Weather
from autoexp.submissions import Entry, Question

IDS = 300
QUEUE_S = 2 * HOUR_S
"""How long a job is queued on average."""
SLOWEST_ACCOUNTING_S = 600.0
STALE_S = 600.0
REQUEUE_S = 120.0
RETRIED = 0.5
"""How often a client that heard no answer has sent its message a second time by itself."""


@dataclass(slots=True)
class Submission:
    """A job, as the scheduler knows it."""

    id: str
    order: Order
    submitted_at: float
    accounted_after_s: float
    state: Literal["queued", "running", "over"] = "queued"
    restarts: int = 0
    turn: int = 0
    """Counts what interrupts it: what was planned before that does not happen any more."""
    ended_at: float | None = None

    def entry(self, at: float) -> Entry | None:
        """Say what the scheduler knows of it at some time."""
        over = self.ended_at is not None and at >= self.ended_at
        if at < self.submitted_at or (over and at < (self.ended_at or 0.0) + self.accounted_after_s):
            return None
        return Entry(id=self.id, submitted_at=self.submitted_at, live=not over)


@dataclass(slots=True)
class Run:
    """A run that had an effect: it held the claim."""

    token: str
    id: str
    home: Path
    began_at: float
    ended_at: float | None = None
    code: int | None = None
    """What its exit file says, if it left one."""


@dataclass(slots=True)
class Cluster:
    """The scheduler, and all that runs."""

    timeline: Timeline
    disk: Disk
    weather: Weather
    spec_of: Callable[[Order], JobSpec]
    message_timeout_s: float = 60.0
    remembers_s: float = math.inf
    runs: list[Run] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    """Submissions that were accepted, by name."""
    misled: set[str] = field(default_factory=set)
    """Names of which the last answer left out a job."""
    lies: int = 0
    """How often an answer left out a job."""
    again: list[str] = field(default_factory=list)
    """Names submitted again although the last answer left nothing out."""
    jobs: dict[str, list[Submission]] = field(default_factory=lambda: defaultdict(list))
    _tries: Counter[str] = field(default_factory=Counter)
    _coming: set[str] = field(default_factory=set)
    """Names of jobs that were on their way for a while."""
    _last_id: int = 0
    _denied: set[str] = field(default_factory=set)
    """Names whose jobs the last answer about them called over, whatever they were."""

    # The port

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        """Take a job, or not, and say so, or not."""
        self._tries[order.token] += 1
        if (self.jobs[order.token] or order.token in self._coming) and order.token not in self.misled:
            self.again.append(order.token)
        chance = self._chance("submit", order.token, self._tries[order.token])
        match self.weather.reply(self.timeline.now, chance):
            case "taken":
                return Submitted(at=at, attempt=order.attempt, scheduler_id=self.take(order, chance))
            case "refused":
                return SubmitRefused(at=at, attempt=order.attempt, reason="too many jobs", temporary=True)
            case "lost but taken":
                self.take(order, chance)
                if chance.random() < RETRIED:
                    self.take_late(order, chance, self.message_timeout_s)
            case "lost, and taken later":
                self.take_late(order, chance, self.message_timeout_s)
            case "lost":
                pass
        return SubmitLost(at=at, attempt=order.attempt, reason="the scheduler did not answer in time")

    def is_quiet(self, name: str) -> bool:  # noqa: ARG002 - our clients end with their answer, or without one
        """Say that no client is at work."""
        return True

    def find(self, questions: Sequence[Question]) -> Mapping[str, Sequence[Entry]] | None:
        """Answer, more or less."""
        names = [question.name for question in questions]
        kind, now = self.weather.answer(self.timeline.now), self.timeline.now
        if kind == "none":
            return None
        at = now - STALE_S * self._chance("stale", now).random() if kind == "stale" else now
        found = {name: self._entries(name, at) for name in names if kind != "partial" or self._is_told(name)}
        if kind == "empty":
            found = {name: [] for name in found}
        found = self._deny_one(found, kind)
        left_out = {name for name, entries in found.items() if len(entries) < len(self.jobs[name])}
        self.misled, self.lies = self.misled - found.keys() | left_out, self.lies + len(left_out)
        return {name: [*self._past(name), *entries] for name, entries in found.items()}

    def load(self) -> Mapping[str, int]:
        """Count nothing: nobody is held back here."""
        return {}

    def end(self, name: str, ids: Collection[str], *, politely: bool) -> bool:
        """End jobs; those that run get a signal, which some programs do not heed."""
        if self.weather.is_out(self.timeline.now):
            return False
        for job in self.jobs[name]:
            if job.id in ids and job.state == "queued" and not politely:
                self._over(job)
            elif job.id in ids and job.state == "running":
                self._signal(job, politely=politely)
        return True

    # What it says

    def _chance(self, *what: object) -> Random:
        return Random("/".join(map(str, (self.weather.seed, *what))))

    def _entries(self, name: str, at: float) -> list[Entry]:
        return [entry for job in self.jobs[name] if (entry := job.entry(at)) is not None]

    def _is_told(self, name: str) -> bool:
        return self._chance("told", name, self.timeline.now).random() < 0.5  # noqa: PLR2004 - half of them

    def _deny_one(self, found: dict[str, list[Entry]], kind: Answer) -> dict[str, list[Entry]]:
        """Call the jobs of some names over, each for one answer."""
        denied = {name for name in found if kind == "over" and name not in self._denied and self._is_told(name)}
        self._denied = self._denied - found.keys() | denied
        return {
            name: [replace(entry, live=False) for entry in entries] if name in denied else entries
            for name, entries in found.items()
        }

    def _past(self, name: str) -> list[Entry]:
        """Find the job of an earlier study of the same name and key, as a copied or a lost one leaves it."""
        chance = self._chance("past", name)
        if chance.random() < 0.8:  # noqa: PLR2004 - mostly there is none
            return []
        return [Entry(id=str(chance.randrange(IDS)), submitted_at=self.weather.began_at - DAY_S, live=False)]

    # What becomes of a job

    def take(self, order: Order, chance: Random) -> str:
        """Queue a job; return its id."""
        accounted_after_s = chance.uniform(0, SLOWEST_ACCOUNTING_S)
        job = Submission(self._new_id(chance), order, self.timeline.now, accounted_after_s)
        self.jobs[order.token].append(job)
        self.taken[order.token] += 1
        self._queue(job, chance.expovariate(1 / QUEUE_S))
        return job.id

    def take_late(self, order: Order, chance: Random, within_s: float) -> None:
        """Queue it some time later: a message is on its way."""
        self._coming.add(order.token)
        self.timeline.after(chance.uniform(0, within_s), lambda: self._arrive(order, chance))

    def _arrive(self, order: Order, chance: Random) -> None:
        self.take(order, chance)

    def _new_id(self, chance: Random) -> str:
        """Give out the next id that is free; other people's jobs take some too."""
        live = {int(job.id) for jobs in self.jobs.values() for job in jobs if job.state != "over"}
        self._last_id = (self._last_id + chance.randint(1, 9)) % IDS
        while self._last_id in live:
            self._last_id = (self._last_id + 1) % IDS
        return str(self._last_id)

    def _queue(self, job: Submission, delay_s: float) -> None:
        job.state, job.turn = "queued", job.turn + 1
        self._plan(job, delay_s, lambda: self._start(job))

    def _plan(self, job: Submission, delay_s: float, event: Callable[[], None]) -> None:
        """Plan what happens to a job, unless it is interrupted before."""
        turn = job.turn
        self.timeline.after(delay_s, lambda: event() if job.turn == turn else None)

    def _over(self, job: Submission) -> None:
        job.state, job.turn, job.ended_at = "over", job.turn + 1, self.timeline.now

    def _start(self, job: Submission) -> None:
        """Do as run.sh does: claim the attempt or leave, say who we are, and go on to the program."""
        order, job.state = job.order, "running"
        chance = self._chance("run", order.token, job.id, job.submitted_at, job.restarts)
        if not self._claim(job):
            self._plan(job, chance.uniform(1, 5), lambda: self._over(job))
            return
        self.runs.append(Run(order.token, job.id, order.job_dir, self.timeline.now))
        begun = {"v": 1, "token": order.token, "id": job.id, "host": f"node{chance.randint(1, 40)}"}
        self._write(job, "started.json", begun, chance)
        limit_s = float(order.resources.walltime_s or DAY_S)
        fate, after_s = self.weather.fate(self.timeline.now, limit_s, chance)
        self._plan(job, after_s, lambda: self._meet(job, fate, chance))
        self._go_on(job, program_of(self.spec_of(order), order, self.disk, chance), chance)

    def _claim(self, job: Submission) -> bool:
        claim = job.order.attempt_dir / f"run.{job.order.token}"
        if self.disk.create(claim, f"{job.id}\n"):
            return True
        again = job.restarts > 0 and claim.read_text(encoding="utf-8").strip() == job.id
        return again and not self.disk.exists(job.order.attempt_dir / "exit.json")

    def _go_on(self, job: Submission, program: Program, chance: Random) -> None:
        try:
            delay_s = next(program)
        except StopIteration:
            self._exit(job, 0, "", chance)
        else:
            self._plan(job, delay_s, lambda: self._go_on(job, program, chance))

    def _write(self, job: Submission, name: str, data: Mapping[str, object], chance: Random) -> None:
        path = job.order.attempt_dir / name
        self.disk.put(job.order.job_dir, path, f"{json.dumps(data)}\n".encode(), chance)

    def _exit(self, job: Submission, code: int, asked: str, chance: Random) -> None:
        """Write the exit file, as run.sh's trap does, and leave."""
        number = code - 128 if code > 128 else 0  # noqa: PLR2004 - what a shell adds to a signal
        said = {"v": 1, "token": job.order.token, "code": code, "signal": number, "asked": asked}
        self._write(job, "exit.json", said, chance)
        self._stop_running(job, code)

    def _stop_running(self, job: Submission, code: int | None) -> None:
        run = next(run for run in reversed(self.runs) if (run.token, run.id) == (job.order.token, job.id))
        run.ended_at, run.code = self.timeline.now, code
        self._over(job)

    def _meet(self, job: Submission, fate: Fate, chance: Random) -> None:
        """Let something befall a run; where it is no fault of its own, the scheduler may queue it again."""
        order, at = job.order, self.timeline.now
        match fate:
            case "crash":
                say("torch.distributed: Connection reset by peer", order, self.disk, chance)
                self._exit(job, 1, "", chance)
                return
            case "node failure":
                self._stop_running(job, None)
            case "time limit" | "preemption":
                cause = "TIME LIMIT" if fate == "time limit" else "PREEMPTION"
                line = f"slurmstepd: error: *** JOB {job.id} ON node1 CANCELLED AT {at:.0f} DUE TO {cause} ***"
                say(line, order, self.disk, chance)
                self._exit(job, 143, "TERM", chance)
        if fate != "time limit" and chance.random() < 0.5:  # noqa: PLR2004 - some ask for it, some do not
            job.restarts, job.ended_at = job.restarts + 1, None
            self._queue(job, REQUEUE_S + chance.expovariate(1 / QUEUE_S))

    def _signal(self, job: Submission, *, politely: bool) -> None:
        """End a program: by a signal that it may not heed, or for good, when it cannot say anything any more."""
        if not self.is_effective(job):
            return
        chance = self._chance("signal", job.order.token, job.id, self.timeline.now)
        heeds = chance.random() < 0.8  # noqa: PLR2004 - most do
        if heeds:
            job.turn += 1
            self._plan(job, chance.uniform(1, 10), lambda: self._exit(job, 143, "TERM", chance))
        elif not politely:
            self._stop_running(job, None)

    def is_effective(self, job: Submission) -> bool:
        """Say whether a job is one that runs, and has an effect."""
        return any((run.token, run.id, run.ended_at) == (job.order.token, job.id, None) for run in self.runs)
