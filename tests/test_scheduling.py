"""The protocol, step by step, with a scheduler that says what it is told to say."""

import errno
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autoexp import clock
from autoexp.clients import Call, at_once
from autoexp.events import Event, SubmitDeferred, SubmitLost, SubmitRefused, Submitted
from autoexp.orders import WITHDRAWN, Order
from autoexp.pace import LONGEST_S, LONGEST_SILENT_S, SHORTEST_S
from autoexp.scheduling import Scheduled
from autoexp.submissions import Entry, Question
from autoexp.throttle import ALL, Throttle

NOW = 1_700_000_000.0
TOKEN = "one.1.k3y"
LOST = SubmitLost(at=NOW, attempt=1, reason="sbatch timed out")
BUSY = SubmitRefused(at=NOW, attempt=1, reason="queue full", temporary=True)
OVER = Entry(id="7", live=False, submitted_at=NOW)
TAKEN = Submitted(at=NOW, attempt=1, scheduler_id="7")


@dataclass
class Told:
    """A scheduler that answers as it is told, and remembers what was asked of it."""

    message_timeout_s: float = 60.0
    remembers_s: float = math.inf
    replies: list[Submitted | SubmitRefused | SubmitLost] = field(default_factory=list)
    knows: dict[str, list[Entry]] | None = field(default_factory=dict)
    """What it says; None is no answer, and a name that is missing here is left out of it."""
    quiet: bool = True
    others: Mapping[str, int] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    ended: list[tuple[str, tuple[str, ...], bool]] = field(default_factory=list)

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        assert (order.attempt_dir / "submission.json").exists(), "it is written down first"
        assert at == clock.now()
        self.submitted.append(order.token)
        return self.replies.pop(0)

    def is_quiet(self, name: str) -> bool:
        assert name == TOKEN
        return self.quiet

    def find(self, questions: Sequence[Question]) -> Mapping[str, Sequence[Entry]] | None:
        names = [question.name for question in questions]
        self.asked.append(clock.now())
        return None if self.knows is None else {name: self.knows[name] for name in names if name in self.knows}

    def load(self) -> Mapping[str, int]:
        return self.others

    def end(self, name: str, ids: Collection[str], *, politely: bool) -> bool:
        self.ended.append((name, tuple(ids), politely))
        return True


@dataclass
class Bench:
    """A scheduled executor, its scheduler, and a clock to set."""

    order: Order
    now: float = NOW
    told: Told = field(default_factory=Told)
    scheduled: Scheduled = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything, as a new watcher does."""
        self.scheduled = Scheduled(self.told)

    def submit(self, later_s: float = 0.0) -> Event | None:
        self.now += later_s
        return self.scheduled.submit(self.order, self.now)

    def tend(self, later_s: float = SHORTEST_S) -> list[str]:
        """Let time pass; return who is worth a look."""
        outcomes = self.hear(later_s)
        assert all(event is None for event in outcomes)
        return [TOKEN] * len(outcomes)

    def hear(self, later_s: float = SHORTEST_S) -> list[Event | None]:
        """Let time pass; return what comes to light."""
        self.now += later_s
        outcomes = self.scheduled.tend()
        assert all(token == TOKEN for token, _ in outcomes)
        return [event for _, event in outcomes]

    def say(self, *jobs: tuple[str, bool], submitted_at: float | None = None) -> None:
        """Let the scheduler know these jobs by the attempt's name: id, and whether it lives."""
        at = self.now if submitted_at is None else submitted_at
        self.told.knows = {TOKEN: [Entry(id=name, live=live, submitted_at=at) for name, live in jobs]}

    def claim(self, name: str) -> None:
        (self.order.attempt_dir / f"run.{TOKEN}").write_text(f"{name}\n")

    @property
    def alive(self) -> bool | None:
        return self.scheduled.alive(self.order)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "attempts" / "001"
    folder.mkdir(parents=True)
    made = Bench(Order(token=TOKEN, attempt=1, job_dir=tmp_path, attempt_dir=folder))
    with clock.simulated(lambda: made.now):
        yield made


def queued(bench: Bench) -> Bench:
    """Have an attempt taken."""
    bench.told.replies = [TAKEN]
    assert bench.submit() == TAKEN
    bench.say(("7", True))
    return bench


