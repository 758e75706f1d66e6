"""Batch schedulers: submitting once, asking rarely and believing little, the same for every one of them.

A scheduler is reached through a small port, `Scheduler`; an attempt's token is the name of its job there. What
`Scheduled` makes of it is an executor, and keeps these rules:

Rule 1: submission.json is on disk before a client of the scheduler is started. Whoever finds one whose answer nobody
heard asks for the name: a job that an answer named was taken. That there is none is believed only once no client of
ours has been at work for as long as the scheduler may take over a message; then it is given the same attempt again.
Rule 2: no answer, and an answer that leaves a name out, is unknown, and so is a name the scheduler does not know any
more. That an attempt is over is believed when two answers in a row say so.
Rule 3: the claim says which of several jobs of one name is the attempt. The others are ended once there is a claim,
never before: the one we would end may be the one that just began.
Rule 4: ids are used again by schedulers; only what a recent answer has under our own name is ever ended.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autoexp import clock, probe
from autoexp.events import Event, SubmitLost, SubmitRefused, Submitted
from autoexp.executors import Order, take_back
from autoexp.files import read_json, write_json
from autoexp.journal import stamp, unstamp

SHORTEST_S = 15.0
"""How often the scheduler is asked while its answer is needed soon."""
LONGEST_S = 900.0
"""How often it is asked while nothing happens, or while it does not answer."""
SLOWER = 1.5
CLOCK_SLACK_S = 600.0
"""How far the scheduler's clock may be behind ours: what is over, and was submitted longer before, is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a scheduler says of one job."""

    id: str
    submitted_at: float
    """Seconds since the epoch, by the scheduler's clock."""
    live: bool
    """It is queued, or runs, or is about to run again; False once it never will."""


class Scheduler(Protocol):
    """What is different from one scheduler to another. Nothing here blocks for long."""

    message_timeout_s: float
    """How long the scheduler may take to act on a message after whoever sent it is gone."""

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        """Give an attempt to the scheduler, under its token as the job's name."""

    def is_quiet(self, name: str) -> bool:
        """Say that no client of ours is submitting a job of this name any more; one that hangs may be ended first."""

    def find(self, names: Collection[str]) -> Mapping[str, Sequence[Entry]] | None:
        """Ask for all jobs of these names, also past ones: none of it is known if None, nothing of a missing name."""

    def end(self, name: str, ids: Collection[str], *, politely: bool) -> bool:
        """End those of these jobs that have this name: by a signal to the program, or for good; say if that worked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the scheduler last said about an attempt."""

    at: float
    entries: tuple[Entry, ...]
    live: bool | None
    """What it says of the job that counts; None if it does not know one."""
    over_since: float | None
    """Since when it says in a row that this one is over."""

    @property
    def live_ids(self) -> list[str]:
        """List all of its jobs that are not over."""
        return [entry.id for entry in self.entries if entry.live]


@dataclass(slots=True)
class Attempt:
    """An attempt we ask about: an open one, one whose submission is in doubt, or one that is left behind."""

    order: Order
    answer: Answer | None = None
    first: Entry | None = None
    """The first of its jobs that an answer named: so it was taken, whatever later answers leave out."""
    quiet_since: float | None = None
    """Since when no client of ours is at work on its submission, which is in doubt."""
    kill_at: float | None = None
    """When it is to be ended for good."""
    asked: bool = False
    """Its program got the polite signal."""
    denied: bool = False
    """It was sent again, because the scheduler said that it has no such job, and was refused then."""
    left_at: float | None = None
    """When it was over; what the scheduler still has of it is ended."""
    _claimed: str | None = None
    _submitted_at: float | None = None

    @property
    def alive(self) -> bool | None:
        """Say what the scheduler said last; that it is over takes two answers in a row."""
        if self.answer is None or self.answer.at == self.answer.over_since:
            return None
        return self.answer.live

    def claimed(self) -> str | None:
        """Say which of its jobs is the one that counts; once there is one, it stays that."""
        if self._claimed is None:
            self._claimed = probe.claim(self.order.attempt_dir, self.order.token)
        return self._claimed

    def submitted_at(self) -> float | None:
        """Say when it was first submitted; None if it was not, or was refused."""
        if self._submitted_at is None:
            said = read_json(self.order.submission)
            self._submitted_at = None if said is None else unstamp(said["at"])
        return self._submitted_at

    @property
    def is_tense(self) -> bool:
        """Say whether it waits for an answer."""
        said = self.answer is not None and self.answer.over_since is not None
        return said or any(at is not None for at in (self.quiet_since, self.kill_at, self.left_at))

    def take(self, said: Sequence[Entry], now: float) -> None:
        """Keep what the scheduler says; jobs that were over before the submission are none of it."""
        since = (self.submitted_at() or now) - CLOCK_SLACK_S
        entries = tuple(entry for entry in said if entry.live or entry.submitted_at >= since)
        if self.first is None and entries:
            self.first = min(entries, key=lambda entry: entry.submitted_at)
        count = [entry.live for entry in entries if self.claimed() in (None, entry.id)]
        live = any(count) if count else None
        before = None if self.answer is None else self.answer.over_since
        over_since = (now if before is None else before) if live is False else None
        self.answer = Answer(now, entries, live, over_since)


