"""Batch schedulers: submitting once, asking rarely and believing little, the same for every one of them.

A scheduler is reached through a small port, `Scheduler`; an attempt's token is the name of its job there. What
`Scheduled` makes of it is an executor, and keeps these rules:

Rule 1: submission.json is on disk before a client of the scheduler is started. Whoever finds one whose answer nobody
heard asks for the name: a job that an answer named was taken. That there is none is believed only once no client of
ours has been at work for as long as the scheduler may take over a message; then it is given the same attempt again.
Each answer may settle a doubt at once, however long ago or often somebody last tried.
Rule 2: no answer, and an answer that leaves a name out, is unknown, and so is a name the scheduler does not know any
more. That an attempt is over is believed when two answers in a row say so.
Rule 3: the claim says which of several jobs of one name is the attempt. The others are ended once there is a claim,
never before: the one we would end may be the one that just began.
Rule 4: ids are used again by schedulers; a job is only ever ended by its id and its name together. One that said itself
how it ended is given time to: the scheduler may not know yet, and what is cancelled meanwhile counts as cancelled.
Rule 5: clients take their time, and nobody waits for them: what comes of one is heard in `tend`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from autoexp import clock
from autoexp.clients import Call, at_once
from autoexp.endings import Said
from autoexp.events import Event, SubmitDeferred, SubmitLost, SubmitRefused, Submitted
from autoexp.files import write_json
from autoexp.journal import stamp
from autoexp.orders import Order, take_back, unchecked
from autoexp.pace import Pace
from autoexp.submissions import Attempt, Entry, Question
from autoexp.throttle import Throttle, places_of

CLIENTS = 4
"""How many submissions are under way at once."""
LISTEN_S = (0.02, 0.25)
"""How often we listen for what a client says: at first, and after a while."""


class Scheduler(Protocol):
    """What is different from one scheduler to another. `submit`, `find` and `end` may each take seconds."""

    message_timeout_s: float
    """How long the scheduler may take to act on a message after whoever sent it is gone."""

    @property
    def remembers_s(self) -> float:
        """How long it can say how a job ended that is over."""

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        """Give an attempt to the scheduler, under its token as the job's name."""

    def is_quiet(self, name: str) -> bool:
        """Say that no client of ours is submitting a job of this name any more; one that hangs may be ended first."""

    def find(self, questions: Sequence[Question]) -> Mapping[str, Sequence[Entry]] | None:
        """Ask for all jobs of these names, also past ones: none of it is known if None, nothing of a missing name."""

    def load(self) -> Mapping[str, int]:
        """Say how many jobs of the user are not over, by place as `throttle` names them, by the last answer."""

    def end(self, name: str, ids: Collection[str], *, politely: bool) -> bool:
        """End those of these jobs that have this name: by a signal to the program, or for good; say if that worked."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A client that submits an attempt."""

    attempt: Attempt
    coming: "Future[Any]"
    again: bool
    """The scheduler said that it has no such job."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A client that asks about everything."""

    at: float
    names: frozenset[str]
    coming: "Future[Any]"


