"""What is known of an attempt that was given to a batch scheduler: what the scheduler said, and what stands on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoexp import probe
from autoexp.endings import Said
from autoexp.files import read_record
from autoexp.journal import unstamp
from autoexp.model import EndingClass
from autoexp.orders import Order

CLOCK_SLACK_S = 600.0
"""How far the scheduler's clock may be behind ours: what is over, and was submitted longer before, is not ours."""


LINGERS_S = 60.0
"""How long a scheduler may take to hear that a job has ended which said so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a scheduler says of one job."""

    id: str
    submitted_at: float
    """Seconds since the epoch, by the scheduler's clock."""
    live: bool
    """It is queued, or runs, or is about to run again; False once it never will."""
    said: Said = field(default_factory=Said)
    """How it stands, or how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A job that a scheduler is asked about, by its name."""

    name: str
    id: str | None = None
    """What an answer, or the claim, has called it."""
    since: float = 0.0
    """When it was first submitted, seconds since the epoch, by our clock."""
    over: bool = False
    """Only what lives of it matters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the scheduler last said about an attempt."""

    at: float
    entries: tuple[Entry, ...]
    live: bool | None
    """What it says of the job that counts; None if it does not know one."""
    over_since: float | None
    """Since when it says in a row that this one is over."""
    said: Said
    """What it says of the one that counts."""

    @property
    def live_ids(self) -> list[str]:
        """List all of its jobs that are not over."""
        return [entry.id for entry in self.entries if entry.live]


NO_WORD = (None, EndingClass.UNKNOWN)