# Submitting


def test_an_attempt_is_submitted_under_its_token(bench: Bench) -> None:
    queued(bench)

    assert bench.told.submitted == [TOKEN]
    assert bench.told.asked == [], "nothing was in doubt"


def test_a_refused_attempt_is_in_no_doubt(bench: Bench) -> None:
    bench.told.replies = [BUSY, TAKEN]

    assert (bench.submit(), bench.submit(2.0)) == (BUSY, TAKEN)
    assert bench.told.asked == []


@pytest.mark.parametrize("restarted", [False, True], ids=["the same watcher", "the next one"])
def test_a_submission_in_doubt_is_asked_about_by_name_and_believed_as_soon_as_it_is_found(
    bench: Bench,
    restarted: bool,  # noqa: FBT001 - a parameter
) -> None:
    bench.told.replies, bench.told.knows = [LOST, TAKEN], {TOKEN: []}
    assert bench.submit() == LOST
    if restarted:
        bench.restart()

    assert isinstance(bench.submit(2.0), SubmitLost), "it may still be on its way"
    bench.say(("9", True))
    found = bench.submit(20.0)

    assert found == Submitted(at=bench.now, attempt=1, scheduler_id="9")
    assert (bench.told.submitted, len(bench.told.asked)) == ([TOKEN], 2)


def test_what_was_found_once_was_taken_although_a_later_answer_leaves_it_out(bench: Bench) -> None:
    bench.told.replies = [LOST]
    bench.submit()
    bench.say(("9", True))
    bench.hear(20.0)
    bench.told.knows = {TOKEN: []}
    bench.tend(20.0)

    assert bench.submit(60.0) == Submitted(at=bench.now, attempt=1, scheduler_id="9")
    assert bench.told.submitted == [TOKEN]


def test_one_answer_that_calls_it_over_sends_nothing_again_and_two_do(bench: Bench) -> None:
    """As of a job that left the queue without having begun; the first such answer may be wrong."""
    bench.told.replies, bench.told.knows = [LOST, TAKEN], {TOKEN: []}
    bench.submit()
    bench.submit(2.0)
    bench.say(("9", False))

    assert isinstance(bench.submit(61.0), SubmitLost)
    assert bench.told.submitted == [TOKEN]
    bench.submit(2.0)
    assert bench.submit(61.0) == TAKEN
    assert bench.told.submitted == [TOKEN, TOKEN]


def test_what_ended_without_a_word_is_sent_again_when_it_is_wanted_again(bench: Bench) -> None:
    """Not called queued first, to be given up once more: as of an attempt whose run.sh would not begin."""
    queued(bench)
    bench.say(("7", False))
    bench.hear(20.0)
    bench.hear(20.0)
    bench.scheduled.forget(bench.order)
    bench.hear(LONGEST_S)
    bench.told.replies = [TAKEN]

    asked = [bench.submit(20.0)]
    while len(bench.told.submitted) == 1 and len(asked) < 9:
        asked.append(bench.submit(20.0))
    assert (asked[-1], {type(event) for event in asked[:-1]}) == (TAKEN, {SubmitLost})


def test_an_attempt_that_the_scheduler_never_had_is_submitted_again_under_the_same_token(bench: Bench) -> None:
    bench.told.replies = [LOST, TAKEN]
    bench.told.knows = {TOKEN: []}
    bench.submit()
    bench.submit(2.0)

    assert bench.submit(61.0) == TAKEN
    assert bench.told.submitted == [TOKEN, TOKEN]


def test_what_the_client_said_was_taken_is_in_no_doubt_when_somebody_asks_for_it_later(bench: Bench) -> None:
    """As of an attempt that was queued behind another one, when its turn comes."""
    queued(bench)
    bench.told.knows = None

    assert bench.submit(0.1) == Submitted(at=bench.now, attempt=1, scheduler_id="7")
    assert (bench.told.submitted, bench.told.asked) == ([TOKEN], [])


def test_a_claim_settles_a_doubt_at_once_while_the_scheduler_is_silent(bench: Bench) -> None:
    bench.told.replies, bench.told.knows = [LOST], None
    bench.submit()
    assert bench.hear(2.0) == []
    bench.claim("9")

    assert bench.hear(2.0) == [Submitted(at=bench.now, attempt=1, scheduler_id="9")]
    assert (bench.hear(2.0), bench.told.submitted) == ([], [TOKEN])