@dataclass(slots=True)
class Scheduled:
    """The attempts that a scheduler has, as far as we know."""

    scheduler: Scheduler
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _asked_at: float = float("-inf")
    _pause_s: float = SHORTEST_S

    # Submitting

    def submit(self, order: Order, at: float) -> Event:
        """Submit an attempt, or find out what became of its submission."""
        attempt = self._know(order)
        attempt.left_at = None
        if (claimed := attempt.claimed()) is not None:
            return Submitted(at=at, attempt=order.attempt, scheduler_id=claimed)
        if attempt.submitted_at() is not None:
            return self._find_out(attempt, at)
        write_json(order.submission, {"v": 1, "token": order.token, "at": stamp(at)})
        return self._send(attempt, at)

    def _know(self, order: Order) -> Attempt:
        return self._attempts.setdefault(order.token, Attempt(order))

    def _send(self, attempt: Attempt, at: float, *, again: bool = False) -> Event:
        self._pause_s = SHORTEST_S
        attempt.quiet_since = None
        outcome = self.scheduler.submit(attempt.order, at)
        if isinstance(outcome, SubmitRefused):
            if again and not attempt.denied:
                attempt.denied = True
                return _lost(attempt.order, at, f"it is refused now ({outcome.reason}), and may have been taken before")
            attempt.order.submission.unlink(missing_ok=True)
            del self._attempts[attempt.order.token]
        return outcome

    def _find_out(self, attempt: Attempt, at: float) -> Event:
        order = attempt.order
        if at >= self._asked_at + SHORTEST_S:
            self._ask(at)
        if attempt.first is not None:
            attempt.quiet_since = None
            return Submitted(at=at, attempt=order.attempt, scheduler_id=attempt.first.id)
        if not self.scheduler.is_quiet(order.token):
            return _lost(order, at, "its client is still at work")
        if attempt.quiet_since is None:
            attempt.quiet_since = at
        settled_at = attempt.quiet_since + self.scheduler.message_timeout_s
        if at < settled_at:
            return _lost(order, at, "the scheduler may still be taking it")
        if attempt.answer is None or attempt.answer.at < settled_at:
            return _lost(order, at, "the scheduler does not say whether it has it")
        return self._send(attempt, at, again=True)

    def adopt(self, order: Order, *, began: bool) -> None:  # noqa: ARG002 - the claim says it better
        """Take over an attempt of an earlier watcher."""
        self._know(order)

    # Ending

    def withdraw(self, order: Order) -> bool:
        """Claim an attempt before run.sh does; what the scheduler has of it is ended."""
        self.stop(order, 0.0)
        return take_back(order)

    def stop(self, order: Order, grace_s: float) -> None:
        """Ask an attempt to end; what the scheduler answers next is dealt with."""
        attempt = self._know(order)
        if attempt.kill_at is None:
            attempt.kill_at = clock.now() + grace_s
        self._pause_s = SHORTEST_S

    def forget(self, order: Order) -> None:
        """An attempt is over: end what the scheduler still has of it, a second acceptance or a requeue."""
        if order.token in self._attempts:
            self._attempts[order.token].left_at = clock.now()
            self._pause_s = SHORTEST_S

    # Asking

    def alive(self, order: Order) -> bool | None:
        """Say whether an attempt is queued or runs, as far as the scheduler said."""
        attempt = self._attempts.get(order.token)
        return None if attempt is None else attempt.alive

    def tend(self) -> list[tuple[str, Event | None]]:
        """Ask if it is time to, and name the attempts that are worth a look."""
        due = self._attempts and clock.now() >= self._asked_at + self._pause_s
        return [(token, None) for token in (self._ask(clock.now()) if due else ())]

    def due_in_s(self) -> float | None:
        """Say when the scheduler is next to be asked."""
        return max(self._asked_at + self._pause_s - clock.now(), 0.0) if self._attempts else None

    def _ask(self, now: float) -> list[str]:
        """Ask about everything at once, and end what is to end; return whom the answer says something new about."""
        self._asked_at = now
        found = self.scheduler.find(self._attempts.keys())
        if found is None:
            self._pause_s = min(self._pause_s * 2, LONGEST_S)
            return []
        changed = []
        for token, said in found.items():
            attempt = self._attempts[token]
            before = attempt.alive
            attempt.take(said, now)
            changed += [token] if attempt.alive is not before else []
            self._end_what_is_due(attempt, now)
        tense = any(attempt.is_tense for attempt in self._attempts.values())
        self._pause_s = SHORTEST_S if tense else min(self._pause_s * SLOWER, LONGEST_S)
        return changed

    def _end_what_is_due(self, attempt: Attempt, now: float) -> None:
        """End what is over or asked to end, and the jobs that lost the claim."""
        token = attempt.order.token
        live = attempt.answer.live_ids if attempt.answer else []
        if attempt.left_at is not None:
            self._end(token, live)
            if not live and now > attempt.left_at:
                del self._attempts[token]
        elif attempt.kill_at is None:
            self._end(token, [name for name in live if attempt.claimed() not in (None, name)])
        elif now >= attempt.kill_at:
            self._end(token, live)
        elif live and not attempt.asked:
            attempt.asked = self.scheduler.end(token, live, politely=True)

    def _end(self, name: str, ids: Collection[str]) -> None:
        if ids:
            self.scheduler.end(name, ids, politely=False)


def _lost(order: Order, at: float, why: str) -> SubmitLost:
    return SubmitLost(at=at, attempt=order.attempt, reason=f"nobody knows what became of its submission: {why}")
