"""What people asked, and the journal has lost: with var/ gone, or an older copy of it put back, disk still knows.

Every answer in markers/taken/ names the marker it answers, as the journal's line for it does. Where the newest answer
is none that the journal knows, and asked for an end or a halt, the job is held until somebody looks.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoexp.events import Requested
from autoexp.files import read_json
from autoexp.markers import TAKEN
from autoexp.model import Verb
from autoexp.registry import Key, Ledger
from autoexp.standings import Obeyed

HALTS = (Verb.HOLD, Verb.SAVE, Verb.CANCEL, Verb.SUCCEED, Verb.FAIL)


@dataclass(frozen=True, slots=True)
class _Wish:
    verb: str
    at: str
    identity: tuple[int, int]


def lost_wishes(
    ledger: Ledger, jobs: Iterable[str], obeyed: Iterable[Obeyed], now: float
) -> Iterator[tuple[Key, Requested]]:
    """Ask that jobs be held which somebody halted without the journal's knowing."""
    known = {(inode, ctime_ns) for (study, _), inode, ctime_ns in obeyed if study == ledger.study.name}
    for_all = _newest_halt(ledger.study.dir, known)
    for job in jobs:
        wish = _newest_halt(ledger.dir_of(job), known) or for_all
        if wish is not None:
            reason = f"{wish.verb} was asked at {wish.at}, and the journal has lost it; release it, or ask again"
            inode, ctime_ns = wish.identity
            event = Requested(at=now, verb=Verb.HOLD, reason=reason, inode=inode, ctime_ns=ctime_ns)
            yield Key(ledger.study.name, job), event


def _newest_halt(folder: Path, known: set[tuple[int, int]]) -> _Wish | None:
    """Read the newest answer only: whatever was asked before it no longer counts."""
    taken = f"{folder}/markers/{TAKEN}"
    try:
        name = max(os.listdir(taken), default="")  # noqa: PTH208 - asked for every job, and mostly not there
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        said = read_json(Path(taken, name)) or {}
    except OSError:  # one answer that cannot be read must not keep its study from being watched
        return None
    if said.get("marker") not in set(HALTS) or "inode" not in said:
        return None
    wish = _Wish(said["marker"], str(said.get("at")), (said["inode"], said.get("ctime_ns", 0)))
    return wish if wish.identity not in known else None