def test_a_scheduler_that_forgets_is_asked_before_it_has(bench: Bench) -> None:
    queued(bench)
    bench.told.remembers_s = 300.0

    for _ in range(2000):
        bench.tend(2.0)
    waits = [later - before for before, later in pairwise(bench.told.asked)]
    assert 90.0 < max(waits[-5:]) <= 102.0


def test_while_an_answer_is_on_its_way_nobody_is_woken_up_to_ask_again(bench: Bench) -> None:
    queued(bench)
    answer: Future[Any] = Future()
    bench.scheduled.call = lambda _: answer
    bench.tend()

    bench.now += 100.0
    due_s = bench.scheduled.due_in_s()
    assert due_s is not None
    assert due_s > 0


def test_what_the_last_answer_counts_no_more_makes_no_room_a_second_time(bench: Bench) -> None:
    bench.scheduled.throttle = Throttle({"": 1})
    bench.scheduled.throttle.heard({})
    queued(bench)
    bench.say(("7", False))
    bench.tend()

    bench.scheduled.forget(bench.order)
    bench.scheduled.throttle.took(("",))
    assert bench.scheduled.throttle.full(("",))


def test_a_doubt_is_settled_by_the_answer_and_not_by_the_next_try(bench: Bench) -> None:
    """The next try is further away with each watcher that dies in doubt, up to ten minutes."""
    bench.told.replies = [LOST]
    bench.submit()
    bench.restart()
    assert isinstance(bench.submit(2.0), SubmitLost)
    bench.say(("9", True))

    assert bench.hear() == [Submitted(at=bench.now, attempt=1, scheduler_id="9")]
    assert (bench.hear(), bench.told.submitted) == ([], [TOKEN])


def test_what_never_arrived_is_submitted_again_as_soon_as_that_is_sure(bench: Bench) -> None:
    bench.told.replies, bench.told.knows = [LOST, TAKEN], {TOKEN: []}
    bench.submit()

    heard = [bench.hear() for _ in range(9)]

    assert [event for events in heard for event in events if event] == [TAKEN]
    assert bench.told.submitted == [TOKEN, TOKEN]


def test_what_has_begun_is_not_submitted_again_although_the_scheduler_forgot_it(bench: Bench) -> None:
    bench.told.replies, bench.told.knows = [LOST], {TOKEN: []}
    bench.submit()
    bench.tend()
    bench.claim("8")

    assert bench.hear(LONGEST_S) == [Submitted(at=bench.now, attempt=1, scheduler_id="8")]
    assert bench.told.submitted == [TOKEN]


@pytest.mark.parametrize("end", ["withdraw", "forget"])
def test_a_submission_in_doubt_that_nobody_wants_any_more_is_not_repeated(bench: Bench, end: str) -> None:
    bench.told.replies, bench.told.knows = [LOST], {TOKEN: []}
    bench.submit()
    bench.tend()
    getattr(bench.scheduled, end)(bench.order)

    for _ in range(10):
        bench.tend(LONGEST_S)
    assert bench.told.submitted == [TOKEN]


def test_a_refusal_to_take_it_again_is_no_answer_to_the_first_submission_until_it_is_repeated(bench: Bench) -> None:
    """The scheduler may have said by mistake that it does not know the name."""
    bench.told.replies = [LOST, BUSY, BUSY]
    bench.told.knows = {TOKEN: []}
    bench.submit()
    bench.submit(2.0)

    assert isinstance(bench.submit(61.0), SubmitLost)
    assert bench.order.submission.exists()
    bench.submit(2.0)
    assert bench.submit(61.0) == BUSY
    assert not bench.order.submission.exists()


def test_what_was_taken_is_found_although_it_was_refused_in_between(bench: Bench) -> None:
    bench.told.replies = [LOST, BUSY]
    bench.told.knows = {TOKEN: []}
    bench.submit()
    bench.submit(2.0)
    bench.submit(61.0)
    bench.say(("9", True))

    bench.submit(2.0)
    assert bench.submit(61.0) == Submitted(at=bench.now, attempt=1, scheduler_id="9")


