"""What stands on disk for a job's open attempt, and what its difference from the last look means. Pure."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.branching import astray
from autoexp.endings import Exit, Said, classify, needs_word
from autoexp.events import (
    CheckpointSaved,
    Ended,
    Event,
    GateFailed,
    GatePassed,
    LogMatched,
    Progressed,
    Stalled,
    Started,
    WentAstray,
)
from autoexp.logs import OF_THE_SCHEDULER, LogFacts, Seen
from autoexp.model import JSON, EndingClass, JobSpec, Remedy
from autoexp.nodelists import spelled_out
from autoexp.world import checkpoint_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at one attempt."""

    at: float
    attempt: int
    scheduler_id: str | None = None
    """What the claim says; None while nothing has claimed the attempt."""
    host: str | None = None
    nodes: str = ""
    """The nodes it has, as the batch scheduler lists them."""
    gate: Mapping[str, JSON] | None = None
    exit: Exit | None = None
    alive: bool | None = None
    """Whether the attempt runs, as far as the executor knows; None is unknown, and moves nothing."""
    rebooted: bool = False
    """The attempt's host has been started anew since."""
    said: Said | None = None
    """What a batch scheduler says of it; None without one, and where it was us who ended it."""
    heard_at: float | None = math.inf
    """When a batch scheduler last said whether it runs; None if it has not yet, infinite where there is none to ask."""
    exit_since: float | None = None
    """When its exit file was first seen."""
    gone_since: float | None = None
    """When it was first seen neither to run nor to have left an exit file."""
    log: LogFacts = field(default_factory=LogFacts)
    progress_at: float = 0.0
    """When it last got further."""
    own: tuple[int, ...] = ()
    """Iterations of whole checkpoints of its own."""
    linked: tuple[int, ...] = ()
    """Iterations of whole checkpoints that are another run's."""
    tracker: int | None = None
    unsettled: Mapping[int, float] = field(default_factory=dict)
    """Checkpoints that are whole while the tracker does not name them yet, and since when they look like that."""
    odd: Mapping[str, str] = field(default_factory=dict)
    """Files of the attempt that count as if they were not there, and what is wrong with them."""


def changes(old: Snapshot | None, new: Snapshot, spec: JobSpec, visibility_s: float) -> Iterator[Event]:
    """Say what happened between two looks at the same attempt, in the order in which it did.

    `visibility_s` is how long an exit file may take to be seen after the executor says that the attempt is over.
    """
    yield from _beginning(old, new)
    yield from _straying(old, new, spec)
    yield from _matches(old, new)
    yield from _progress(old, new, spec)
    yield from _checkpoints(old, new)
    yield from _ending(new, spec, visibility_s)


def _beginning(old: Snapshot | None, new: Snapshot) -> Iterator[Event]:
    if new.scheduler_id is not None and (old is None or old.scheduler_id is None):
        yield Started(at=new.at, attempt=new.attempt, scheduler_id=new.scheduler_id, host=new.host)
    if new.gate is None or (old is not None and old.gate is not None):
        return
    code = new.gate.get("code")
    if code == 0:
        yield GatePassed(at=new.at, attempt=new.attempt, measured=new.gate)
    else:
        cause = str(new.gate.get("cause") or "it says nothing")
        yield GateFailed(at=new.at, attempt=new.attempt, code=code if isinstance(code, int) else -1, cause=cause)


def _straying(old: Snapshot | None, new: Snapshot, spec: JobSpec) -> Iterator[Event]:
    reason = astray(spec, new.log)
    if reason and not (old and astray(spec, old.log)):
        place = {"inode": new.log.inode, "offset": new.log.offset}
        yield WentAstray(at=new.at, attempt=new.attempt, reason=reason, **place)


def _matches(old: Snapshot | None, new: Snapshot) -> Iterator[Event]:
    known = old.log.matches if old is not None and old.log.inode == new.log.inode else ()
    grown = new.log.matches[: len(known)] == known  # else it was read anew; the job knows what is no news
    for match in new.log.matches[len(known) if grown else 0 :]:
        yield LogMatched(
            at=new.at,
            attempt=new.attempt,
            event=match.rule,
            line=match.line,
            groups=match.groups,
            inode=new.log.inode,
            offset=match.offset,
        )


def _progress(old: Snapshot | None, new: Snapshot, spec: JobSpec) -> Iterator[Event]:
    limit = spec.no_progress_s
    if limit is None or not _can_progress(new, spec):
        return
    idle_s = new.at - new.progress_at
    if idle_s > limit:
        if new.alive is not False and not is_in_doubt(new, spec):
            yield Stalled(at=new.at, attempt=new.attempt, idle_s=round(idle_s, 3))
    elif old is None or old.at - old.progress_at > limit:
        place = {"inode": new.log.inode, "offset": new.log.offset}
        yield Progressed(at=new.at, attempt=new.attempt, iteration=new.log.iteration or 0, **place)


