import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import upkeep
from autoexp.errors import TakenOver
from autoexp.lease import Lease, take
from autoexp.recall import SNAPSHOT, load, recall
from autoexp.upkeep import PATIENCE_S, Upkeep

if TYPE_CHECKING:
    from tests.conftest import Scribe

Keep = Callable[[], Upkeep]


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    """The right to write."""
    (tmp_path / "root").mkdir()
    held = take(tmp_path / "root", tmp_path, 0.0)
    yield held
    held.release()


@pytest.fixture
def keep(scribe: "Scribe", lease: Lease, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Begin to write, and keep that up; what is left to seal is sealed at once, however busy the computer is."""
    monkeypatch.setattr(upkeep, "SLICE_S", 60.0)

    def begin() -> Upkeep:
        journal = scribe.begin()
        lease.name_epoch(journal.epoch, journal.path)
        return Upkeep(journal, scribe.folder.parent, lease)

    return begin


@pytest.mark.parametrize(
    "lives", list(product(["idle", "moves", "idle, killed", "moves, killed"], repeat=4)), ids=", ".join
)
def test_after_starts_with_and_without_moves_the_journal_is_whole(
    scribe: "Scribe", lease: Lease, monkeypatch: pytest.MonkeyPatch, lives: tuple[str, ...]
) -> None:
    """Whatever is sealed or removed in between, and whichever file snapshot.json is of."""
    monkeypatch.setattr(upkeep, "SNAPSHOT_MOVES", 1)
    moves = 0
    for life in (*lives, "idle"):
        recalled = recall(scribe.folder.parent)
        assert (recalled.history.seq, recalled.warning) == (moves, None)
        journal = scribe.begin(recalled)
        lease.name_epoch(journal.epoch, journal.path)
        kept_up = Upkeep(journal, scribe.folder.parent, lease, recalled.history.after)
        if life.startswith("moves"):
            journal.append([scribe.move(moves, source=None)])
            moves += 1
        if not life.endswith("killed"):
            while kept_up.due_in_s(0.0) == 0.0:
                assert kept_up.tend(0.0) is None
            assert kept_up.close(0.0) is None
        journal.close()

    assert [record["seq"] for record in scribe.read()] == list(range(1, moves + 1))


def test_who_writes_to_a_file_that_a_snapshot_is_of_is_not_heard(scribe: "Scribe", lease: Lease) -> None:
    """It was suspended when it had just begun its file, and three others came and went."""
    stale = scribe.begin()
    kept_up = Upkeep(stale, scribe.folder.parent, lease)
    assert kept_up.close(0.0) is None
    for moves in (0, 1):
        recalled = recall(scribe.folder.parent)
        journal = scribe.begin(recalled)
        successor = Upkeep(journal, scribe.folder.parent, lease, recalled.history.after)
        while successor.due_in_s(0.0) == 0.0:
            assert successor.tend(0.0) is None
        journal.append([scribe.move(n, source=None) for n in range(moves)])
        assert successor.close(0.0) is None

    stale.append([scribe.move(9, source=None)])

    assert [record["job"] for record in scribe.read()] == ["job0"]
    assert not stale.path.exists()


def test_a_snapshot_is_written_every_so_many_moves(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SNAPSHOT_MOVES", 3)
    kept_up = keep()
    seen = []
    for number in range(7):
        kept_up.journal.append([scribe.move(number)])
        assert kept_up.tend(0.0) is None
        path = scribe.folder.parent / SNAPSHOT
        seen.append(load(scribe.folder.parent)[0].seq if path.exists() else 0)

    assert seen == [0, 0, 3, 3, 3, 6, 6]


def test_a_snapshot_is_not_written_more_often_than_there_are_jobs(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing it takes as long as there are jobs."""
    monkeypatch.setattr(upkeep, "SNAPSHOT_MOVES", 1)
    kept_up = keep()
    kept_up.journal.append([scribe.move(number, source=None) for number in range(5)])
    kept_up.tend(0.0)
    kept_up.journal.append([scribe.move(number) for number in range(4)])
    kept_up.tend(0.0)
    assert load(scribe.folder.parent)[0].seq == 5

    kept_up.journal.append([scribe.move(4)])
    kept_up.tend(0.0)

    assert load(scribe.folder.parent)[0].seq == 10


def test_after_a_long_replay_a_snapshot_is_written_at_once(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe.write(5)
    monkeypatch.setattr(upkeep, "SNAPSHOT_MOVES", 5)

    keep().tend(0.0)

    assert load(scribe.folder.parent)[0].epoch == 2


def test_at_the_end_a_snapshot_is_written_if_there_is_anything_new(scribe: "Scribe", keep: Keep) -> None:
    kept_up = keep()
    kept_up.journal.append([scribe.move(1)])

    assert kept_up.close(0.0) is None

    path = scribe.folder.parent / SNAPSHOT
    assert load(scribe.folder.parent) == (kept_up.journal.mark, kept_up.journal.standings)
    before = path.stat().st_ino
    kept_up.close(0.0)
    assert path.stat().st_ino == before


def test_a_long_file_is_ended_and_sealed_and_its_snapshot_is_of_the_next(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SEGMENT_BYTES", 2000)
    kept_up = keep()
    for number in range(20):
        kept_up.journal.append([scribe.move(number)])
        assert kept_up.tend(0.0) is None

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]
    assert [record["seq"] for record in scribe.read()] == list(range(1, 21))
    recalled = recall(scribe.folder.parent)
    assert recalled.standings == kept_up.journal.standings
    assert recalled.history.lines < 10
    assert kept_up.lease.is_ours()
    assert kept_up.lease.record["epoch"] == 3
    assert (kept_up.lease.journal or Path()).name == "3.jsonl"


def test_what_others_left_is_sealed_and_then_there_is_nothing_to_wake_up_for(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe.write(1, 1)
    monkeypatch.setattr(upkeep, "SLICE_S", 0.0)
    kept_up = keep()
    assert kept_up.due_in_s(0.0) == 0.0
    kept_up.tend(0.0)
    assert "1.jsonl" in scribe.names(), "there was no time for it"

    monkeypatch.setattr(upkeep, "SLICE_S", 60.0)
    kept_up.tend(0.0)

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]
    assert kept_up.due_in_s(0.0) == math.inf


def test_what_cannot_be_sealed_is_told_and_tried_again_later(
    scribe: "Scribe", keep: Keep, damage: Callable[[Path, int, int], None]
) -> None:
    scribe.write(1, 1)
    kept_up = keep()
    damage(scribe.folder / "1.jsonl", 50, 1)

    assert "1.jsonl is not what its successor accepted" in str(kept_up.tend(100.0))
    damage(scribe.folder / "1.jsonl", 50, 1)
    assert kept_up.due_in_s(100.0) == PATIENCE_S
    assert kept_up.tend(100.0 + PATIENCE_S / 2) is not None
    assert kept_up.tend(100.0 + PATIENCE_S) is None

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]


def test_a_snapshot_that_cannot_be_written_is_told_and_stops_nothing(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SNAPSHOT_MOVES", 1)
    kept_up = keep()
    (scribe.folder.parent / SNAPSHOT).mkdir()
    kept_up.journal.append([scribe.move(1)])

    assert "Is a directory" in str(kept_up.tend(0.0))
    assert "Is a directory" in str(kept_up.close(1.0))

    (scribe.folder.parent / SNAPSHOT).rmdir()
    assert kept_up.tend(PATIENCE_S + 1.0) is None
    assert load(scribe.folder.parent)[0].seq == 1


def test_who_was_replaced_learns_it_when_it_begins_a_file(
    scribe: "Scribe", keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SEGMENT_BYTES", 1)
    stale = keep()
    scribe.begin()

    with pytest.raises(TakenOver, match="the journal is no longer ours to write"):
        stale.tend(0.0)


def test_after_a_move_that_could_not_be_written_there_is_no_snapshot(scribe: "Scribe", keep: Keep) -> None:
    kept_up = keep()
    kept_up.journal.append([scribe.move(1)])
    kept_up.journal._is_settled = False

    assert kept_up.close(0.0) is None

    assert not (scribe.folder.parent / SNAPSHOT).exists()
