"""The engine: wake, look, step, journal, execute. One loop, one writer.

Whatever happens comes in as events. `_settle` steps the jobs, makes their transitions durable, and only then lets
actions be carried out; what comes of those are events again, until nothing is left to do.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from autoexp import clock, conditions, probe, studies
from autoexp.actions import Action
from autoexp.errors import AutoexpError
from autoexp.events import BackoffElapsed, ConditionsDied, ConditionsMet, Event, Planned, Retired
from autoexp.executor import Executors, carry_out, order_of
from autoexp.executors import Order
from autoexp.journal import Journal
from autoexp.lease import Lease
from autoexp.lifecycle import owed, step
from autoexp.mailroom import Mailroom
from autoexp.model import ACTIVE, OVER, Job, JobSpec, State, Transition
from autoexp.progress import Progress
from autoexp.registry import Key, Ledger, Registry, stamp_of
from autoexp.snapshot import Snapshot, changes
from autoexp.watch import EVERYTHING, Hint, Observer

ROOT: Hint = "root"
Listener = Callable[[list[Transition]], None]
"""Told of every batch of moves, and of no moves after every wake."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An event on its way to a job."""

    key: Key
    event: Event
    spec: JobSpec | None = None
    """The job itself, if the event is its birth."""


@dataclass(slots=True)
class Engine:
    """A root being watched; made by `watching.open_engine`."""

    registry: Registry
    journal: Journal
    lease: Lease
    observer: Observer
    progress: Progress
    mailroom: Mailroom
    sweep_s: float
    listener: Listener = lambda _: None
    executors: Executors = field(default_factory=Executors)
    _snapshots: dict[Key, Snapshot] = field(default_factory=dict)
    _unfinished: set[Key] = field(default_factory=set)
    _orders: dict[Key, Order] = field(default_factory=dict)
    """The open attempts."""
    _alarms: list[tuple[float, Key]] = field(default_factory=list)
    _unmet: list[tuple[Key, Action]] = field(default_factory=list)
    """Actions that could not be carried out, to be tried again."""
    _met: set[str] = field(default_factory=set)
    """Studies whose plan was compared with their jobs."""
    _next_sweep: float = 0.0

    def recover(self) -> None:
        """Take over where the journal ends: adopt what runs, and do again what each state still asks for."""
        for key, job in list(self.registry.all_jobs()):
            self._note_state(key, job)
            ledger = self.registry.ledgers[key.study]
            if job.state in ACTIVE and job.state is not State.SUBMITTING:
                self.executors.of(ledger).adopt(order_of(job, ledger), began=job.state is not State.QUEUED)
        debts = [
            (key, action)
            for key, job in list(self.registry.all_jobs())
            for action in owed(job, self.registry.ledgers[key.study].jobs)
        ]
        self._settle(self._carry_out(debts))

    def run(self, done: Callable[["Engine"], bool]) -> None:
        """Watch until `done`."""
        self.wake({EVERYTHING})
        while not done(self):
            self.wake(self.observer.wait(self._patience_s()))

    def unfinished(self, study: str | None = None) -> bool:
        """Say whether a job, of one study or of any, is neither over nor held."""
        return any(study in (None, key.study) for key in self._unfinished)

    def wake(self, hints: Iterable[Hint]) -> None:
        """Look at what the hints and the clock ask for, and do what follows from it."""
        now = clock.now()
        self.lease.beat(now)
        hints = set(hints)
        if now >= self._next_sweep:
            hints.add(EVERYTHING)
        if EVERYTHING in hints:
            self._next_sweep = now + self.sweep_s
        self._settle([*self._alarms_due(now, hints), *self._look(hints, now)])
        self.mailroom.answer(now)
        while facts := self._tend():
            self._settle(facts)
        for name, problem in self.mailroom.problems.items():
            self.progress.problem(name, problem)
        self.progress.write(now)
        self.listener([])

    def close(self) -> None:
        """Stop watching; jobs go on by themselves."""
        self.progress.write(float("inf"))
        self.observer.close()
        self.journal.close()
        self.lease.release()

    def _patience_s(self) -> float:
        now = clock.now()
        due = [self._next_sweep - now]
        if self._alarms:
            due.append(self._alarms[0][0] - now)
        due += [d for executor in self.executors.opened.values() if (d := executor.due_in_s()) is not None]
        if (writing := self.progress.due_in_s(now)) is not None:
            due.append(writing)
        return max(min(due), 0.0)

    # Looking

    def _look(self, hints: set[Hint], now: float) -> Iterator[Fact]:
        everything = EVERYTHING in hints
        if everything or ROOT in hints or any(isinstance(hint, Key) and not hint.job for hint in hints):
            yield from self._look_at_studies(now)
        if everything:
            names: Iterable[Hint] = [*(Key(name, "") for name in self.registry.ledgers), *self._keys()]
            yield from self._again(now)
        else:
            names = hints
        for key in names:
            if isinstance(key, Key) and key.study in self.registry.ledgers:
                yield from self._look_at(key, now)

    def _keys(self) -> list[Key]:
        return [key for key, _ in self.registry.all_jobs()]

    def _again(self, now: float) -> Iterator[Fact]:
        """Try once more what could not be done, and ask again what only looking can answer."""
        unmet, self._unmet = self._unmet, []
        yield from self._carry_out(unmet)
        for key, job in list(self.registry.all_jobs()):
            if job.state is State.WAITING and any(conditions.questions(job.spec.start)):
                yield from self._ask(key, now)

    def _look_at_studies(self, now: float) -> Iterator[Fact]:
        """Find studies that were planned, or planned anew."""
        self.observer.add(self.registry.root, ROOT)
        for folder in studies.all_in(self.registry.root):
            known = self.registry.ledgers.get(folder.name)
            try:
                if known is None or known.stamp != stamp_of(folder):
                    known = self.registry.load(folder)
                elif folder.name in self._met:
                    continue
                self.executors.of(known)
            except AutoexpError as error:
                self.progress.problem(folder.name, str(error))
                continue
            self._met.add(folder.name)
            self.progress.problem(folder.name, None)
            yield from self._births(known, now)

    def _births(self, ledger: Ledger, now: float) -> Iterator[Fact]:
        """Compare a plan with the jobs that are known: who is new, who is no longer planned."""
        name = ledger.study.name
        self.observer.add(ledger.study.dir, Key(name, ""))
        self.observer.add(ledger.study.dir / "markers", Key(name, ""))
        planned = {spec.id: spec for spec in ledger.study.plan.jobs}
        for spec in planned.values():
            known = ledger.jobs.get(spec.id)
            if known is None or known.retired:
                yield Fact(Key(name, spec.id), Planned(at=now), spec)
        for job in list(ledger.jobs.values()):
            self._watch_markers(Key(name, job.id))
            if job.spec.template is None and job.id not in planned and not job.retired:
                yield Fact(Key(name, job.id), Retired(at=now))

    def _look_at(self, key: Key, now: float) -> Iterator[Fact]:
        """Look at one job, or (without a job's name) at a study's own markers."""
        ledger = self.registry.ledgers[key.study]
        name = "/".join(filter(None, key))
        try:
            for event in self.mailroom.collect(ledger, key, now):
                yield Fact(*event)
            if key.job in ledger.jobs:
                yield from self._look_at_attempt(key, ledger, now)
        except OSError as error:
            self.progress.problem(name, f"{error.filename}: {error.strerror}")
        else:
            self.progress.problem(name, None)

    def _look_at_attempt(self, key: Key, ledger: Ledger, now: float) -> Iterator[Fact]:
        job, folder = ledger.jobs[key.job], ledger.dir_of(key.job)
        if job.state not in ACTIVE or job.state is State.SUBMITTING:
            return
        self._watch_attempt(key, job)
        old = self._snapshots.get(key)
        if old is not None and old.attempt != job.attempt:
            old = None
        alive = self.executors.of(ledger).alive(order_of(job, ledger))
        new = self._snapshots[key] = probe.look(job, folder, old, now, alive=alive)
        self.progress.saw("/".join(key), new)
        visibility_s = ledger.study.machine.visibility_s
        self._set_alarm(key, new, job.spec, visibility_s)
        for event in changes(old, new, job.spec, visibility_s):
            yield Fact(key, event)

    def _set_alarm(self, key: Key, seen: Snapshot, spec: JobSpec, visibility_s: float) -> None:
        """Come back when time alone would change what a look means."""
        due = [since + probe.SETTLING_S for since in seen.unsettled.values()]
        if seen.gone_since is not None:
            due.append(seen.gone_since + visibility_s)
        if spec.no_progress_s is not None and seen.at - seen.progress_at <= spec.no_progress_s:
            due.append(seen.progress_at + spec.no_progress_s)
        for when in due:
            heapq.heappush(self._alarms, (when + 0.001, key))

    def _alarms_due(self, now: float, hints: set[Hint]) -> Iterator[Fact]:
        while self._alarms and self._alarms[0][0] <= now:
            _, key = heapq.heappop(self._alarms)
            job = self.registry.ledgers[key.study].jobs.get(key.job) if key.study in self.registry.ledgers else None
            if job is not None and job.state is State.BACKOFF and (job.wake_at or 0.0) <= now:
                yield Fact(key, BackoffElapsed(at=now))
            elif job is not None:
                hints.add(key)

    # Stepping and acting

    def _settle(self, facts: Iterable[Fact]) -> None:
        """Step until nothing is left: decide, journal, answer, act, and hear what came of it."""
        queue = list(facts)
        while queue:
            moves: list[Transition] = []
            actions: list[tuple[Key, Action]] = []
            changed: dict[Key, None] = {}
            for fact in queue:
                ledger = self.registry.ledgers[fact.key.study]
                decision = step(self._job_for(fact, ledger), fact.event)
                self.mailroom.decided(fact.key, fact.event, decision)
                if decision.transition is not None:
                    ledger.put(decision.job)
                    moves.append(decision.transition)
                    actions += [(fact.key, action) for action in decision.actions]
                    changed[fact.key] = None
            self.journal.append(moves)
            self.mailroom.answer(clock.now())
            for key in changed:
                self._note_state(key, self.registry.job(key))
            self.listener(moves)
            queue = [*self._carry_out(actions), *self._ask_touched(changed)]

    @staticmethod
    def _job_for(fact: Fact, ledger: Ledger) -> Job:
        job = ledger.jobs.get(fact.key.job)
        if job is not None:
            return job
        if fact.spec is None:
            raise KeyError(f"nobody knows the job {fact.key}")
        return Job(spec=ledger.with_children(fact.spec))

    def _note_state(self, key: Key, job: Job) -> None:
        """Keep what depends on a job's state: who is unfinished, what is watched, which alarm is set."""
        finished = job.state in OVER or job.state is State.HELD
        (self._unfinished.discard if finished else self._unfinished.add)(key)
        self._watch_markers(key)
        if job.state is State.BACKOFF and job.wake_at is not None:
            heapq.heappush(self._alarms, (job.wake_at, key))
        before = self._orders.pop(key, None)
        if job.state in ACTIVE:
            self._orders[key] = order_of(job, self.registry.ledgers[key.study])
            self._watch_attempt(key, job)
        if before is not None and (job.state not in ACTIVE or before.token != job.token):
            self._leave_attempt(key, before)

    def _leave_attempt(self, key: Key, order: Order) -> None:
        """The attempt is over: free what it occupied and stop watching its files."""
        self.executors.of(self.registry.ledgers[key.study]).forget(order)
        self._snapshots.pop(key, None)
        self.observer.remove(order.attempt_dir)
        if key not in self._orders:
            self.observer.remove(order.job_dir)
            self.observer.remove(order.job_dir / "checkpoints")
        self.progress.over("/".join(key))

    def _watch_markers(self, key: Key) -> None:
        self.observer.add(self.registry.ledgers[key.study].dir_of(key.job) / "markers", key)

    def _watch_attempt(self, key: Key, job: Job) -> None:
        folder = self.registry.ledgers[key.study].dir_of(key.job)
        self.observer.add(probe.attempt_dir(folder, job.attempt), key)
        if job.spec.output == "checkpoints":
            self.observer.add(folder, key)
            self.observer.add(folder / "checkpoints", key)

    def _carry_out(self, actions: Iterable[tuple[Key, Action]]) -> Iterator[Fact]:
        for key, action in actions:
            ledger = self.registry.ledgers[key.study]
            name = f"{key.study}: {action}"
            try:
                for outcome in carry_out(action, ledger, self.executors.of(ledger), clock.now()):
                    yield Fact(Key(key.study, outcome.job), outcome.event, outcome.spec)
            except (AutoexpError, OSError) as error:
                self._unmet.append((key, action))
                self.progress.problem(name, str(error))
            else:
                self.progress.problem(name, None)

    def _tend(self) -> list[Fact]:
        """Let executors do what is due, and hear of what they could not."""
        outcomes = [outcome for executor in self.executors.opened.values() for outcome in executor.tend()]
        keys = {order.token: key for key, order in self._orders.items()} if outcomes else {}
        return [Fact(keys[token], event) for token, event in outcomes if token in keys]

    def _ask_touched(self, changed: Iterable[Key]) -> Iterator[Fact]:
        asked: set[Key] = set()
        for key in changed:
            ledger = self.registry.ledgers[key.study]
            for name in (key.job, *ledger.touched_by(ledger.jobs[key.job])):
                who = Key(key.study, name)
                if who not in asked:
                    asked.add(who)
                    yield from self._ask(who, clock.now())

    def _ask(self, key: Key, now: float) -> Iterator[Fact]:
        """Ask a waiting job's start conditions."""
        ledger = self.registry.ledgers[key.study]
        job = ledger.jobs.get(key.job)
        if job is None or job.state is not State.WAITING:
            return
        files = probe.answer(conditions.questions(job.spec.start), ledger.dir_of(key.job))
        verdict = conditions.ask(job.spec.start, ledger.facts(job, {}, files))
        if verdict.holds:
            yield Fact(key, ConditionsMet(at=now, reason=verdict.reason))
        elif verdict.dead:
            yield Fact(key, ConditionsDied(at=now, reason=verdict.reason))
