import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import sealing
from autoexp.errors import AutoexpError
from autoexp.history import History
from autoexp.journal import Journal
from autoexp.segments import segment_files

if TYPE_CHECKING:
    from tests.conftest import Scribe


class Killed(BaseException):
    """The holder is no more."""


def test_older_files_are_sealed_and_the_newest_is_not(scribe: "Scribe") -> None:
    scribe.write(1, 2, 1)
    plain = (scribe.folder / "2.jsonl").read_bytes()

    scribe.seal()

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]
    assert gzip.decompress((scribe.folder / "2.jsonl.gz").read_bytes()) == plain
    assert (scribe.folder / "2.jsonl.gz").stat().st_mode & 0o777 == 0o600


def test_sealing_again_does_nothing(scribe: "Scribe") -> None:
    scribe.write(1, 1)
    scribe.seal()
    before = {path: path.stat().st_mtime_ns for path in scribe.folder.iterdir()}

    scribe.seal()

    assert {path: path.stat().st_mtime_ns for path in scribe.folder.iterdir()} == before


def test_a_file_is_compressed_in_steps(scribe: "Scribe", monkeypatch: pytest.MonkeyPatch) -> None:
    scribe.write(40, 1)
    monkeypatch.setattr(sealing, "CHUNK_BYTES", 1000)

    steps = sum(1 for _ in sealing.seal(scribe.folder, 2))

    assert steps > 5
    assert len(scribe.read()) == 41


def test_what_a_stale_watcher_appended_is_not_sealed(scribe: "Scribe") -> None:
    stale = scribe.begin()
    stale.append([scribe.move(1)])
    scribe.write(1)
    stale.append([scribe.move(2)])

    scribe.seal()
    stale.append([scribe.move(3)])

    assert [record["job"] for record in scribe.read()] == ["job1", "job0"]
    assert b"job2" not in gzip.decompress((scribe.folder / "1.jsonl.gz").read_bytes())


def test_what_a_watcher_left_that_died_before_its_first_line_is_removed(scribe: "Scribe") -> None:
    scribe.write(1)
    (scribe.folder / "2.jsonl").write_bytes(b'{"v":')
    scribe.write(1)

    scribe.seal()

    assert scribe.names() == ["1.jsonl.gz", "3.jsonl"]
    assert len(scribe.read()) == 2


def test_files_without_a_move_are_removed_but_for_the_one_that_is_kept(scribe: "Scribe") -> None:
    scribe.write(1, 0, 0, 1, 0, 0)
    before = scribe.read()

    for _ in sealing.seal(scribe.folder, 6, kept=3):
        assert scribe.read() == before

    assert scribe.names() == ["1.jsonl.gz", "3.jsonl.gz", "4.jsonl.gz", "6.jsonl"]


