"""Attempts that stand on disk and that the journal has lost: with var/ gone, or an older copy of it put back.

Every attempt's intent.json names the study's key, and what was known of its job then. The newest attempt that was not
taken back is the job's, whatever the journal says; one that waits for another to end comes after that one.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp.effects import KEPT
from autoexp.events import AttemptFound
from autoexp.facts import Fact
from autoexp.files import read_json, read_regular
from autoexp.model import ACTIVE, Job
from autoexp.orders import WITHDRAWN
from autoexp.probe import LONGEST_CLAIM, attempt_dir
from autoexp.registry import Key, Ledger

_TRACES = ("started.json", "exit.json")
_PLACE = {"attempt", "inode", "offset"}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt on disk."""

    number: int
    claim: str | None
    """What stands in its claim; None without one."""
    intent: Mapping[str, Any]

    @property
    def taken_back(self) -> bool:
        return self.claim == WITHDRAWN

    @property
    def begun(self) -> bool:
        return self.claim is not None and not self.taken_back

    @property
    def after(self) -> Any:
        """The attempt that it waits for, if it was submitted behind that one."""
        return None if self.claim is not None else self.intent.get("after")


def lost_attempts(ledger: Ledger, keys: Iterable[Key], now: float) -> Iterator[Fact]:
    """Find attempts of these jobs of one study that the journal does not know of."""
    for key in keys:
        found = lost_attempt(ledger.jobs[key.job], ledger.dir_of(key.job), now)
        if found is not None:
            yield Fact(key, found)


def lost_attempt(job: Job, folder: Path, now: float) -> AttemptFound | None:
    """Say which attempt on disk is a job's, or was taken back, if the journal does not know it."""
    try:
        newer = [n for n in numbers(folder) if n > max(job.attempt, job.ahead, job.dropped)]
        if not newer and not job.unused:
            return None
        lost = list(_lost(job, folder, sorted(newer, reverse=True)))
        own = _own(job, folder)
    except (OSError, ValueError) as error:
        reason = f"nobody can tell whose attempt it is: {error}; look into it, and move it away or mend it"
        return AttemptFound(at=now, attempt=job.attempt, unclear=True, reason=reason)
    if own is not None:
        lost.append(own)
    return _found(job, lost, now)


def numbers(folder: Path) -> list[int]:
    """List a job's attempts on disk.

    Raises:
        OSError: they cannot be listed.
    """
    try:
        names = os.listdir(f"{folder}/attempts")  # noqa: PTH208 - asked for every job
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name) for name in names if name.isascii() and name.isdecimal() and name == f"{int(name):03d}"]


def claim_of(folder: Path, number: int, token: str) -> str | None:
    """Read what stands in an attempt's claim; None without one.

    Raises:
        OSError: it cannot be read.
    """
    try:
        path = attempt_dir(folder, number) / f"run.{token}"
        return read_regular(path, LONGEST_CLAIM).decode(errors="replace").strip()
    except FileNotFoundError:
        return None


def _lost(job: Job, folder: Path, newer: list[int]) -> Iterator[_Attempt]:
    """List the newest attempts of the job's own, down to the one that is its present one."""
    for number in newer:
        found = _read(job, folder, number)
        if found is not None:
            yield found
            if not found.taken_back and not found.after:
                return


def _own(job: Job, folder: Path) -> _Attempt | None:
    """Return the attempt that the journal believes to have never begun, if it was taken back, or has begun.

    Whether one has begun that is on its way is looked at anyway.
    """
    if not job.unused or job.token is None or job.withdrawn:
        return None
    try:
        size = os.stat(f"{folder}/attempts/{job.attempt:03d}/run.{job.token}").st_size  # noqa: PTH116 - asked often
    except (FileNotFoundError, NotADirectoryError):
        return None
    if job.state in ACTIVE and size != len(WITHDRAWN) + 1:
        return None
    claim = claim_of(folder, job.attempt, job.token)
    own = None if claim is None else _Attempt(job.attempt, claim, {})
    return None if own is not None and own.begun and job.state in ACTIVE else own


def _read(job: Job, folder: Path, number: int) -> _Attempt | None:
    """Read an attempt; None if it is another study's, or nothing was ever done about it.

    Raises:
        OSError, ValueError: nobody can tell.
    """
    place, token = attempt_dir(folder, number), f"{job.id}.{number}.{job.spec.key}"
    intent = read_json(place / "intent.json")
    if intent is None:
        names = os.listdir(place)  # noqa: PTH208 - as above
        if "intent.json" in names or any(name in _TRACES or name.startswith(f"run.{job.id}.") for name in names):
            raise ValueError(f"{place / 'intent.json'} is gone, or no intent")
        return None
    known = intent.get("token")
    if known == token:
        return _Attempt(number, claim_of(folder, number, token), intent)
    if isinstance(known, str):
        return None
    raise ValueError(f"{place / 'intent.json'} has no token")


def _found(job: Job, lost: list[_Attempt], now: float) -> AttemptFound | None:
    """Say what these attempts, the newest first, mean for the job."""
    newest = next((found for found in lost if not found.taken_back and not found.after), None)
    dropped = [found.number for found in lost if found.taken_back]
    if newest is None:
        if not dropped:
            return None
        reason = f"attempt {dropped[0]} was taken back, and the journal has lost that"
        taken_back = job.attempt in dropped
        return AttemptFound(at=now, attempt=job.attempt, dropped=dropped[0], taken_back=taken_back, reason=reason)
    kept = {} if newest.number == job.attempt else _kept(newest.intent)
    unknown = "" if kept is not None else "; that each of those before it counts against its budget is a guess"
    return AttemptFound(
        at=now,
        attempt=job.attempt,
        number=newest.number,
        begun=newest.begun,
        scheduler_id=newest.claim,
        ahead=next((found.number for found in lost if found.after == newest.number), 0),
        dropped=max(dropped, default=0),
        kept=kept if kept is not None else {"spent": newest.number - 1},
        reason=f"attempt {newest.number} stands on disk, and the journal has lost it{unknown}",
    )


def _kept(intent: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read what was known of the job; None if that is of another kind than we write."""
    kept = intent.get("kept")
    fits = isinstance(kept, dict) and "spent" in kept and all(_KINDS[name](kept[name]) for name in KEPT if name in kept)
    return {name: kept[name] for name in KEPT if name in kept} if fits and isinstance(kept, dict) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _are_matches(value: object) -> bool:
    """Say whether this is how often events have happened, and where their logs said so."""
    return isinstance(value, dict) and all(
        _are_counts(each) and set(each) - {"times"} in (set(), _PLACE) for each in value.values()
    )


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "spent": _is_count,
    "failures": _are_counts,
    "reduced": lambda value: isinstance(value, dict),
    "matched": _are_matches,
    "afresh": _is_count,
    "began_at": _is_count,
    "gpu_seconds": lambda value: isinstance(value, int | float) and 0 <= value < math.inf,
}