@dataclass(slots=True)
class Scheduled:
    """The attempts that a scheduler has, as far as we know."""

    scheduler: Scheduler
    call: Call = at_once
    pace: Pace = field(default_factory=Pace)
    throttle: Throttle = field(default_factory=Throttle)
    usual: Mapping[str, str] = field(default_factory=dict)
    """The options of jobs that name none themselves."""
    submit_interval_s: float = 0.0
    """The shortest time from one submission to the next."""
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _backlog: dict[str, bool] = field(default_factory=dict)
    """Attempts to submit as soon as a client is free, and whether that is done again."""
    _sending: dict[str, Sending] = field(default_factory=dict)
    _asking: Asking | None = None
    _ending: dict[tuple[str, bool], "Future[Any]"] = field(default_factory=dict)
    _news: dict[str, None] = field(default_factory=dict)
    """Attempts that the last answers say something new about, or that waited for one."""
    _silent_since: float | None = None
    """Since when the scheduler does not answer."""
    _check: Callable[[], None] = unchecked
    _called_at: float = 0.0
    _sent_at: float = float("-inf")

    # Submitting

    def submit(self, order: Order, at: float) -> Event | None:
        """Submit an attempt, or find out what became of its submission."""
        attempt = self._know(order)
        attempt.left_at = None
        if order.token in self._sending:
            return None
        if (claimed := attempt.claimed()) is not None:
            return Submitted(at=at, attempt=order.attempt, scheduler_id=claimed)
        if attempt.submitted_at() is not None:
            return self._find_out(attempt, at)
        return self._queue(attempt, at, again=False)

    def _know(self, order: Order) -> Attempt:
        attempt = self._attempts.setdefault(order.token, Attempt(order))
        attempt.order = order  # it may tell the scheduler's id by now
        return attempt

    def _queue(self, attempt: Attempt, at: float, *, again: bool) -> Event | None:
        """Submit it as soon as there is a client for it; return what it came to, if that is known at once."""
        token = attempt.order.token
        self._backlog[token] = again
        self._send_what_fits(at)
        return self._deferral(attempt, at) if token in self._backlog else self._heard(token, at)

    def _deferral(self, attempt: Attempt, at: float) -> SubmitDeferred | None:
        """Say why an attempt is not submitted yet, once."""
        silent = "the scheduler does not answer" if self._silent_since is not None else ""
        why = silent or self.throttle.full(self._places(attempt.order))
        if not why or why == attempt.deferred:
            return None
        attempt.deferred = why
        return SubmitDeferred(at=at, attempt=attempt.order.attempt, reason=why)

    def _places(self, order: Order) -> tuple[str, ...]:
        return places_of({**self.usual, **order.resources.options})

    def _send_what_fits(self, at: float) -> None:
        """Start clients: the highest priority first. A scheduler that does not answer is given nothing new."""
        if len(self._sending) >= CLIENTS or self._silent_since is not None:
            return
        for token in sorted(self._backlog, key=lambda token: -self._attempts[token].order.priority):
            if len(self._sending) >= CLIENTS or at < self._sent_at + self.submit_interval_s:
                return
            if not self.throttle.full(self._places(self._attempts[token].order)):
                self._send(self._attempts[token], at, again=self._backlog.pop(token))

    def _send(self, attempt: Attempt, at: float, *, again: bool) -> None:
        order = attempt.order
        if not again:
            write_json(order.submission, {"v": 1, "token": order.token, "at": stamp(at)})
        attempt.begin_anew()
        attempt.quiet_since, attempt.doubted, self._sent_at = None, False, at
        self.throttle.took(self._places(order))
        coming = self._call(partial(self.scheduler.submit, order, at))
        self._sending[order.token] = Sending(attempt, coming, again)

    def _heard(self, token: str, at: float) -> Event | None:
        """Take what a client came to, once it has ended."""
        sending = self._sending.get(token)
        if sending is None or not sending.coming.done():
            return None
        del self._sending[token]
        self.pace.hurry()
        attempt, outcome = sending.attempt, sending.coming.result()
        attempt.doubted = isinstance(outcome, SubmitLost) and attempt.left_at is None
        if isinstance(outcome, SubmitRefused):
            if sending.again and not attempt.denied:
                attempt.denied = attempt.doubted = True
                why = f"it is refused now ({outcome.reason}), and may have been taken before"
                return _lost(attempt, at, why)
            self.throttle.left(self._places(attempt.order))
            attempt.order.submission.unlink(missing_ok=True)
            self._attempts.pop(token, None)
        if isinstance(outcome, SubmitLost):
            attempt.doubt = outcome.reason
            attempt.left_at = attempt.left_at and at  # from now on the scheduler has its time to take it
        elif isinstance(outcome, Submitted) and outcome.scheduler_id:
            attempt.first = attempt.first or Entry(id=outcome.scheduler_id, live=True, submitted_at=at)
            if attempt.left_at or attempt.kill_at:  # it was taken back meanwhile, or is over already
                self._end_what_is_due(attempt, at, [outcome.scheduler_id])
        event: Event = outcome
        return event

    def _find_out(self, attempt: Attempt, at: float) -> Event | None:
        attempt.doubted = True
        if (attempt.first is None or attempt.alive is False or attempt.seems_over) and at >= self.pace.soonest_at():
            self._ask(at)
        return self._settle(attempt, at)

    def _settle(self, attempt: Attempt, at: float) -> Event | None:
        """Say what became of a submission in doubt, as far as that is known; repeat it if it never arrived."""
        order = attempt.order
        known = attempt.claimed() or (attempt.first.id if attempt.first else None)
        if known is not None and attempt.seems_over:
            return _lost(attempt, at, "the scheduler says that it is over, and nothing says that it began")
        if known is not None and not attempt.left_without_a_word:
            attempt.quiet_since, attempt.doubted = None, False
            self._backlog.pop(order.token, None)
            return Submitted(at=at, attempt=order.attempt, scheduler_id=known)
        if not self.scheduler.is_quiet(order.token):
            return _lost(attempt, at, "its client is still at work")
        if attempt.quiet_since is None:
            attempt.quiet_since = at
        settled_at = attempt.quiet_since + self.scheduler.message_timeout_s
        if at < settled_at:
            return _lost(attempt, at, "the scheduler may still be taking it")
        if attempt.answer is None or attempt.answer.at < settled_at:
            return _lost(attempt, at, "the scheduler does not say whether it has it")
        return self._queue(attempt, at, again=True)

    def adopt(self, order: Order, *, began: bool) -> None:  # noqa: ARG002 - the claim says it better
        """Take over an attempt of an earlier watcher."""
        self._know(order)

    # Ending

    def withdraw(self, order: Order) -> bool:
        """Claim an attempt before run.sh does; what the scheduler has of it is ended."""
        taken_back = take_back(order)
        if self._drop_unsent(order.token):
            return True
        self.stop(order, 0.0)
        return taken_back

    def _drop_unsent(self, token: str) -> bool:
        """Forget an attempt that was never sent, and so counts nowhere; say whether it is one."""
        unsent = self._backlog.pop(token, None) is False
        if unsent:
            del self._attempts[token]
        return unsent

    def stop(self, order: Order, grace_s: float) -> None:
        """Ask an attempt to end, if it has begun; `tend` sees to the rest."""
        attempt = self._know(order)
        attempt.doubted = False
        if attempt.kill_at is None:
            attempt.kill_at = clock.now() + grace_s
            self._end_what_is_due(attempt, clock.now(), attempt.ids())
        self.pace.hurry()

    def forget(self, order: Order) -> None:
        """An attempt is over: end what the scheduler still has of it, a second acceptance or a requeue."""
        if not self._drop_unsent(order.token) and order.token in self._attempts:
            attempt = self._attempts[order.token]
            if attempt.answer is None or attempt.answer.live is not False:  # else the last answer counts it no more
                self.throttle.left(self._places(order))
            attempt.left_at, attempt.doubted = clock.now(), False
            if not (attempt.said_its_end or attempt.killed or attempt.alive is False):
                self._end_what_is_due(attempt, attempt.left_at, attempt.ids())
                self.pace.hurry()

    # Asking

    def alive(self, order: Order) -> bool | None:
        """Say whether an attempt is queued or runs, as far as the scheduler said."""
        attempt = self._attempts.get(order.token)
        return None if attempt is None else attempt.alive

    def said(self, order: Order) -> Said | None:
        """Say how an attempt stands, or ended, by the scheduler's last answer."""
        attempt = self._attempts.get(order.token)
        if attempt is None:
            return Said()
        return replace(attempt.answer.said if attempt.answer else Said(), at=attempt.word_at)

    def unseen(self, order: Order) -> str | None:  # noqa: ARG002 - as every executor's
        """Say nothing: the scheduler knows."""
        return None

    def await_word(self, order: Order) -> None:
        """Ask soon how an attempt stands."""
        attempt = self._attempts.get(order.token)
        if attempt is not None and not attempt.awaited:
            attempt.awaited = True
            self.pace.hurry()

    def trouble(self) -> str | None:
        """Say that the scheduler does not answer, and since when."""
        if self._silent_since is None:
            return None
        return f"the scheduler has not answered since {stamp(self._silent_since)}; nothing is concluded from that"

    def tend(self, check: Callable[[], None] = unchecked) -> list[tuple[str, Event | None]]:
        """Hear what clients say, ask if it is time to, and name the attempts that are worth a look."""
        self._check = check
        now = clock.now()
        heard = [(token, self._heard(token, now)) for token in list(self._sending)]
        found = [(token, event) for token, event in heard if event is not None]
        self._hear_ends()
        for attempt in self._attempts.values():
            if attempt.kill_due_at is not None and attempt.kill_due_at <= now:
                self._end_what_is_due(attempt, now, attempt.ids())
        self._hear_answer(now)
        if self._attempts and now >= self.pace.due_at():
            self._ask(now)
        self._news |= {token: None for token, a in self._attempts.items() if a.doubted and a.claimed() is not None}
        news, self._news = self._news, {}
        told = [(token, self._news_of(token, now)) for token in news]
        self._send_what_fits(now)
        deferred = ((token, self._deferral(self._attempts[token], now)) for token in self._backlog)
        found += [(token, event) for token, event in deferred if event is not None]
        return [*found, *told]

    def _news_of(self, token: str, now: float) -> Event | None:
        """Say what an answer settles; None if it is only worth a look."""
        attempt = self._attempts.get(token)
        if attempt is None or not attempt.doubted:
            return None
        event = self._settle(attempt, now)
        return None if isinstance(event, SubmitLost) else event

    def settling(self) -> bool:
        """Say whether a client is at work, or what is known of an attempt is soon settled by the next answer."""
        if self._sending or self._asking or self._ending:
            return True
        if self._silent_since is not None:
            return False
        sendable = any(not self.throttle.full(self._places(self._attempts[token].order)) for token in self._backlog)
        return sendable or any(attempt.is_settling for attempt in self._attempts.values())

    def due_in_s(self) -> float | None:
        """Say when `tend` is next worth calling."""
        if not self._attempts:
            return None
        now = clock.now()
        due = [self.pace.due_at() - now] if self._asking is None else []
        due += [a.kill_due_at - now for a in self._attempts.values() if a.kill_due_at is not None]
        if self._backlog and self._sent_at + self.submit_interval_s > now:
            due.append(self._sent_at + self.submit_interval_s - now)
        if self._sending or self._ending or self._asking:
            soon, later = LISTEN_S
            due.append(min(max(soon, (now - self._called_at) / 10), later))
        return max(min(due), 0.0)

    def _call(self, work: "partial[Any]") -> "Future[Any]":
        self._check()
        self._called_at = clock.now()
        return self.call(work)

    def _ask(self, now: float) -> None:
        """Ask about everything at once, unless that is under way."""
        if self._asking is None:
            self.pace.asked(now)
            self.throttle.asking(self._places(sending.attempt.order) for sending in self._sending.values())
            coming = self._backlog.keys() | self._sending.keys()
            questions = [attempt.question() for token, attempt in self._attempts.items() if token not in coming]
            names = frozenset(question.name for question in questions)
            self._asking = Asking(now, names, self._call(partial(self.scheduler.find, questions)))
        self._hear_answer(now)

    def _hear_answer(self, now: float) -> None:
        """Take an answer, end what is to end, and note whom it says something new about."""
        if self._asking is None or not self._asking.coming.done():
            return
        asking, self._asking = self._asking, None
        found: Mapping[str, Sequence[Entry]] | None = asking.coming.result()
        if found is None:
            self._silent_since = self._silent_since or asking.at
            self.pace.despair()
            return
        self._silent_since = None
        self.pace.keep_up_with(self.scheduler.remembers_s)
        self.throttle.heard(self.scheduler.load())
        self._hear_what_was_awaited(asking, found)
        for token, said in found.items():
            if (attempt := self._attempts.get(token)) is None:
                continue
            before = (attempt.alive, attempt.answer and attempt.answer.said)
            attempt.take(said, asking.at)
            if attempt.doubted or before != (attempt.alive, attempt.answer and attempt.answer.said):
                self._news[token] = None
            self._end_what_is_due(attempt, now, attempt.answer.live_ids if attempt.answer else [])
        tense = any(attempt.is_tense for attempt in self._attempts.values())
        (self.pace.hurry if tense else self.pace.relax)()

    def _hear_what_was_awaited(self, asking: Asking, found: Collection[str]) -> None:
        """Note of whom it was a word: what an answer leaves out, as where the accounting fails, stays unknown."""
        for token, attempt in self._attempts.items():
            if token in found:
                attempt.heard_at = asking.at
            if attempt.awaited and token in asking.names:  # whoever needs to know more asks again
                attempt.awaited, self._news[token] = False, None

    def _end_what_is_due(self, attempt: Attempt, now: float, ids: Sequence[str]) -> None:
        """End those of an attempt's jobs that are over or asked to end, or lost the claim."""
        token = attempt.order.token
        if attempt.left_at is not None:
            self._end(token, attempt.left_behind(ids, now))
            if not ids and token not in self._sending and attempt.is_gone(self.scheduler.message_timeout_s):
                self._attempts.pop(token, None)
        elif attempt.kill_at is None:
            self._end(token, [name for name in ids if attempt.claimed() not in (None, name)])
        elif now >= attempt.kill_at or attempt.claimed() is None:
            attempt.killed = now >= attempt.kill_at
            self._end(token, ids)
        elif not attempt.asked:
            self._end(token, ids, politely=True)

    def _end(self, name: str, ids: Collection[str], *, politely: bool = False) -> None:
        """End jobs, unless that is under way."""
        if ids and (name, politely) not in self._ending:
            self._ending[name, politely] = self._call(partial(self.scheduler.end, name, tuple(ids), politely=politely))
            self._hear_ends()

    def _hear_ends(self) -> None:
        for (token, politely), coming in list(self._ending.items()):
            if coming.done():
                del self._ending[token, politely]
                if coming.result() and politely and token in self._attempts:
                    self._attempts[token].asked = True


def _lost(attempt: Attempt, at: float, why: str) -> SubmitLost:
    said = f" ({attempt.doubt})" if attempt.doubt else ""
    reason = f"nobody knows what became of its submission{said}: {why}"
    return SubmitLost(at=at, attempt=attempt.order.attempt, reason=reason)
