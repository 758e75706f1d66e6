"""Facts, past tense. An event's trigger is the name by which `lifecycle.TABLE` and the journal know it.

Observed events come from the difference of two snapshots, outcomes from carrying out an action, and asked ones
from people, clocks and planning. `at` is seconds since the epoch; `attempt` is the attempt an event speaks of,
None where it speaks of the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from autoexp.model import JSON, EndingClass, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact about one job."""

    trigger_name: ClassVar[str] = ""
    at: float
    attempt: int | None = None

    @property
    def trigger(self) -> str:
        """The name of this event in the table."""
        return self.trigger_name

    def evidence(self) -> dict[str, JSON]:
        """What the journal keeps of it: every field that says something."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in {"at", "attempt"})
        return {name: value for name, value in named if value not in (None, "", (), {})}


# Asked by planning


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """The plan has this job."""

    trigger_name = "planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeared(Event):
    """A parent's checkpoint, or a parent itself, brought this job about."""

    trigger_name = "appeared"
    parent: str
    iteration: int | None = None
    iterations: tuple[int, ...] = ()
    """Those of the batch it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired(Event):
    """The plan no longer has this job."""

    trigger_name = "retired"


# Asked by conditions and clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionsMet(Event):
    """The start conditions hold."""

    trigger_name = "conditions_met"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionsDied(Event):
    """The start conditions can no longer hold."""

    trigger_name = "conditions_died"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffElapsed(Event):
    """The wait before the next attempt is over."""

    trigger_name = "backoff_elapsed"


# Asked by people


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested(Event):
    """A marker file was dropped; `inode` and `ctime_ns` say which, so that it is obeyed once."""

    verb: Verb
    reason: str = ""
    inode: int = 0
    ctime_ns: int = 0
    params: Mapping[str, JSON] = field(default_factory=dict)
    """What a restart changes."""

    @property
    def trigger(self) -> str:
        """One trigger for each verb: `hold_requested` and so on."""
        return self.verb.trigger


# Asked by the checkpoints that are there


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsGathered(Event):
    """These checkpoints are in no job of a template that makes batches of them."""

    trigger_name = "checkpoints_gathered"
    template: str
    iterations: tuple[int, ...]
    complete: bool = False
    """No other belongs to them: there are enough, or they have a job on disk that the journal has lost."""


# Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Event):
    """The executor took the attempt."""

    trigger_name = "submitted"
    scheduler_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRefused(Event):
    """The executor, or a hook before it, did not take the attempt; nothing runs."""

    trigger_name = "submit_refused"
    reason: str
    fix: str = ""
    temporary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitDeferred(Event):
    """The executor will submit it as soon as it may."""

    trigger_name = "submit_deferred"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitLost(Event):
    """Nobody knows yet whether the executor took the attempt."""

    trigger_name = "submit_lost"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePassed(Event):
    """The gate let the attempt go on."""

    trigger_name = "gate_passed"
    measured: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFailed(Event):
    """The gate said no; the attempt ends by itself."""

    trigger_name = "gate_failed"
    code: int
    cause: str


# Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFound(Event):
    """On disk are attempts of the job that the journal has lost, with all of var or with its tail; `reason` says so."""

    trigger_name = "attempt_found"
    reason: str
    number: int = 0
    """The newest that began, or is to begin; 0 if there is none."""
    begun: bool = False
    scheduler_id: str | None = None
    """What its claim says."""
    ahead: int = 0
    """The one that waits for it to end."""
    dropped: int = 0
    """The newest that was taken back: its number is used up."""
    taken_back: bool = False
    """So was the one that the journal believes to be on its way."""
    unclear: bool = False
    """Nobody can tell whose attempt it is."""
    kept: Mapping[str, JSON] = field(default_factory=dict)
    """The job's fields as they were when that attempt was begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """`run.sh` claimed the attempt."""

    trigger_name = "started"
    scheduler_id: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(Event):
    """A new iteration appeared in the log."""

    trigger_name = "progressed"
    iteration: int
    inode: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A whole checkpoint of the job's own stands on disk; `path` is relative to the job's directory."""

    trigger_name = "checkpoint_saved"
    path: str
    iteration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(Event):
    """No progress for longer than the stage allows."""

    trigger_name = "stalled"
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WentAstray(Event):
    """The log says that the attempt does not continue from where it was to; `reason` says how."""

    trigger_name = "went_astray"
    reason: str
    inode: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMatched(Event):
    """A line of the log is one that the recipe waits for: `event` is its name there."""

    trigger_name = "log_matched"
    event: str
    line: str
    inode: int
    offset: int
    groups: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """What the recipe wants done about an event was done, or cannot be."""

    trigger_name = "answered"
    event: str
    number: int
    done: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The attempt is over; `ending` says how and `reason` why that is thought."""

    trigger_name = "ended"
    ending: EndingClass
    reason: str
    code: int | None = None
    signal: int | None = None
    suspects: tuple[str, ...] = ()
    """Nodes that it is to be blamed on."""
    lasted_s: float | None = None
    """From its start to its end, by the clock of the host it ran on."""
    ctime_ns: int | None = None
    """When its exit file was put there."""


EVENTS: Mapping[str, type[Event]] = {
    **{
        kind.trigger_name: kind
        for kind in (
            Planned,
            Appeared,
            Retired,
            ConditionsMet,
            ConditionsDied,
            BackoffElapsed,
            Submitted,
            SubmitRefused,
            SubmitDeferred,
            SubmitLost,
            GatePassed,
            GateFailed,
            AttemptFound,
            Started,
            Progressed,
            CheckpointSaved,
            CheckpointsGathered,
            Stalled,
            WentAstray,
            LogMatched,
            Answered,
            Ended,
        )
    },
    **{verb.trigger: Requested for verb in Verb},
}
"""The whole alphabet: trigger -> class."""