def test_a_reader_whose_files_are_removed_meanwhile_reads_what_there_is(
    scribe: "Scribe", monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe.write(1, 0, 1, 0, 1)
    before = scribe.read()
    listed = segment_files(scribe.folder)
    scribe.seal()
    monkeypatch.setattr("autoexp.history.segment_files", lambda _: listed)

    assert scribe.read() == before


# Killed at any step


class Counting:
    """Kills the holder before its n-th effect on the world."""

    def __init__(self, dies_at: int) -> None:
        self.left = dies_at
        self.done: list[str] = []

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            self.done.append(name)
            return call(*words, **options)

        return counted


def kill_while_sealing(scribe: "Scribe", dies_at: int) -> list[str] | None:
    """Seal, and die before the n-th effect; None if there were not so many, else the effects that were."""
    counting = Counting(dies_at)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("fsync", "open"):
            patched.setattr(os, name, counting.wrap(name, getattr(os, name)))
        for name in ("rename", "unlink"):
            patched.setattr(Path, name, counting.wrap(name, getattr(Path, name)))
        try:
            scribe.seal()
        except Killed:
            return counting.done
    return None


def test_killed_before_any_effect_of_sealing_nothing_is_lost(scribe: "Scribe") -> None:
    scribe.write(3, 0, 2, 0, 1)
    whole = {path.name: path.read_bytes() for path in scribe.folder.iterdir()}
    records, seen = scribe.read(), []
    for dies_at in range(100):
        for path in scribe.folder.iterdir():
            path.unlink()
        for name, data in whole.items():
            (scribe.folder / name).write_bytes(data)

        done = kill_while_sealing(scribe, dies_at)

        assert scribe.read() == records, f"killed after {done}"
        journal = scribe.begin()
        scribe.seal()
        journal.close()
        assert scribe.names() == ["1.jsonl.gz", "3.jsonl.gz", "5.jsonl.gz", "6.jsonl"], f"killed after {done}"
        assert scribe.read() == records, f"killed after {done}"
        if done is None:
            break
        seen.append(tuple(done))

    assert len(seen) > 10, "each of two files has several effects"
    assert {"rename", "unlink", "fsync"} <= set(seen[-1])


def test_its_name_comes_after_its_content_is_durable_and_the_plain_file_goes_last(scribe: "Scribe") -> None:
    scribe.write(1, 1)

    done = [effects for n in range(100) if (effects := kill_while_sealing_anew(scribe, n))][-1]

    order = [name for name in done if name in ("fsync", "rename", "unlink")]
    assert order == ["fsync", "rename", "fsync"], "then comes the unlink, before which it was killed"


def kill_while_sealing_anew(scribe: "Scribe", dies_at: int) -> list[str] | None:
    for path in scribe.folder.glob("*.gz"):
        path.unlink()
    return kill_while_sealing(scribe, dies_at) if (scribe.folder / "1.jsonl").exists() else None


# Whatever is there already


def test_a_plain_file_beside_its_sealed_one_is_removed_once_they_were_compared(scribe: "Scribe") -> None:
    scribe.write(2, 1)
    plain = (scribe.folder / "1.jsonl").read_bytes()
    scribe.seal()
    (scribe.folder / "1.jsonl").write_bytes(plain)
    assert len(scribe.read()) == 3

    scribe.seal()

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl"]


@pytest.mark.parametrize("content", [b"", b"x", gzip.compress(b"something else")], ids=["empty", "torn", "foreign"])
def test_a_plain_file_is_kept_beside_a_sealed_one_that_is_not_the_same(scribe: "Scribe", content: bytes) -> None:
    scribe.write(2, 1)
    (scribe.folder / "1.jsonl.gz").write_bytes(content)

    with pytest.raises(AutoexpError, match=r"1\.jsonl\.gz is not what its successor accepted"):
        scribe.seal()

    assert (scribe.folder / "1.jsonl").exists()


def test_a_file_that_is_not_what_its_successor_accepted_is_not_sealed(
    scribe: "Scribe", damage: Callable[[Path, int, int], None]
) -> None:
    scribe.write(2, 1)
    damage(scribe.folder / "1.jsonl", 50, 1)

    with pytest.raises(AutoexpError, match=r"1\.jsonl is not what its successor accepted"):
        scribe.seal()

    assert scribe.names() == ["1.jsonl", "2.jsonl"]


def test_drafts_of_the_dead_are_removed(scribe: "Scribe") -> None:
    scribe.write(1, 1)
    (scribe.folder / ".1.jsonl.gz.123.tmp").write_bytes(b"half")

    scribe.seal()

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl"]


# Read while it is sealed


def test_a_file_that_is_sealed_between_listing_and_opening_is_found(
    scribe: "Scribe", monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe.write(2, 1)
    records = scribe.read()
    listed = segment_files

    def sealed_meanwhile(folder: Path) -> dict[int, Path]:
        files = listed(folder)
        scribe.seal()
        return files

    monkeypatch.setattr("autoexp.history.segment_files", sealed_meanwhile)

    assert scribe.read() == records
    assert scribe.names() == ["1.jsonl.gz", "2.jsonl"]


def test_a_file_that_is_sealed_while_it_is_read_is_read_to_its_end(scribe: "Scribe") -> None:
    scribe.write(5, 1)
    records = scribe.read()
    reading: Iterator[dict[str, Any]] = History(scribe.folder).records()
    begun = [next(reading)]

    scribe.seal()

    assert [*begun, *reading] == records


def test_nobody_loses_a_line_while_another_writes_goes_on_in_new_files_and_seals(scribe: "Scribe") -> None:
    journal: Journal = scribe.begin()
    for number in range(30):
        journal.append([scribe.move(number)])
        if number % 3 == 2:
            journal.begin_next(0.0)
            for _ in sealing.seal(scribe.folder, journal.epoch):
                assert [record["seq"] for record in scribe.read()] == list(range(1, number + 2))
    assert len(scribe.names()) == 11
