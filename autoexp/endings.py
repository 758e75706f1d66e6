"""Why an attempt ended: its exit file, its log's own evidence, and its backend's idea of being done. Pure."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoexp import backends
from autoexp.branching import unconfirmed
from autoexp.logs import OF_THE_SCHEDULER, Seen
from autoexp.model import JSON, EndingClass, JobSpec

COMMAND_CODES = {126: "the program may not be executed", 127: "the program was not found"}
SIGNALS_OF_A_PERSON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
USAGE_ERROR = 2
GATE_UNREADABLE, GATE_MISFIT = 44, 48
"""A gate's codes for output that is missing or torn, and for other ranks or hosts than those asked for."""
CANNOT_BE_RUN = " cannot be run: "
"""What the gate says of a program that is not there."""
OF_SLURM = "slurmstepd: error:"
"""How Slurm's own lines in a job's log begin."""
BEFORE_THE_LIMIT = "USR2"
"""The signal that a scheduler is told to send to run.sh a while before the time limit."""
WISHES_TO_END = (BEFORE_THE_LIMIT, "TERM", "INT", "HUP")
"""Who gets one of these and leaves with exit code 0 has saved, and is not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What exit.json says."""

    code: int
    signal: int | None = None
    """The signal that ended the program, if one did."""
    asked: str = ""
    """The signal that run.sh itself was sent, by its short name."""
    rebooted: bool = False
    """It was written during an earlier boot of this host, as the host went down."""
    lasted_s: float | None = None
    """From the start of run.sh to its end."""
    ctime_ns: int | None = field(default=None, compare=False)
    """When it was put there, by the file system's clock, as markers are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a batch scheduler says of an attempt."""

    ending: EndingClass | None = None
    """How it ended; None while it has not, or nobody knows."""
    words: str = ""
    hosts: tuple[str, ...] = ()
    """The hosts it runs, or ran, on."""
    waits: bool = False
    """It does not run at present: it is suspended, or queued again."""
    at: float | None = field(default=None, compare=False)
    """When it said so; None while it has said nothing."""


def classify(
    ended: Exit, seen: Seen, spec: JobSpec, gate: Mapping[str, JSON] | None, said: Said | None = None
) -> tuple[EndingClass, str]:
    """Name the class of an ending, and the reason for a person to read; `said` is the scheduler's word."""
    if ended.code == 0:
        return _finished(ended, seen, spec, said)
    if gate is not None and gate.get("code") == ended.code:
        return _kept_out(ended.code, str(gate.get("cause"))), f"the gate failed ({ended.code}): {gate.get('cause')}"
    if said is not None and said.ending is EndingClass.HOST_OOM and seen.log.symptom in (None, EndingClass.CRASHED):
        return EndingClass.HOST_OOM, f"{_how(ended)}: {said.words}"
    was_killed = seen.log.symptom is EndingClass.CRASHED  # a part of it, which tells less than that it was asked to end
    is_echo = seen.log.symptom is EndingClass.NETWORK and ended.asked in WISHES_TO_END  # of ranks that left one by one
    if seen.log.symptom is not None and not was_killed and not is_echo:
        return seen.log.symptom, f"{_how(ended)}: {seen.log.symptom_line}"
    if seen.log.diverged:
        return EndingClass.DIVERGED, f"{_how(ended)}: the loss is not a number at iteration {seen.log.iteration}"
    if ended.code in COMMAND_CODES:
        return EndingClass.LAUNCH, f"exit code {ended.code}: {COMMAND_CODES[ended.code]}{_last_words(seen)}"
    if ended.signal in SIGNALS_OF_A_PERSON or ended.asked:
        return _stopped(ended, said)
    ending = EndingClass.CONFIG if ended.code == USAGE_ERROR else EndingClass.CRASHED
    return ending, f"{_how(ended)}: {seen.log.symptom_line}" if was_killed else f"{_how(ended)}{_last_words(seen)}"


def needs_word(ended: Exit, seen: Seen, spec: JobSpec, gate: Mapping[str, JSON] | None) -> bool:
    """Say whether an ending looks the same from here whoever caused it: a person, or the scheduler by itself."""
    ending, _ = classify(ended, seen, spec, gate)
    if seen.log.symptom is EndingClass.CANCELLED:
        return False  # that line is written when a person has ended it
    was_killed = ended.signal == signal.SIGKILL or seen.log.symptom is EndingClass.CRASHED
    return ending is EndingClass.CANCELLED or (was_killed and ending is EndingClass.CRASHED)


def _kept_out(code: int, cause: str) -> EndingClass:
    """Tell what no other node would mend from what another one may."""
    if code == GATE_MISFIT:
        return EndingClass.CONFIG
    return EndingClass.LAUNCH if code == GATE_UNREADABLE and CANNOT_BE_RUN in cause else EndingClass.NETWORK


def _finished(ended: Exit, seen: Seen, spec: JobSpec, said: Said | None) -> tuple[EndingClass, str]:
    verdict = backends.find(spec.backend or "command").finished(spec.args, seen)
    is_command = (spec.backend or "command") == "command"
    cut_short = ended.asked in WISHES_TO_END and is_command  # it says nothing else
    was_told = seen.log.symptom is EndingClass.HOST_OOM and OF_SLURM in seen.log.symptom_line
    if is_command and was_told:  # by a script that did not look
        return EndingClass.HOST_OOM, f"{_how(ended)}: {seen.log.symptom_line}"
    if verdict.holds and not cut_short:
        return EndingClass.SUCCESS, "; ".join(filter(None, (verdict.reason, unconfirmed(spec, seen.log))))
    if seen.log.diverged:
        return EndingClass.DIVERGED, verdict.reason
    if seen.log.symptom in OF_THE_SCHEDULER:
        return seen.log.symptom, f"{_how(ended)}: {seen.log.symptom_line}"
    if ended.asked:
        return _stopped(ended, said)
    if seen.log.symptom is EndingClass.HOST_OOM:
        return EndingClass.HOST_OOM, f"{_how(ended)}: {seen.log.symptom_line}"
    return EndingClass.UNKNOWN, verdict.reason


def _stopped(ended: Exit, said: Said | None) -> tuple[EndingClass, str]:
    if ended.rebooted:
        return EndingClass.NODE_FAIL, "its host was shut down while it ran"
    if ended.asked == BEFORE_THE_LIMIT:
        return EndingClass.TIME_LIMIT, f"{_how(ended)}, ahead of its time limit"
    if said is not None and said.ending is EndingClass.CRASHED and not ended.asked:
        return EndingClass.CRASHED, f"{_how(ended)}, and nobody cancelled it: {said.words}"
    if said is not None and said.ending not in (None, EndingClass.UNKNOWN, EndingClass.CRASHED):
        return said.ending, f"{_how(ended)}: {said.words}"
    return EndingClass.CANCELLED, _how(ended)


def _how(ended: Exit) -> str:
    if ended.signal:
        known = ended.signal in set(signal.Signals)
        return f"ended by {signal.Signals(ended.signal).name if known else f'signal {ended.signal}'}"
    return f"ended by SIG{ended.asked}" if ended.asked and ended.code == 0 else f"exit code {ended.code}"


def _last_words(seen: Seen) -> str:
    return f": {seen.log.last_line}" if seen.log.last_line else ""