@dataclass(slots=True)
class Attempt:
    """An attempt we ask about: an open one, one whose submission is in doubt, or one that is left behind."""

    order: Order
    answer: Answer | None = None
    first: Entry | None = None
    """The first of its jobs that an answer, or sbatch itself, named: it was taken, whatever later answers leave out."""
    quiet_since: float | None = None
    """Since when no client of ours is at work on its submission, which is in doubt."""
    doubted: bool = False
    """Somebody wants it to run, and nobody knows whether the scheduler has it."""
    kill_at: float | None = None
    """When it is to be ended for good."""
    asked: bool = False
    """Its program got the polite signal."""
    killed: bool = False
    """Its grace was over, and it was ended for good."""
    denied: bool = False
    """It was sent again, because the scheduler said that it has no such job, and was refused then."""
    doubt: str = ""
    """What the client said that left its submission in doubt."""
    deferred: str = ""
    """Why it is not submitted yet, as far as that was told."""
    left_at: float | None = None
    """When it was over; what the scheduler still has of it is ended."""
    heard_at: float | None = None
    """When the scheduler last answered, be it that it knows of no such job: then it does not keep it from running."""
    awaited: bool = False
    """Somebody needs to know how it stands."""
    past: frozenset[str] = frozenset()
    """Jobs that were over when it was sent again: only the claim can make one of them count once more."""
    _claimed: str | None = None
    _submitted_at: float | None = None

    @property
    def alive(self) -> bool | None:
        """Say what the scheduler said last; that it is over takes two answers in a row."""
        if self.answer is None or self.answer.at == self.answer.over_since:
            return None
        return self.answer.live

    @property
    def word_at(self) -> float | None:
        """Say when the scheduler last answered; None while it said only once that this is over."""
        said = self.answer
        is_once = said is not None and said.live is False and said.at == said.over_since
        return None if is_once else self.heard_at

    @property
    def left_without_a_word(self) -> bool:
        """Say whether it is over by the scheduler's word, without having begun and for no reason that this tells."""
        return self.alive is False and self._is_over_for_no_reason()

    @property
    def seems_over(self) -> bool:
        """Say whether the scheduler's word of that is one answer old, and may be wrong."""
        return self.alive is None and self._is_over_for_no_reason()

    def _is_over_for_no_reason(self) -> bool:
        said = self.answer
        return said is not None and said.live is False and said.said.ending in NO_WORD and self.claimed() is None

    def claimed(self) -> str | None:
        """Say which of its jobs is the one that counts; once there is one, it stays that."""
        if self._claimed is None:
            self._claimed = probe.claim(self.order.attempt_dir, self.order.token)
        return self._claimed

    def submitted_at(self) -> float | None:
        """Say when it was first submitted; None if it was not, or was refused."""
        if self._submitted_at is None:
            odd = dict[str, str]()
            try:
                said = read_record(self.order.submission, probe.SUBMISSION, odd)
                self._submitted_at = None if said is None else unstamp(said["at"])
            except (OSError, ValueError, OverflowError) as error:
                odd["submission.json"] = str(error)
            for name, what in odd.items():  # it may have been, after its intent was written
                self.doubt = f"{name}: {what}"
                self._submitted_at = _oldest(self.order.submission, self.order.attempt_dir / "intent.json")
        return self._submitted_at

    def ids(self) -> list[str]:
        """List what its jobs are called, as far as that is known."""
        known = (self.claimed(), self.order.scheduler_id, self.first.id if self.first else None)
        live = self.answer.live_ids if self.answer else []
        return list(dict.fromkeys(name for name in (*known, *live) if name is not None))

    def left_behind(self, ids: Sequence[str], now: float) -> list[str]:
        """Choose those of its jobs that are to be ended, once it is over.

        What said how it ended is about to leave by itself: to cancel it meanwhile would call it cancelled for good.
        """
        lingers = self.said_its_end and self.left_at is not None and now < self.left_at + LINGERS_S
        return [name for name in ids if not lingers or name != self.claimed()]

    @property
    def said_its_end(self) -> bool:
        """Say whether its own exit file tells how it ended."""
        return self.order.attempt_dir.joinpath("exit.json").exists()

    def is_gone(self, message_timeout_s: float) -> bool:
        """Say whether the scheduler has none of its jobs, nor can be about to take one, once it is over."""
        if self.left_at is None or self.answer is None:
            return False
        may_come_s = 0.0 if self.first or self.claimed() else message_timeout_s
        return self.answer.at > self.left_at + may_come_s

    def begin_anew(self) -> None:
        """It is sent again: what was said of it before is of jobs that are over."""
        self.past |= {entry.id for entry in (self.answer.entries if self.answer else ()) if not entry.live}
        self.answer = self.first = None

    def question(self) -> Question:
        """Say what is to be asked about it."""
        ids = self.ids()
        since = self.submitted_at() or 0.0
        over = self.left_at is not None
        return Question(name=self.order.token, id=ids[0] if ids else None, since=since, over=over)

    @property
    def kill_due_at(self) -> float | None:
        """Say when it is to be ended for good; None if it is not, or was, or is over."""
        return None if self.killed or self.left_at is not None else self.kill_at

    @property
    def is_settling(self) -> bool:
        """Say whether the next answers settle how it stands: whether it was taken, whether it is over, and why."""
        ends = self.answer is not None and self.answer.over_since is not None
        return self.doubted or (self.left_at is None and (ends or self.awaited))

    @property
    def is_to_be_ended(self) -> bool:
        """Say whether it is over for us, and said nothing itself: what is left of it may still run."""
        return self.left_at is not None and not self.said_its_end

    @property
    def is_tense(self) -> bool:
        """Say whether it waits for an answer."""
        return self.is_settling or self.awaited or self.kill_at is not None or self.is_to_be_ended

    def take(self, said: Sequence[Entry], now: float) -> None:
        """Keep what the scheduler says; jobs that were over before the submission are none of it."""
        had_begun = self._claimed is not None  # when it was asked; else that it waits is old by now
        submitted_at = self.submitted_at()
        since = (now if submitted_at is None else submitted_at) - CLOCK_SLACK_S
        known = [entry for entry in said if entry.id not in self.past or entry.live or entry.id == self.claimed()]
        entries = tuple(entry for entry in known if entry.live or entry.submitted_at >= since)
        if self.first is None and entries:
            self.first = min(entries, key=lambda entry: entry.submitted_at)
        count = [entry for entry in entries if self.claimed() in (None, entry.id)]
        live = any(entry.live for entry in count) if count else None
        before = None if self.answer is None else self.answer.over_since
        over_since = (now if before is None else before) if live is False else None
        last = max(count, key=lambda entry: (entry.live, entry.submitted_at), default=None)
        word = Said() if last is None else replace(last.said, waits=last.said.waits and had_begun)
        self.answer = Answer(now, entries, live, over_since, word)


def _oldest(*paths: Path) -> float:
    """Return when the oldest of these files was written."""
    return min(path.lstat().st_mtime for path in paths if path.exists())
