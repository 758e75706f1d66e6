"""The engine: wake, look, step, journal, execute. One loop, one writer.

Whatever happens comes in as events. `_settle` steps the jobs, makes their transitions durable, and only then lets
actions be carried out; what comes of those are events again, until nothing is left to do.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path

from autoexp import clock, probe, rulebook, studies, study_files
from autoexp.actions import Action, AnswerEvent, AppearJob, SubmitJob
from autoexp.alarms import Alarms
from autoexp.asking import Asker
from autoexp.debts import Debts
from autoexp.errors import AlreadyWatched, AutoexpError
from autoexp.events import BackoffElapsed, Planned, Retired
from autoexp.executor import Executors, carry_out, order_of
from autoexp.facts import Fact, as_dropped
from autoexp.journal import Journal
from autoexp.lease import Lease
from autoexp.lifecycle import owed, step
from autoexp.mailroom import Mailroom
from autoexp.model import ACTIVE, OVER, Job, State, Transition
from autoexp.orders import Order
from autoexp.progress import Progress
from autoexp.readback import lost_wishes
from autoexp.registry import Key, Ledger, Registry, stamp_of
from autoexp.remains import lost_attempts
from autoexp.snapshot import Snapshot, awaits_word, changes, is_in_doubt
from autoexp.upkeep import Upkeep
from autoexp.watch import EVERYTHING, Hint, Observer

ROOT: Hint = "root"
TRYING = (State.BACKOFF, State.SUBMITTING)
"""States in which a job may have a time to try again."""
PATIENT = (SubmitJob, AppearJob, AnswerEvent)
"""What may wait a little when a restart finds thousands of them."""
Listener = Callable[[list[Transition]], None]
"""Told of every batch of moves, and of no moves after every wake."""


@dataclass(slots=True)
class Engine:
    """A root being watched; made by `watching.watching`."""

    registry: Registry
    journal: Journal
    upkeep: Upkeep
    lease: Lease
    observer: Observer
    progress: Progress
    mailroom: Mailroom
    asker: Asker
    sweep_s: float
    listener: Listener = lambda _: None
    executors: Executors = field(default_factory=Executors)
    _snapshots: dict[Key, Snapshot] = field(default_factory=dict)
    _unfinished: set[Key] = field(default_factory=set)
    _orders: dict[Key, Order] = field(default_factory=dict)
    """The open attempts."""
    _alarms: Alarms[Key] = field(default_factory=Alarms)
    _debts: Debts = field(default_factory=Debts)
    _met: set[str] = field(default_factory=set)
    """Studies whose plan was compared with their jobs."""
    _next_sweep: float = 0.0

    def recover(self) -> None:
        """Take over where the journal ends."""
        self._settle(list(self._look_at_studies(clock.now())))

    def run(self, done: Callable[["Engine"], bool]) -> None:
        """Watch until `done`."""
        self.wake({EVERYTHING})
        while not done(self):
            self.wake(self.observer.wait(self._patience_s()))

    def unfinished(self, study: str | None = None) -> bool:
        """Say whether a job, of one study or of any, is neither over nor held, or something of it may soon be done."""
        return any(study in (None, key.study) for key in chain(self._unfinished, self._debts.hopeful()))

    def settling(self) -> bool:
        """Say whether something is under way that soon comes to something: a client at work, a file not seen yet."""
        late = any(seen.gone_since or seen.exit_since for seen in self._snapshots.values())
        at_work = any(executor.settling() for executor in self.executors.opened.values())
        return late or at_work or bool(self._debts.owing)

    def wake(self, hints: Iterable[Hint]) -> None:
        """Look at what the hints and the clock ask for, and do what follows from it."""
        now = clock.now()
        self.lease.beat(now)
        hints = set(hints)
        if now >= self._next_sweep:
            hints.add(EVERYTHING)
        if EVERYTHING in hints:
            self._next_sweep = now + self.sweep_s
        alarms = list(self._alarms_due(now, hints))
        owed = [action for key in self._debts.due() for action in self._owed(key)]
        self._settle([*self._carry_out(owed), *self._look(hints, now), *alarms])
        self._answer_markers()
        while facts := self._tend():
            self._settle(facts)
        for name, problem in self.mailroom.problems.items():
            self.progress.problem(name, problem)
        self.progress.watched_by(self.observer.name)
        for name, executor in self.executors.opened.items():
            self.progress.problem(f"machine {name}", executor.trouble())
        self.progress.problem("journal", self.upkeep.tend(now))
        self.progress.write(now)
        self.listener([])

    def close(self) -> None:
        """Stop watching; jobs go on by themselves."""
        with ExitStack() as closing:
            closes = (self.lease.release, self.journal.close, self.observer.close, self.asker.inquiries.close)
            for close in closes:  # the last one first
                closing.callback(close)
            if self.lease.is_ours():
                self.progress.problem("journal", self.upkeep.close(clock.now()))
                self.progress.write(clock.now(), at_once=True)

    def _patience_s(self) -> float:
        if self._debts.owing:
            return 0.0
        now = clock.now()
        due = [self._next_sweep - now, self.lease.due_in_s(now), self.upkeep.due_in_s(now)]
        if (ringing := self._alarms.next_at()) is not None:
            due.append(ringing - now)
        waits = [executor.due_in_s() for executor in self.executors.opened.values()]
        waits += [self.progress.due_in_s(now), self.asker.inquiries.due_in_s()]
        return max(min((*due, *(wait for wait in waits if wait is not None))), 0.0)

    # Looking

    def _look(self, hints: set[Hint], now: float) -> Iterator[Fact]:
        everything = EVERYTHING in hints
        if everything or ROOT in hints or any(isinstance(hint, Key) and not hint.job for hint in hints):
            yield from self._look_at_studies(now)
        names: Iterable[Hint] = sorted(hints, key=str)  # the same hints come to the same journal
        if everything:
            jobs = (key for key, _ in self.registry.all_jobs())
            names = [*(Key(name, "") for name in self.registry.ledgers), *jobs]
        for key in names:
            if isinstance(key, Key) and key.study in self._met:
                self.lease.beat(clock.now())  # there may be thousands of them, each with megabytes of log
                yield from self._look_at(key, now)
        if everything:
            for action in self._debts.try_again():
                self.progress.problem(action, None)
        yield from (Fact(*event) for event in self.asker.again(now, everything=everything))

    def _owed(self, key: Key) -> list[tuple[Key, Action]]:
        """List what a job's state still asks for."""
        jobs = self.registry.ledgers[key.study].jobs
        return [(key, action) for action in owed(jobs[key.job], jobs)] if key.job in jobs else []

    def _look_at_studies(self, now: float) -> Iterator[Fact]:
        """Find studies that were planned, or planned anew, or are gone."""
        self.observer.add(self.registry.root, ROOT)
        try:
            folders = studies.folders_in(self.registry.root)
        except OSError as error:
            self.progress.problem("root", f"it cannot be read: {error}")
            return
        self.progress.problem("root", None)
        for folder in folders:
            self.observer.add(folder, Key(folder.name, ""))
            try:
                yield from self._look_at_study(folder, now)
            except AlreadyWatched:
                raise
            except (AutoexpError, OSError) as error:
                self.progress.problem(folder.name, str(error))
            else:
                self.progress.problem(folder.name, None)
        for name, what in self.registry.missing():
            self.progress.problem(name, what)
        for name in self.registry.ledgers.keys() - {folder.name for folder in folders}:
            self._met.discard(name)
            self.progress.problem(name, "its folder is gone; nothing of it can be done until it is back")

    def _look_at_study(self, folder: Path, now: float) -> Iterator[Fact]:
        known = self.registry.ledgers.get(folder.name)
        if known is None or known.stamp != stamp_of(folder):
            if not studies.exists(folder):
                if known is None:
                    return
                why, fix = "plan.json is gone", "put it back, or plan the study again"
                raise AutoexpError(f"{folder} is no study any more", why=why, fix=fix)
            study_files.relocate(folder)
            old, known = known, self.registry.load(folder)
            self._met.discard(folder.name)
            if old is not None and old.study.key != known.study.key:
                self._drop(old)
        if folder.name not in self._met:
            self.executors.of(known)
            self._met.add(folder.name)
            yield from self._take_over(known)
            yield from self._births(known, now)

    def _drop(self, old: Ledger) -> None:
        """Forget a study that was deleted, and stands there anew under the same name."""
        running = [job.id for job in old.jobs.values() if job.state in ACTIVE]
        if running:
            what = f"it was planned anew, and these jobs of the earlier study were ended: {', '.join(sorted(running))}"
            self.progress.problem(f"{old.study.name} (before)", what)
        for job in old.jobs.values():
            key = Key(old.study.name, job.id)
            self._unfinished.discard(key)
            self.asker.forget(key)
            if (order := self._orders.pop(key, None)) is not None:
                self._leave_attempt(key, order)

    def _take_over(self, ledger: Ledger) -> Iterator[Fact]:
        """Adopt what runs, and do again what each state still asks for: nobody knows how far it was done.

        What takes back or ends is done before anything can begin; the rest soon.
        """
        keys = []
        for job in sorted(ledger.jobs.values(), key=lambda job: job.since):
            keys.append(key := Key(ledger.study.name, job.id))
            self._orders.pop(key, None)  # planned anew, it may have another executor
            self._note_state(key, job)
            if job.state is State.WAITING:
                self.asker.soon(key)
        lost = {fact.key: fact for fact in lost_attempts(ledger, keys, clock.now())}
        yield from lost.values()
        yield from self._lost_wishes([key for key in keys if key in self._unfinished or key in lost])
        yield from self._gathered(keys)
        asked = [action for key in keys for action in self._owed(key)]
        self._debts.owing.update((key, None) for key, action in asked if isinstance(action, PATIENT))
        yield from self._carry_out((key, action) for key, action in asked if not isinstance(action, PATIENT))

    def _gathered(self, keys: Iterable[Key]) -> Iterator[Fact]:
        """Say which checkpoints of these jobs belong together and have no job yet."""
        for key in keys:
            ledger = self.registry.ledgers[key.study]
            yield from (Fact(key, event) for event in ledger.gathered(ledger.jobs[key.job], clock.now()))

    def _with_attempts(self, facts: Iterable[Fact]) -> Iterator[Fact]:
        """Let what a newborn job has on disk come right after its birth, before whatever is asked of it."""
        now = clock.now()
        for fact in facts:
            yield fact
            if fact.spec is not None:
                yield from lost_attempts(self.registry.ledgers[fact.key.study], [fact.key], now)

    def _lost_wishes(self, keys: list[Key]) -> Iterator[Fact]:
        """Hold what somebody halted, and the journal does not know of: var was lost, or its tail."""
        for study, group in groupby(sorted(keys), key=lambda key: key.study):
            jobs, ledger = [key.job for key in group], self.registry.ledgers[study]
            wishes = lost_wishes(ledger, jobs, self.mailroom.obeyed, clock.now(), self.progress.problem)
            yield from (Fact(*asked) for asked in wishes)

    def _births(self, ledger: Ledger, now: float) -> Iterator[Fact]:
        """Compare a plan with the jobs that are known: who is new, who is no longer planned.

        The markers of new jobs are read at once: a `hold` that was dropped first comes before the first submission.
        """
        name, plan = ledger.study.name, ledger.study.plan
        self.observer.add(ledger.study.dir / "markers", Key(name, ""))
        planned = {spec.id for spec in plan.jobs}
        templates = {template.id for template in plan.templates}
        new = {spec.id: spec for spec in plan.jobs if spec.id not in ledger.jobs}
        for spec in new.values():
            yield Fact(Key(name, spec.id), Planned(at=now), spec)
        for job in list(ledger.jobs.values()):
            wanted = job.id in planned if job.spec.template is None else job.spec.template in templates
            if wanted is job.retired:
                yield Fact(Key(name, job.id), Planned(at=now) if wanted else Retired(at=now))
        for key in (Key(name, ""), *(Key(name, job) for job in new)) if new else ():
            try:
                yield from (Fact(*event) for event in self.mailroom.collect(ledger, key, now, new))
            except OSError as error:  # of one job: the others' markers come first all the same
                self.progress.problem(
                    f"{key.study}/{key.job or 'markers'}", f"{error.filename}: {error.strerror}; see to it"
                )

    def _look_at(self, key: Key, now: float) -> Iterator[Fact]:
        """Look at one job, or (without a job's name) at a study's own markers; one trouble hides nothing else."""
        ledger, troubles = self.registry.ledgers[key.study], list[str]()
        for look in (self._read_markers, self._look_at_attempt):
            try:
                yield from look(key, ledger, now)
            except OSError as error:
                troubles.append(f"{error.filename}: {error.strerror}; see to it")
        if (seen := self._snapshots.get(key)) is not None:
            folder = self._orders[key].attempt_dir
            troubles += [f"{folder / name}: {what}; it counts for nothing" for name, what in seen.odd.items()]
        if (job := ledger.jobs.get(key.job)) is not None:
            troubles += rulebook.problems(job.spec.events)
            troubles += self._unseen(key, ledger)
        self.progress.problem(_named(key), ", ".join(troubles) or None)

    def _unseen(self, key: Key, ledger: Ledger) -> Iterator[str]:
        order, seen = self._orders.get(key), self._snapshots.get(key)
        if order is None or seen is None or seen.alive is not None or seen.exit is not None:
            return
        if (why := self.executors.of(ledger).unseen(order)) is not None:
            yield why

    def _read_markers(self, key: Key, ledger: Ledger, now: float) -> Iterator[Fact]:
        yield from (Fact(*event) for event in self.mailroom.collect(ledger, key, now))

    def _look_at_attempt(self, key: Key, ledger: Ledger, now: float) -> Iterator[Fact]:
        job, folder = ledger.jobs.get(key.job), ledger.dir_of(key.job)
        if job is None or job.state not in ACTIVE or job.state is State.SUBMITTING:
            return
        self._watch_attempt(key, job)
        old = self._snapshots.get(key)
        if old is not None and old.attempt != job.attempt:
            old = None
        executor, order = self.executors.of(ledger), self._orders[key]
        alive, said = executor.alive(order), executor.said(order)
        new = self._snapshots[key] = probe.look(job, folder, old, now, alive=alive, said=said)
        if awaits_word(new, job.spec) or is_in_doubt(new, job.spec):
            executor.await_word(order)
        self.progress.saw("/".join(key), new)
        visibility_s = ledger.study.machine.visibility_s
        for when in probe.due_again(new, job.spec, visibility_s):
            self._alarms.set(key, when + 0.001)
        for event in changes(old, new, job.spec, visibility_s):
            yield Fact(key, event)

    def _alarms_due(self, now: float, hints: set[Hint]) -> Iterator[Fact]:
        for key in self._alarms.due(now):
            job = self.registry.ledgers[key.study].jobs.get(key.job) if key.study in self.registry.ledgers else None
            if job is None:
                continue
            if job.state not in TRYING or job.wake_at is None:
                hints.add(key)
            elif job.since <= now < job.wake_at:  # a clock set back prolongs nothing
                self._alarms.set(key, job.wake_at)
            elif job.state is State.BACKOFF and self.registry.ledgers[key.study].budget.grant(job):
                yield Fact(key, BackoffElapsed(at=now))
            elif job.state is State.BACKOFF:
                self._alarms.set(key, now + self.sweep_s)
            else:  # nobody knows what became of its submission: submit it again
                yield from self._carry_out(self._owed(key))

    # Stepping and acting

    def _settle(self, facts: Iterable[Fact]) -> None:
        """Step until nothing is left: decide, journal, answer, act, and hear what came of it."""
        queue = as_dropped(list(facts))
        while queue:
            moves: list[Transition] = []
            actions: list[tuple[Key, Action]] = []
            changed: dict[Key, None] = {}
            for fact in self._with_attempts(queue):
                ledger = self.registry.ledgers[fact.key.study]
                decision = step(ledger.job_for(fact.key.job, fact.spec), fact.event)
                self.mailroom.decided(fact.key, fact.event, decision)
                if decision.transition is not None:
                    ledger.put(decision.job)
                    moves.append(decision.transition)
                    actions += [(fact.key, action) for action in decision.actions]
                    changed[fact.key] = None
            self.journal.append(moves)
            self._answer_markers()
            for key in changed:
                self._note_state(key, self.registry.job(key))
            self.listener(moves)
            born = [Key(move.study, move.job) for move in moves if move.source is None]
            acted = [*self._lost_wishes(born), *self._carry_out(actions)]
            asked = (Fact(*event) for event in self.asker.touched(changed))
            queue = [*acted, *self._gathered(changed), *asked]

    def _answer_markers(self) -> None:
        self.lease.beat(clock.now())  # what a successor does not count must not answer a marker
        for _ in self.mailroom.answer(clock.now()):
            self.lease.beat(clock.now())  # there may be thousands of them

    def _note_state(self, key: Key, job: Job) -> None:
        """Keep what depends on a job's state: who is unfinished, what is watched, which alarm is set."""
        finished = job.state in OVER or job.state is State.HELD
        (self._unfinished.discard if finished else self._unfinished.add)(key)
        self.observer.add(f"{self.registry.ledgers[key.study].dir_of(key.job)}/markers", key)
        if job.state in TRYING and job.wake_at is not None:
            self._alarms.set(key, min(job.wake_at, clock.now() + job.wake_at - job.since))
        before = self._orders.pop(key, None)
        is_other = before is None or before.token != job.token
        if job.state in ACTIVE:
            self._orders[key] = order_of(job, self.registry.ledgers[key.study])
            self._watch_attempt(key, job)
            if is_other or job.state is State.QUEUED:
                self._alarms.set(key, clock.now())  # it may have begun before we were told that it was submitted
        if job.state in ACTIVE and job.state is not State.SUBMITTING and is_other:
            self.executors.of(self.registry.ledgers[key.study]).adopt(
                self._orders[key], began=job.state is not State.QUEUED
            )
        if before is not None and (job.state not in ACTIVE or is_other):
            self._leave_attempt(key, before)

    def _leave_attempt(self, key: Key, order: Order) -> None:
        """The attempt is over: free what it occupied and stop watching its files."""
        self.executors.of(self.registry.ledgers[key.study]).forget(order)
        self._snapshots.pop(key, None)
        self.observer.remove(order.attempt_dir)
        if key not in self._orders:
            self.observer.remove(order.job_dir)
            self.observer.remove(f"{order.job_dir}/checkpoints")
        self.progress.over("/".join(key))

    def _watch_attempt(self, key: Key, job: Job) -> None:
        order = self._orders[key]
        self.observer.add(order.attempt_dir, key)
        if job.spec.output == "checkpoints":
            self.observer.add(order.job_dir, key)
            self.observer.add(f"{order.job_dir}/checkpoints", key)

    def _carry_out(self, actions: Iterable[tuple[Key, Action]]) -> Iterator[Fact]:
        for key, action in actions:
            ledger = self.registry.ledgers[key.study]
            self.lease.beat(clock.now())  # there may be thousands of them
            takes_time = isinstance(action, AnswerEvent) or (
                isinstance(action, SubmitJob) and ledger.jobs[key.job].spec.prepare
            )
            try:
                with self.lease.beating() if takes_time else nullcontext():
                    outcomes = list(carry_out(action, ledger, self.executors.of(ledger), clock.now()))
                yield from (Fact(Key(key.study, outcome.job), outcome.event, outcome.spec) for outcome in outcomes)
            except (AutoexpError, OSError) as error:
                name = f"{key.study}: {action}"
                self._debts.failed(name, key, error)
                self.progress.problem(name, str(error))

    def _tend(self) -> list[Fact]:
        """Let executors do what is due, and hear of what they could not, and of what is worth a look."""
        opened = self.executors.opened.values()
        outcomes = [outcome for executor in opened for outcome in executor.tend(self.lease.check)]
        keys = {order.token: key for key, order in self._orders.items()} if outcomes else {}
        now, facts = clock.now(), list[Fact]()
        for token, event in outcomes:
            if token in keys:
                facts += self._look_at(keys[token], now) if event is None else [Fact(keys[token], event)]
        return facts


def _named(key: Key) -> str:
    """Say whom a problem is about: a job, or a study's own markers."""
    return f"{key.study}/{key.job or 'markers'}"