def _checkpoints(old: Snapshot | None, new: Snapshot) -> Iterator[Event]:
    for iteration in sorted(set(new.own) - set(old.own if old else ())):
        path = f"checkpoints/{checkpoint_name(iteration)}"
        yield CheckpointSaved(at=new.at, attempt=new.attempt, path=path, iteration=iteration)


def _ending(new: Snapshot, spec: JobSpec, visibility_s: float) -> Iterator[Event]:
    if new.exit is not None:
        is_recent = new.at - (new.exit_since or new.at) < visibility_s
        if awaits_word(new, spec) and (is_recent or new.alive):  # a node that goes down is said to run for minutes
            return
        ending, reason = classify(new.exit, _seen(new), spec, new.gate, new.said)
        yield Ended(
            at=new.at,
            attempt=new.attempt,
            ending=ending,
            reason=reason,
            code=new.exit.code,
            signal=new.exit.signal,
            suspects=_suspects(new, ending, spec),
            lasted_s=new.exit.lasted_s,
            ctime_ns=new.exit.ctime_ns,
        )
    elif new.gone_since is not None and new.at - new.gone_since >= visibility_s:
        ending, reason = _vanished(new)
        suspects = _suspects(new, ending, spec)
        yield Ended(at=new.at, attempt=new.attempt, ending=ending, reason=reason, suspects=suspects)


_FAILED_NODE = re.compile(r"Node failure on (\S+)|ON (\S+) CANCELLED AT \S+ DUE TO NODE FAILURE")


def _suspects(new: Snapshot, ending: EndingClass, spec: JobSpec) -> tuple[str, ...]:
    """Name the nodes that an ending is to be blamed on, if on any: never a guess among several.

    What a log says of the network is as likely due to the other end: no node is blamed unless the recipe wants it.
    """
    nodes = tuple(spelled_out(new.nodes)) or (new.said.hosts if new.said else ())
    if ending is EndingClass.NETWORK and new.gate is not None and new.gate.get("code"):
        said = new.gate.get("suspects")
        return tuple(node for node in said if node in nodes) if isinstance(said, list) else ()
    answer = spec.retry.when.get(ending)
    is_doubtful = ending is EndingClass.NETWORK and (answer is None or answer.remedy is not Remedy.EXCLUDE_NODE)
    if ending is EndingClass.SUCCESS or len(nodes) == 1:
        return () if ending is EndingClass.SUCCESS or is_doubtful else nodes
    named = _FAILED_NODE.search(new.log.symptom_line) if ending is EndingClass.NODE_FAIL else None
    return tuple(node for node in nodes if named and node in named.groups())


def _can_progress(new: Snapshot, spec: JobSpec) -> bool:
    at_the_gate = bool(spec.gate) and new.gate is None
    return new.exit is None and not at_the_gate


def is_in_doubt(new: Snapshot, spec: JobSpec) -> bool:
    """Say whether it may be its scheduler that has kept it from getting further for so long: that is to be asked."""
    limit = spec.no_progress_s
    waits_in_line = new.scheduler_id is None
    if limit is None or waits_in_line or new.alive is False or not _can_progress(new, spec):
        return False
    if new.at - new.progress_at <= limit:
        return False
    return new.heard_at is None or new.heard_at < new.progress_at + limit


def awaits_word(new: Snapshot, spec: JobSpec) -> bool:
    """Say whether only the scheduler can tell why it ended, and has not yet."""
    if new.exit is None or new.said is None or new.said.ending is not None:
        return False
    return needs_word(new.exit, _seen(new), spec, new.gate)


def _seen(new: Snapshot) -> Seen:
    return Seen(log=new.log, tracker=new.tracker, checkpoints=(*new.own, *new.linked))


def _vanished(new: Snapshot) -> tuple[EndingClass, str]:
    no_word = "its exit.json cannot be read" if "exit.json" in new.odd else "it left no exit file"
    if new.rebooted:
        return EndingClass.NODE_FAIL, "its host was started anew while it ran"
    told = new.said is not None and new.said.ending not in (None, EndingClass.CRASHED)
    if new.log.symptom is not None and (new.log.symptom in OF_THE_SCHEDULER or not told):
        return new.log.symptom, f"{no_word}: {new.log.symptom_line}"
    if new.said is not None and new.said.ending is not None:
        never = "" if new.scheduler_id else ", and it never began"
        ending = EndingClass.LAUNCH if never and new.said.ending is EndingClass.CRASHED else new.said.ending
        return ending, f"{new.said.words}{never}; {no_word}"
    if new.scheduler_id is None:
        return EndingClass.UNKNOWN, "the executor no longer knows it, and nothing says that it began"
    return EndingClass.CRASHED, f"its processes are gone, and {no_word} (killed by SIGKILL?)"