def test_a_note_that_cannot_be_read_is_not_a_note_that_is_not_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.told.replies = [LOST]
    bench.submit()
    bench.restart()

    def fail(path: Path, _: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("autoexp.files.read_regular", fail)

    event = bench.submit(2.0)

    assert isinstance(event, SubmitLost)
    assert "Input/output error" in event.reason
    assert bench.told.submitted == [TOKEN]


@pytest.mark.parametrize("knows", [None, {}], ids=["no answer", "an answer that leaves it out"])
def test_while_the_scheduler_does_not_say_nothing_is_submitted_again(
    bench: Bench, knows: dict[str, list[Entry]] | None
) -> None:
    bench.told.replies, bench.told.knows = [LOST], knows
    bench.submit()

    outcomes = [bench.submit(600.0) for _ in range(20)]

    assert all(isinstance(outcome, SubmitLost) for outcome in outcomes)
    assert bench.told.submitted == [TOKEN]


def test_the_wait_begins_when_no_client_is_at_work_any_more(bench: Bench) -> None:
    bench.told.replies, bench.told.knows, bench.told.quiet = [LOST, TAKEN], {TOKEN: []}, False
    bench.submit()

    assert "its client is still at work" in str(bench.submit(600.0))
    bench.told.quiet = True
    assert isinstance(bench.submit(600.0), SubmitLost)
    assert isinstance(bench.submit(59.0), SubmitLost)

    assert bench.submit(SHORTEST_S) == TAKEN


def test_an_answer_from_before_the_wait_was_over_settles_nothing(bench: Bench) -> None:
    bench.told.replies, bench.told.knows = [LOST], {TOKEN: []}
    bench.submit()
    bench.submit(2.0)
    bench.tend(58.0)
    assert bench.told.asked

    assert isinstance(bench.submit(3.0), SubmitLost), "the last answer came too early, and the next is not due"


def test_a_job_of_the_same_name_from_long_before_is_none_of_the_attempt(bench: Bench) -> None:
    bench.told.replies = [LOST, TAKEN]
    bench.say(("3", False), submitted_at=NOW - 86400)
    bench.submit()
    bench.submit(2.0)

    assert bench.submit(61.0) == TAKEN
    assert bench.told.submitted == [TOKEN, TOKEN]


def test_a_live_job_is_the_attempts_however_far_behind_the_schedulers_clock_is(bench: Bench) -> None:
    bench.told.replies = [LOST]
    bench.say(("7", True), submitted_at=NOW - 86400)
    bench.submit()
    bench.submit(2.0)

    found = bench.submit(61.0)

    assert isinstance(found, Submitted)
    assert (found.scheduler_id, bench.told.submitted) == ("7", [TOKEN])


def test_an_attempt_that_has_begun_was_submitted(bench: Bench) -> None:
    bench.told.replies = [LOST]
    bench.submit()
    bench.claim("8")

    assert bench.submit(2.0) == Submitted(at=bench.now, attempt=1, scheduler_id="8")
    assert bench.told.asked == []


# Asking


def test_nothing_is_known_before_the_scheduler_has_answered(bench: Bench) -> None:
    assert bench.alive is None
    bench.scheduled.adopt(bench.order, began=True)
    assert bench.alive is None
    bench.say(("7", True))

    assert [(bench.tend(), bench.scheduled.alive(bench.order)) for _ in range(2)] == [([TOKEN], True), ([], True)]


def test_that_an_attempt_is_over_takes_two_answers_in_a_row(bench: Bench) -> None:
    queued(bench).tend()
    for verdicts in ([False, True], [False, False]):
        seen = []
        for live in verdicts:
            bench.say(("7", live), submitted_at=NOW)
            bench.tend(LONGEST_S)
            seen.append(bench.alive)
        assert seen == ([None, True] if verdicts[1] else [None, False])


@pytest.mark.parametrize("knows", [None, {}, {TOKEN: []}], ids=["no answer", "left out", "unknown to it"])
def test_silence_and_absence_are_no_end(bench: Bench, knows: dict[str, list[Entry]] | None) -> None:
    queued(bench).tend()
    bench.told.knows = knows

    for _ in range(10):
        bench.tend(LONGEST_S)
        assert bench.alive is not False


def test_everything_is_asked_about_at_once_less_often_while_nothing_happens(bench: Bench) -> None:
    queued(bench)
    for _ in range(4000):
        bench.tend(SHORTEST_S)

    waits = [later - before for before, later in zip(bench.told.asked, bench.told.asked[1:], strict=False)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30.0, LONGEST_S)
    assert bench.scheduled.due_in_s() is not None


def test_a_scheduler_that_does_not_answer_is_asked_less_and_less(bench: Bench) -> None:
    queued(bench)
    bench.told.knows = None
    for _ in range(1000):
        bench.tend(SHORTEST_S)

    waits = [later - before for before, later in zip(bench.told.asked, bench.told.asked[1:], strict=False)]
    assert waits[:4] == [30.0, 60.0, 120.0, 240.0]
    assert max(waits) == LONGEST_SILENT_S


def test_an_executor_without_attempts_asks_nothing(bench: Bench) -> None:
    assert (bench.tend(), bench.told.asked, bench.scheduled.due_in_s()) == ([], [], None)


# Ending


def test_of_two_jobs_the_one_without_the_claim_is_ended_and_counts_for_nothing(bench: Bench) -> None:
    queued(bench)
    bench.say(("7", True), ("9", True))
    bench.tend()
    assert bench.told.ended == [], "either of them may be the one that begins"

    bench.claim("9")
    bench.tend(LONGEST_S)
    assert bench.told.ended == [(TOKEN, ("7",), False)]
    bench.say(("7", False), ("9", True))
    bench.tend(LONGEST_S)
    bench.tend(LONGEST_S)

    assert bench.alive is True


def test_a_job_that_the_answer_leaves_out_is_unknown_although_another_of_its_name_is_over(bench: Bench) -> None:
    queued(bench)
    bench.claim("9")
    bench.say(("7", False))
    bench.tend()
    bench.tend(LONGEST_S)

    assert bench.alive is None


def test_what_the_scheduler_still_has_of_an_attempt_that_is_over_is_ended(bench: Bench) -> None:
    queued(bench).tend()
    bench.scheduled.forget(bench.order)
    assert bench.told.ended == [(TOKEN, ("7",), False)]
    bench.tend(20.0)
    assert bench.told.ended == [(TOKEN, ("7",), False)] * 2, "at once, and again as it is still said to live"

    bench.say(("7", False), submitted_at=NOW)
    bench.tend(LONGEST_S)
    asked = len(bench.told.asked)
    bench.tend(LONGEST_S)

    assert len(bench.told.asked) == asked, "there is nothing to ask about any more"


def test_what_began_is_given_time_to_end_by_itself_once_it_is_over(bench: Bench) -> None:
    """It said so itself before the scheduler knew: cancelled meanwhile, it would count as cancelled for good."""
    queued(bench).claim("7")
    bench.say(("7", True), ("8", True))
    bench.tend()
    bench.told.ended.clear()
    (bench.order.attempt_dir / "exit.json").write_text("{}")
    bench.scheduled.forget(bench.order)
    bench.scheduled.pace.hurry()
    bench.hear(20.0)
    assert {ids for _, ids, _ in bench.told.ended} == {("8",)}

    bench.hear(LONGEST_S)
    assert (TOKEN, ("7", "8"), False) in bench.told.ended


def test_whoever_needs_a_word_is_told_to_look_when_it_comes_and_may_ask_again(bench: Bench) -> None:
    queued(bench).claim("7")
    for _ in range(4):
        bench.tend(LONGEST_S)
    bench.scheduled.await_word(bench.order)

    assert TOKEN in bench.tend()
    assert TOKEN not in bench.tend(LONGEST_S)
    said = bench.scheduled.said(bench.order)
    assert said is not None
    assert said.at == bench.now


def test_that_it_knows_of_no_such_job_is_an_answer_too(bench: Bench) -> None:
    """Otherwise nothing would ever be said of a job that the accounting lost, and `once` would wait for it."""
    queued(bench).claim("7")
    bench.tend()
    bench.told.knows = {TOKEN: []}
    bench.scheduled.await_word(bench.order)
    assert bench.scheduled.settling()

    assert TOKEN in bench.tend(LONGEST_S)
    assert not bench.scheduled.settling()
    said = bench.scheduled.said(bench.order)
    assert said is not None
    assert said.at == bench.now


@pytest.mark.parametrize("before", [[], [("7", False)]], ids=["alive", "over once"])
def test_an_answer_that_leaves_it_out_is_no_word_of_it_though_nobody_waits_for_more(
    bench: Bench, before: list[tuple[str, bool]]
) -> None:
    """As where it left the queue and the accounting is away: a job that died would be stopped as a stalled one."""
    queued(bench).claim("7")
    bench.tend()
    for entry in before:
        bench.say(entry)
        bench.scheduled.await_word(bench.order)
        bench.tend(LONGEST_S)
    heard = bench.scheduled.said(bench.order)
    bench.told.knows = {}
    bench.scheduled.await_word(bench.order)

    assert TOKEN in bench.tend(LONGEST_S)

    assert bench.scheduled.settling() is bool(before), "that it is over is said twice, or not at all"
    said = bench.scheduled.said(bench.order)
    assert heard is not None
    assert said is not None
    assert said.at == heard.at
    assert (said.at is None) is bool(before)


def test_news_come_in_the_order_of_the_submissions(bench: Bench, tmp_path: Path) -> None:
    """A campaign that is played again must be the same one."""
    folders = {f"job{number}.1.k3y": tmp_path / str(number) for number in range(9)}
    orders = [replace(bench.order, token=token, attempt_dir=folder) for token, folder in folders.items()]
    for order in orders:
        order.attempt_dir.mkdir()
        bench.scheduled.adopt(order, began=True)
        bench.scheduled.await_word(order)

    assert [token for token, _ in bench.scheduled.tend()] == [*folders]


@pytest.mark.parametrize("again", [[Entry(id="7", live=False, submitted_at=NOW)], []], ids=["over", "unknown"])
def test_that_it_is_over_answers_nobody_before_a_second_answer(bench: Bench, again: list[Entry]) -> None:
    """Else a job that died in silence would be stopped as a stalled one meanwhile, and its own end never told."""
    queued(bench).claim("7")
    bench.tend()
    bench.say(("7", False))
    bench.scheduled.await_word(bench.order)

    bench.tend(LONGEST_S)
    once = bench.scheduled.said(bench.order)
    bench.told.knows = {TOKEN: again}
    bench.tend()
    twice = bench.scheduled.said(bench.order)

    assert once is not None
    assert twice is not None
    assert (once.at, twice.at) == (None, bench.now)


def test_an_answer_says_nothing_of_what_was_not_asked_about(bench: Bench) -> None:
    answer: Future[Any] = Future()
    bench.scheduled.adopt(replace(bench.order, token="other.1.k3y"), began=True)
    bench.scheduled.call = lambda _: answer
    bench.scheduled.tend()
    bench.claim("7")
    bench.scheduled.adopt(bench.order, began=True)
    bench.scheduled.await_word(bench.order)

    answer.set_result({})
    bench.now += 1
    bench.scheduled.call = at_once
    bench.scheduled.tend()

    said = bench.scheduled.said(bench.order)
    assert said is not None
    assert said.at is None
    assert bench.scheduled.settling(), "it is still to be asked"


def test_what_is_over_by_the_last_answer_is_not_ended_once_more(bench: Bench) -> None:
    queued(bench).claim("7")
    bench.say(("7", False))
    bench.tend()
    bench.tend()

    bench.scheduled.forget(bench.order)

    assert bench.told.ended == []


def test_what_was_taken_back_in_doubt_has_its_time_from_the_end_of_its_client_on(bench: Bench) -> None:
    bench.told.replies = [LOST]
    answer: Future[Any] = Future()
    bench.scheduled.call = lambda _: answer
    bench.submit()
    bench.scheduled.withdraw(bench.order)
    bench.scheduled.forget(bench.order)
    bench.scheduled.call = at_once
    bench.say()
    bench.hear(bench.told.message_timeout_s + 1)
    answer.set_result(LOST)
    bench.hear(1.0)
    bench.hear(30.0)

    bench.say(("7", True))
    bench.hear(bench.told.message_timeout_s)

    assert (TOKEN, ("7",), False) in bench.told.ended


def test_what_said_nothing_of_its_end_is_ended_at_once_when_it_is_over_for_us(bench: Bench) -> None:
    queued(bench).claim("7")
    bench.tend()

    bench.scheduled.forget(bench.order)

    assert bench.told.ended == [(TOKEN, ("7",), False)]
    assert (bench.scheduled.due_in_s() or 0.0) <= SHORTEST_S


def test_what_is_sent_again_is_not_over_because_the_one_before_was(bench: Bench) -> None:
    queued(bench)
    bench.say(("7", False))
    bench.tend()
    bench.tend()
    said = [bench.alive]
    bench.scheduled.forget(bench.order)
    bench.told.replies = [Submitted(at=NOW, attempt=1, scheduler_id="8")]
    while len(bench.told.submitted) < 2:
        bench.submit(15.0)

    bench.claim("8")
    said.append(bench.alive)
    bench.say(("7", False), ("8", True))
    bench.tend(LONGEST_S)
    said.append(bench.alive)
    bench.say(("7", False))  # it leaves out the one that counts
    bench.tend(LONGEST_S)
    bench.tend(LONGEST_S)

    assert [*said, bench.alive] == [False, None, True, None]


def test_what_was_taken_back_in_doubt_is_asked_for_until_the_scheduler_can_have_taken_it(bench: Bench) -> None:
    bench.told.replies = [LOST]
    bench.submit()
    bench.hear(1.0)
    bench.scheduled.withdraw(bench.order)
    bench.scheduled.forget(bench.order)
    bench.say()
    bench.hear(20.0)

    bench.say(("7", True))
    bench.hear(bench.told.message_timeout_s)

    assert (TOKEN, ("7",), False) in bench.told.ended


def test_an_attempt_is_asked_politely_once_and_ended_for_good_after_its_grace(bench: Bench) -> None:
    queued(bench).claim("7")
    bench.tend()
    bench.scheduled.stop(bench.order, 60.0)
    assert bench.told.ended == [(TOKEN, ("7",), True)], "by id and name: nobody has to be asked first"
    for _ in range(3):
        bench.tend()
    assert len(bench.told.ended) == 1

    bench.scheduled.stop(bench.order, 60.0)
    bench.tend()

    assert set(bench.told.ended[1:]) == {(TOKEN, ("7",), False)}, "asking again does not start the grace anew"


def test_an_attempt_that_is_over_before_its_grace_is_no_reason_to_wake_up_or_to_end_it_again_and_again(
    bench: Bench,
) -> None:
    queued(bench).claim("7")
    bench.scheduled.stop(bench.order, 60.0)
    bench.tend()
    bench.scheduled.forget(bench.order)
    ended = len(bench.told.ended)
    bench.told.knows = None
    bench.tend(LONGEST_S)

    assert len(bench.told.ended) == ended
    assert (bench.scheduled.due_in_s() or 0.0) > 1.0


def test_a_withdrawn_attempt_never_begins_and_is_ended(bench: Bench) -> None:
    queued(bench)

    assert bench.scheduled.withdraw(bench.order)
    bench.tend()

    assert (bench.order.attempt_dir / f"run.{TOKEN}").read_text() == f"{WITHDRAWN}\n"
    assert bench.told.ended == [(TOKEN, ("7",), False)] * 2, "at once, and again as it is still said to live"


def test_a_withdrawn_attempt_is_ended_in_the_queue_at_once(bench: Bench) -> None:
    queued(bench)

    bench.scheduled.withdraw(replace(bench.order, scheduler_id="7"))

    assert bench.told.ended == [(TOKEN, ("7",), False)], "nobody has to be asked first"


def test_an_attempt_that_has_begun_is_not_withdrawn_but_ended(bench: Bench) -> None:
    queued(bench).claim("7")

    assert not bench.scheduled.withdraw(bench.order)
    bench.tend()

    assert set(bench.told.ended) == {(TOKEN, ("7",), False)}


# Holding back


def crowd(bench: Bench, most: int, *priorities: int) -> list[Order]:
    """Make a bench with a limit, and orders of these priorities."""
    bench.scheduled.throttle.limits = {ALL: most}
    bench.told.replies = [Submitted(at=NOW, attempt=1, scheduler_id=str(n)) for n in range(len(priorities))]
    return [replace(bench.order, token=f"{n}.1.k3y", priority=p) for n, p in enumerate(priorities)]


def iterated(coming: list["Future[object]"]) -> Call:
    """Start clients that end when they are told to."""
    clients = iter(coming)
    return lambda _: next(clients)


def test_no_more_than_may_be_is_submitted_other_peoples_jobs_counted(bench: Bench) -> None:
    bench.told.others = {ALL: 1}
    orders = crowd(bench, 2, 0, 0)
    first = [bench.scheduled.submit(order, bench.now) for order in orders]

    assert all(isinstance(event, SubmitDeferred) for event in first)
    ((waiting, why),) = bench.scheduled.tend()
    assert (waiting, type(why)) == ("1.1.k3y", SubmitDeferred), "now for another reason"
    assert bench.scheduled.tend() == [("0.1.k3y", replace(TAKEN, scheduler_id="0"))]
    assert bench.told.submitted == ["0.1.k3y"]
    bench.scheduled.forget(orders[0])
    bench.scheduled.tend()
    assert bench.scheduled.tend() == [("1.1.k3y", replace(TAKEN, scheduler_id="1"))]


def test_who_looks_only_once_waits_for_what_an_answer_sets_going(bench: Bench) -> None:
    order, over_the_limit = crowd(bench, 1, 0, 0)
    coming: list[Future[object]] = [Future(), Future()]
    bench.scheduled.call = iterated(coming)
    bench.scheduled.submit(order, bench.now)
    bench.scheduled.submit(over_the_limit, bench.now)
    assert not bench.scheduled.settling()

    bench.scheduled.tend()
    assert bench.scheduled.settling(), "a question is under way"
    coming[0].set_result({})
    bench.scheduled.tend()
    assert bench.scheduled.settling(), "a submission is under way"
    coming[1].set_result(TAKEN)
    bench.scheduled.tend()

    assert not bench.scheduled.settling(), "the limit is reached"


@pytest.mark.parametrize(("knows", "settling"), [({TOKEN: [OVER]}, True), ({}, False), (None, False)])
def test_who_looks_only_once_waits_for_a_second_answer_but_not_for_a_silent_scheduler(
    bench: Bench, *, knows: dict[str, list[Entry]] | None, settling: bool
) -> None:
    queued(bench)
    bench.told.knows = knows

    bench.tend()

    assert bench.scheduled.settling() is settling


def test_the_highest_priority_goes_first(bench: Bench) -> None:
    for order in crowd(bench, 3, 0, 5, 1, 5):
        bench.scheduled.submit(order, bench.now)

    bench.scheduled.tend()

    assert bench.told.submitted == ["1.1.k3y", "3.1.k3y", "2.1.k3y"]


def test_between_two_submissions_passes_as_long_as_the_site_asks_for(bench: Bench) -> None:
    bench.scheduled.submit_interval_s = 30.0
    bench.told.others = {ALL: 0}
    first, second = crowd(bench, 9, 0, 0)
    bench.scheduled.submit(first, bench.now)
    bench.scheduled.submit(second, bench.now)
    bench.scheduled.tend()
    sent = list(bench.told.submitted)

    bench.now += 29.0
    bench.scheduled.tend()
    assert bench.told.submitted == sent == ["0.1.k3y"]
    due_in_s = bench.scheduled.due_in_s()
    assert due_in_s is not None
    assert due_in_s <= 1.0
    bench.now += 1.0
    bench.scheduled.tend()

    assert bench.told.submitted == ["0.1.k3y", "1.1.k3y"]


def test_what_waits_for_room_is_taken_back_at_once(bench: Bench) -> None:
    (order,) = crowd(bench, 0, 0)
    assert isinstance(bench.scheduled.submit(order, bench.now), SubmitDeferred)

    assert bench.scheduled.withdraw(order)
    bench.tend()

    assert (bench.told.submitted, bench.told.ended) == ([], [])


def test_what_was_taken_back_before_it_was_sent_makes_no_room(bench: Bench) -> None:
    bench.told.others = {ALL: 1}
    first, second = crowd(bench, 1, 0, 0)
    for order in (first, second):
        bench.scheduled.submit(order, bench.now)
    bench.scheduled.tend()

    bench.scheduled.withdraw(first)
    bench.scheduled.forget(first)
    bench.scheduled.tend()

    assert bench.told.submitted == []
