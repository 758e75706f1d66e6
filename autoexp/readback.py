"""What people asked, and the journal has lost: with var/ gone, or an older copy of it put back, disk still knows.

Every answer in markers/taken/ names the marker it answers, as the journal's line for it does. Where the newest answer
is none that the journal knows, and asked for an end or a halt, the job is held until somebody looks. So it is where
another attempt was asked for, and there is none yet: the ending of the last one must not count again.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp.events import Requested
from autoexp.files import read_record
from autoexp.markers import TAKEN
from autoexp.model import Verb
from autoexp.orders import WITHDRAWN
from autoexp.registry import Key, Ledger
from autoexp.remains import claim_of, numbers
from autoexp.standings import Obeyed

HALTS = frozenset({Verb.HOLD, Verb.SAVE, Verb.CANCEL, Verb.SUCCEED, Verb.FAIL})
AGAIN = frozenset({Verb.RESTART, Verb.RETRY})
ANSWER = {"marker": str, "inode": int, "ctime_ns": int | None}
"""What kinds of values an answer has."""
Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class _Wish:
    verb: str
    at: str
    identity: tuple[int, int]
    said: Mapping[str, Any]
    """The whole answer."""

    def concerns(self, job: str) -> bool:
        """Say whether a wish for all jobs of a study came to something for this one."""
        taken = self.said.get("taken")
        return not isinstance(taken, dict) or job in taken


def lost_wishes(
    ledger: Ledger, jobs: Iterable[str], obeyed: Iterable[Obeyed], now: float, tell: Tell
) -> Iterator[tuple[Key, Requested]]:
    """Ask that jobs be held which somebody halted without the journal's knowing; tell of answers that are none."""

    def told(path: str, what: str) -> None:
        tell(f"{ledger.study.name}: {path}", f"{what}; what it answers is not known, so move it away if it is none")

    known = {(inode, ctime_ns) for (study, _), inode, ctime_ns in obeyed if study == ledger.study.name}
    for_all = _newest_wish(ledger.study.dir, told)
    for job in jobs:
        shared = [for_all] if for_all is not None and for_all.concerns(job) else []
        wishes = [*filter(None, [_newest_wish(ledger.dir_of(job), told)]), *shared]
        wish = max(wishes, key=lambda wish: wish.at, default=None)
        if wish is not None and wish.identity not in known and _is_open(wish, ledger, job):
            reason = f"{wish.verb} was asked at {wish.at}, and the journal has lost it; release it, or ask again"
            inode, ctime_ns = wish.identity
            event = Requested(at=now, verb=Verb.HOLD, reason=reason, inode=inode, ctime_ns=ctime_ns)
            yield Key(ledger.study.name, job), event


def _is_open(wish: _Wish, ledger: Ledger, job: str) -> bool:
    """Say whether a wish is for a halt, or for an attempt that has not come yet: those there are were taken back."""
    if wish.verb not in AGAIN:
        return wish.verb in HALTS
    taken = wish.said.get("taken", {job: wish.said})
    said = taken.get(job) if isinstance(taken, dict) else None
    before = said.get("attempt") if isinstance(said, dict) else None
    if not isinstance(before, int) or not before:  # there is no ending that could count again
        return False
    folder, key = ledger.dir_of(job), ledger.study.key
    try:
        since = (number for number in numbers(folder) if number > before)
        return all(claim_of(folder, number, f"{job}.{number}.{key}") == WITHDRAWN for number in since)
    except OSError:  # then nobody knows
        return True


def _newest_wish(folder: Path, tell: Tell) -> _Wish | None:
    """Read the newest answer only: whatever was asked before it no longer counts."""
    said = _newest_answer(f"{folder}/markers/{TAKEN}", tell)
    if said is None:
        return None
    return _Wish(said["marker"], str(said.get("at")), (said["inode"], said.get("ctime_ns") or 0), said)


def _newest_answer(taken: str, tell: Tell) -> Mapping[str, Any] | None:
    """Find it; one that cannot be read is told, and keeps nothing else from being found."""
    try:
        names = os.listdir(taken)  # noqa: PTH208 - asked for every job, and mostly not there
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in sorted((name for name in names if not name.startswith(".")), reverse=True):
        odd = dict[str, str]()
        try:
            said = read_record(Path(taken, name), ANSWER, odd)
        except OSError as error:
            said, odd = None, {name: error.strerror or str(error)}
        if said is not None:
            return said
        for what in odd.values():
            tell(f"{taken}/{name}", what)
    return None
