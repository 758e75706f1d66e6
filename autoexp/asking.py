"""Whose conditions are asked, when, and what follows once they hold."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from autoexp import answers, clock, conditions
from autoexp.events import ConditionsDied, ConditionsMet, Event, Requested
from autoexp.inquiries import Inquiries
from autoexp.model import Condition, Job, Verb, Verdict
from autoexp.registry import Key, Ledger, Registry

ENDS = {"cancel": Verb.CANCEL, "finish": Verb.SUCCEED}
"""What a condition asks for once it holds, as a person would by a marker."""


def verdict(
    condition: Condition, ledger: Ledger, job: Job, iterations: Mapping[str, int], run: answers.Run = lambda _: None
) -> Verdict:
    """Say whether a condition of a job holds now, by the jobs' states, the iterations seen, files, and programs."""
    files = answers.answer(conditions.questions(condition), ledger.dir_of(job.id), run)
    return conditions.ask(condition, ledger.facts(job, iterations, files))


def following(job: Job, ledger: Ledger, ask: Callable[[str, Condition], Verdict], now: float) -> Event | None:
    """Say what follows from a job's conditions: it starts, it never will, or it ends; None if nothing does."""
    for name, condition in conditions.open_ones(job):
        said = ask(name, condition)
        if name in ENDS and said.holds:
            return Requested(at=now, verb=ENDS[name], reason=f"{name}: {said.reason}")
        if name == "start" and said.holds and ledger.budget.grant(job):
            return ConditionsMet(at=now, reason=said.reason)
        if name == "start" and said.dead:
            return ConditionsDied(at=now, reason=said.reason)
    return None


@dataclass(slots=True)
class Asker:
    """Asks the conditions of a root's jobs: of those touched by a move, and by and by of those that no move touches."""

    registry: Registry
    inquiries: Inquiries[Key] = field(default_factory=Inquiries)
    _due: dict[Key, None] = field(default_factory=dict)
    """Waiting jobs whose conditions may hold without anything happening any more: who waits longest first."""

    def soon(self, key: Key) -> None:
        """Ask about this job at the next wake."""
        self._due[key] = None

    def forget(self, key: Key) -> None:
        """Ask no more about a job that is gone."""
        self._due.pop(key, None)

    def again(self, now: float, *, everything: bool) -> Iterator[tuple[Key, Event]]:
        """Ask the conditions that may hold although nothing tells us so."""
        due, self._due = {**self._due, **dict.fromkeys(self.inquiries.ended())}, {}
        for key, job in list(self.registry.all_jobs()) if everything else ():
            ledger = self.registry.ledgers[key.study]
            asked = [conditions.changes_by_itself(condition) for _, condition in conditions.open_ones(job)]
            if asked and (ledger.budget.limit or any(asked)):
                due[key] = None
        for key in due:
            yield from self._ask(key, now)

    def touched(self, changed: Iterable[Key]) -> Iterator[tuple[Key, Event]]:
        """Ask the jobs that moved, and those whose conditions look at them."""
        asked: set[Key] = set()
        for key in changed:
            ledger = self.registry.ledgers[key.study]
            for name in (key.job, *ledger.touched_by(ledger.jobs[key.job])):
                who = Key(key.study, name)
                if who not in asked:
                    asked.add(who)
                    yield from self._ask(who, clock.now())

    def _ask(self, key: Key, now: float) -> Iterator[tuple[Key, Event]]:
        """Ask a job's conditions: does it start, or end?"""
        ledger = self.registry.ledgers[key.study]
        if (job := ledger.jobs.get(key.job)) is None:
            return
        run = partial(self.inquiries.answer, key, folder=ledger.dir_of(key.job))
        event = following(job, ledger, lambda _, condition: verdict(condition, ledger, job, {}, run), now)
        if event is not None:
            yield key, event
