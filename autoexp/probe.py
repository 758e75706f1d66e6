"""Looking: what stands on disk for an open attempt becomes a `Snapshot`. Reads only, and decides nothing.

The order matters: the exit file is read first, so whatever was written before it is seen by the rest of the look.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autoexp import backends, checkpoints, hosts
from autoexp.endings import Exit, Said
from autoexp.files import read_record, read_regular
from autoexp.logs import LogFacts
from autoexp.model import Job, JobSpec
from autoexp.orders import WITHDRAWN
from autoexp.snapshot import Snapshot
from autoexp.tail import read_on

EXIT = {"token": str, "code": int, "signal": int | None, "asked": str | None, "at": int | float | None}
_TEXTS = dict.fromkeys(("token", "host", "boot_id", "pid_namespace", "gpus"), str | None)
STARTED = {**_TEXTS, "nodes": str | None, "pid": int | None, "start_time": int | None, "at": int | float | None}
GATE = {"code": int | None, "cause": str | None, "suspects": list | None}
SUBMISSION = {"at": str}
"""What kinds of values stand in an attempt's files."""
SETTLING_S = 2.0
"""How long a whole checkpoint that the tracker does not name yet must stay as it is."""
LONGEST_CLAIM = 256
"""Bytes: a process or job id, and more than that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What a save directory holds, as far as it counts."""

    own: tuple[int, ...] = ()
    linked: tuple[int, ...] = ()
    tracker: int | None = None
    unsettled: Mapping[int, float] | None = None


def attempt_dir(job_dir: Path, attempt: int) -> Path:
    """Return an attempt's directory."""
    return job_dir.joinpath("attempts", f"{attempt:03d}")


def look(
    job: Job, job_dir: Path, old: Snapshot | None, at: float, *, alive: bool | None, said: Said | None = None
) -> Snapshot:
    """Look at a job's open attempt; `alive` and `said` are what its executor says, None if it does not know."""
    folder, odd = attempt_dir(job_dir, job.attempt), dict[str, str]()
    ended = _exit(folder, job.token, odd)
    begun = read_record(folder / "started.json", STARTED, odd) or {}
    read_record(folder / "submission.json", SUBMISSION, odd)
    backend = backends.find(job.spec.backend or "command")
    known, rules = old.log if old else LogFacts(), job.spec.events
    log = read_on(folder / "output.log", known, backend, ended=ended is not None, rules=rules)
    if log.behind:  # how it ended is judged by the whole log
        ended = alive = None
    saved = _checkpoints(job, job_dir, old, at, ended=ended is not None)
    seen = Snapshot(
        at=at,
        attempt=job.attempt,
        scheduler_id=claim(folder, job.token, odd),
        host=begun.get("host"),
        nodes=str(begun.get("nodes") or ""),
        gate=read_record(folder / "gate.json", GATE, odd),
        exit=ended,
        alive=alive,
        said=None if _was_ended_by_us(job) else said,
        heard_at=math.inf if said is None else said.at,
        exit_since=None if ended is None else (old.exit_since if old and old.exit_since is not None else at),
        rebooted=_is_of_earlier_boot(begun),
        log=log,
        own=saved.own,
        linked=saved.linked,
        tracker=saved.tracker,
        unsettled=saved.unsettled or {},
        odd=odd,
    )
    gone = alive is False and ended is None
    since = (old.gone_since if old and old.gone_since is not None else at) if gone else None
    kept = said is not None and said.waits
    return replace(seen, gone_since=since, progress_at=seen.at if kept else _progress_at(old, seen, folder))


def due_again(seen: Snapshot, spec: JobSpec, visibility_s: float) -> list[float]:
    """Say when time alone would change what a look means."""
    due = [since + SETTLING_S for since in seen.unsettled.values()]
    if seen.log.behind:
        due.append(seen.at)
    ends = (since + visibility_s for since in (seen.gone_since, seen.exit_since) if since is not None)
    due += [at for at in ends if at > seen.at]
    if spec.no_progress_s is not None and seen.at - seen.progress_at <= spec.no_progress_s:
        due.append(seen.progress_at + spec.no_progress_s)
    return due


def _was_ended_by_us(job: Job) -> bool:
    return job.pending is not None or job.hung or bool(job.astray)


def claim(folder: Path, token: str | None, odd: dict[str, str] | None = None) -> str | None:
    """Read who claimed the attempt; a claim that is not written yet is none, nor is one that keeps it from running."""
    path = folder / f"run.{token}"
    try:
        said = read_regular(path, LONGEST_CLAIM).decode(errors="replace").strip()
    except OSError:
        return None
    if not said.isprintable() or said.startswith("-"):
        if odd is not None:
            odd[path.name] = f"{said[:20]!r} is no process and no job"
        return None
    return said if said not in ("", WITHDRAWN) else None


def _exit(folder: Path, token: str | None, odd: dict[str, str]) -> Exit | None:
    """Read how the attempt ended; what somebody else wrote there, without its token, is no end of it."""
    said = read_record(folder / "exit.json", EXIT, odd)
    if said is None or said["token"] != token:
        return None
    begun = read_record(folder / "started.json", STARTED) or {}
    return Exit(
        code=said["code"],
        signal=said.get("signal") or None,
        asked=said.get("asked") or "",
        rebooted=_is_of_earlier_boot(begun),
        lasted_s=_lasted_s(begun.get("at"), said.get("at")),
        ctime_ns=(folder / "exit.json").lstat().st_ctime_ns,
    )


def _lasted_s(began: object, ended: object) -> float | None:
    if isinstance(began, int | float) and isinstance(ended, int | float):
        return round(max(ended - began, 0.0), 3)
    return None


def _is_of_earlier_boot(begun: Mapping[str, object]) -> bool:
    return begun.get("host") == hosts.hostname() and begun.get("boot_id") != hosts.boot_id()


def _progress_at(old: Snapshot | None, seen: Snapshot, folder: Path) -> float:
    """Say when the attempt last got further: an iteration where its log tells them, otherwise any new line.

    Whoever has only just begun to watch knows no better than when the log was last written to.
    """
    if old is None:
        return min(seen.at, _written_at(folder / "output.log") or seen.at)
    if old.scheduler_id != seen.scheduler_id or (old.gate is None) != (seen.gate is None):
        return seen.at
    tells = seen.log.iteration is not None
    further = seen.log.iteration != old.log.iteration if tells else seen.log.offset != old.log.offset
    return seen.at if further or seen.own != old.own else old.progress_at


def _written_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _checkpoints(job: Job, job_dir: Path, old: Snapshot | None, at: float, *, ended: bool) -> Checkpoints:
    """Judge what is new in the save directory; what was whole once stays so."""
    folder = job_dir / "checkpoints"
    if job.spec.output != "checkpoints":
        return Checkpoints()
    tracker = checkpoints.read_tracker(folder)
    number = tracker if isinstance(tracker, int) else None
    own, linked, unsettled = set(job.checkpoints), set(old.linked if old else ()), {}
    for iteration, path in checkpoints.iterations(folder).items():
        if iteration in own or iteration in linked or not checkpoints.judge(path).complete:
            continue
        if path.is_symlink():
            linked.add(iteration)
            continue
        since = (old.unsettled.get(iteration) if old else None) or at
        if ended or (number or 0) >= iteration or at - since >= SETTLING_S:
            own.add(iteration)
        else:
            unsettled[iteration] = since
    return Checkpoints(own=tuple(sorted(own)), linked=tuple(sorted(linked)), tracker=number, unsettled=unsettled)
