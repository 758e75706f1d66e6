import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.history import History
from autoexp.journal import from_line, to_line
from autoexp.model import State
from autoexp.recall import SNAPSHOT, load, recall, save
from autoexp.standings import Standings

if TYPE_CHECKING:
    from tests.conftest import Scribe

Damage = Callable[[Path, int, int], None]


@pytest.fixture
def var(scribe: "Scribe") -> Path:
    """A journal of two files with a snapshot in the middle of the second."""
    journal = scribe.begin()
    born = {"source": None, "target": State.WAITING, "trigger": "planned"}
    journal.append([scribe.move(number, **born) for number in range(3)])
    journal.begin_next(0.0)
    journal.append([scribe.move(0)])
    assert journal.mark is not None
    save(scribe.folder.parent, journal.mark, journal.standings)
    journal.append([scribe.move(1), scribe.move(0, source=State.SUBMITTING, target=State.QUEUED)])
    return scribe.folder.parent


def whole(var: Path) -> Standings:
    """What the journal alone comes to."""
    standings = Standings()
    for record in History(var / "journal").records():
        standings.take(record)
    return standings


def test_with_a_snapshot_only_what_came_since_is_read(var: Path) -> None:
    recalled = recall(var)

    assert recalled.standings == whole(var)
    assert (recalled.history.lines, recalled.history.seq) == (2, 6)
    assert recalled.warning is None


def test_what_is_sealed_before_a_snapshot_is_not_even_opened(var: Path, scribe: "Scribe") -> None:
    scribe.seal()
    (var / "journal" / "1.jsonl.gz").write_bytes(b"nobody reads this")

    assert recall(var).history.lines == 2


def test_a_deleted_snapshot_loses_nothing(var: Path) -> None:
    before = recall(var).standings
    (var / SNAPSHOT).unlink()

    again = recall(var)

    assert again.standings == before
    assert (again.history.lines, again.history.seq, again.warning) == (6, 6, None)


def test_a_snapshot_cut_anywhere_or_with_any_byte_flipped_is_left_aside(var: Path, damage: Damage) -> None:
    before, path = recall(var).standings, var / SNAPSHOT
    content = path.read_bytes()
    for at in range(len(content) - 1):  # its line end is of no use
        path.write_bytes(content[:at])
        cut = recall(var)
        path.write_bytes(content)
        damage(path, at, 1 << at % 8)
        flipped = recall(var)
        path.write_bytes(content)

        assert cut.standings == flipped.standings == before
        assert None not in (cut.warning, flipped.warning)
        assert cut.history.lines == flipped.history.lines == 6


def changed(var: Path, **fields: object) -> None:
    record = {**from_line((var / SNAPSHOT).read_bytes()[:-1]), **fields}
    record.pop("crc")
    (var / SNAPSHOT).write_bytes(to_line(record))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"v": 2}, "version 2"),
        ({"snapshot": 0}, "it is of format 0; this autoexp reads 1"),
        ({"snapshot": None}, "it is of format None"),
    ],
)
def test_a_snapshot_of_another_version_is_left_aside(var: Path, fields: dict[str, object], why: str) -> None:
    changed(var, **fields)

    recalled = recall(var)

    assert recalled.warning is not None
    assert why in recalled.warning
    assert recalled.standings == whole(var)


def test_something_else_of_that_name_is_left_aside(var: Path) -> None:
    (var / SNAPSHOT).write_text(json.dumps({"v": 1}))
    assert recall(var).warning == "it has no checksum at its end"

    (var / SNAPSHOT).unlink()
    (var / SNAPSHOT).mkdir()
    assert "Is a directory" in str(recall(var).warning)


def test_a_snapshot_that_is_ahead_of_a_restored_journal_is_left_aside(var: Path) -> None:
    """The journal was restored from an older backup than the snapshot."""
    path = var / "journal" / "2.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])

    recalled = recall(var)

    assert recalled.warning == "the journal is another one than it was at line 4"
    assert recalled.standings == whole(var)
    assert recalled.history.seq == 3


def test_an_old_snapshot_comes_to_the_same(var: Path, scribe: "Scribe") -> None:
    old = (var / SNAPSHOT).read_bytes()
    scribe.write(2, 2)
    scribe.seal()
    (var / SNAPSHOT).write_bytes(old)

    recalled = recall(var)

    assert recalled.warning is None
    assert recalled.standings == whole(var)
    assert recalled.history.lines == 6


def test_a_stale_watchers_snapshot_of_what_nobody_accepted_is_left_aside(scribe: "Scribe") -> None:
    stale, var = scribe.begin(), scribe.folder.parent
    stale.append([scribe.move(1, source=None, target=State.WAITING)])
    scribe.begin()
    stale.append([scribe.move(1)])
    assert stale.mark is not None
    save(var, stale.mark, stale.standings)

    recalled = recall(var)

    assert recalled.warning is not None
    assert recalled.standings.studies["demo"].jobs["job1"].state == "waiting"


def test_a_snapshot_is_read_as_it_was_written(var: Path) -> None:
    mark, standings = load(var)
    save(var, mark, standings)

    assert load(var) == (mark, standings)
