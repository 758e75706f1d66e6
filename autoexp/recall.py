"""Where every job stands, read back: from snapshot.json and what the journal says since, or from the journal alone.

snapshot.json is one line as the journal's are, with its own CRC. It says of which place in the journal it is, and
counts only while just that stands before that place; so it can be late, lost or foreign, but never wrong.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoexp.files import read_regular, write_atomically
from autoexp.history import History
from autoexp.journal import VERSION, Mark, from_line, to_line
from autoexp.standings import Standings, from_data, to_data

FORMAT = 1
SNAPSHOT = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was read."""

    standings: Standings
    history: History
    """The journal, read to its end."""
    warning: str | None = None
    """Why snapshot.json did not count, if there is one."""


def folder_of(var: Path) -> Path:
    """Where a runtime folder keeps its journal."""
    return var / "journal"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let nobody look for garbage while much is read: there is none, and looking takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def recall(var: Path) -> Recalled:
    """Read where every job stands.

    Raises:
        AutoexpError: the journal is damaged.
    """
    try:
        mark, standings = load(var)
    except FileNotFoundError:
        return _whole(var, None)
    except (OSError, ValueError) as error:
        return _whole(var, str(error))
    history = History(folder_of(var), mark)
    if not history.fits():
        return _whole(var, f"the journal is another one than it was at line {mark.seq}")
    history.replay(standings)
    return Recalled(standings, history)


def _whole(var: Path, warning: str | None) -> Recalled:
    standings, history = Standings(), History(folder_of(var))
    history.replay(standings)
    return Recalled(standings, history, warning)


def save(var: Path, mark: Mark, standings: Standings) -> None:
    """Write snapshot.json; the journal is durable up to this place."""
    place = {"epoch": mark.epoch, "length": mark.length, "crc": mark.crc, "lines": mark.lines, "seq": mark.seq}
    line = to_line({"v": VERSION, "snapshot": FORMAT, "journal": place, **to_data(standings)})
    write_atomically(var / SNAPSHOT, line)


def load(var: Path) -> tuple[Mark, Standings]:
    """Read snapshot.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or none of ours.
    """
    data = from_line(read_regular(var / SNAPSHOT).removesuffix(b"\n"))
    if data.get("snapshot") != FORMAT:
        raise ValueError(f"it is of format {data.get('snapshot')}; this autoexp reads {FORMAT}")
    return Mark(**data["journal"]), from_data(data)
