import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.errors import AutoexpError
from autoexp.history import History
from autoexp.journal import from_line, to_line
from autoexp.recall import recall
from autoexp.segments import TRAILER_BYTES
from autoexp.standings import Standings

if TYPE_CHECKING:
    from tests.conftest import Scribe

Damage = Callable[[Path, int, int], None]


# Reading


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(History(tmp_path / "none").records()) == []


def test_more_than_nine_starts_are_read_in_their_order(scribe: "Scribe") -> None:
    scribe.write(*[1] * 11)

    assert [record["epoch"] for record in scribe.read()] == list(range(1, 12))


def test_sealed_files_are_read_as_they_were(scribe: "Scribe") -> None:
    scribe.write(2, 3, 1)
    before, marked = scribe.read(), scribe.segments()

    scribe.seal()

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]
    assert scribe.read() == before
    assert [(s.epoch, s.length, s.crc) for s in scribe.segments()] == [(s.epoch, s.length, s.crc) for s in marked]


def test_a_copy_or_a_draft_in_the_folder_is_no_part_of_it(scribe: "Scribe") -> None:
    scribe.write(1)
    for name in ("1.jsonl.bak", "old.jsonl", ".1.jsonl.gz.7.tmp", "old.jsonl.gz"):
        (scribe.folder / name).write_text("x\n")

    assert len(scribe.read()) == 1


def test_one_jobs_records_can_be_read_alone(scribe: "Scribe") -> None:
    scribe.write(3)

    assert [record["seq"] for record in History(scribe.folder).records(b'"job":"job1"')] == [2]


def test_reading_goes_on_from_any_place(scribe: "Scribe") -> None:
    journal = scribe.begin()
    places = [journal.mark]
    for number in range(4):
        journal.append([scribe.move(number)])
        places.append(journal.mark)
        if number == 1:
            journal.begin_next(0.0)
            places.append(journal.mark)

    for place in places:
        history = History(scribe.folder, place)
        assert history.fits()
        assert place is not None
        assert [record["seq"] for record in history.records()] == list(range(place.seq + 1, 5))
        assert history.mark == journal.mark


def test_a_place_in_a_file_that_was_sealed_since_is_still_one(scribe: "Scribe") -> None:
    journal = scribe.begin()
    journal.append([scribe.move(1)])
    middle = journal.mark
    journal.append([scribe.move(2)])
    end = journal.mark
    scribe.write(1)
    scribe.seal()

    for place, left in ((middle, [2, 3]), (end, [3])):
        history = History(scribe.folder, place)
        assert history.fits()
        assert [record["seq"] for record in history.records()] == left


def test_a_place_is_none_in_another_journal_or_another_past(scribe: "Scribe", damage: Damage) -> None:
    journal = scribe.begin()
    journal.append([scribe.move(1), scribe.move(2)])
    place, path = journal.mark, scribe.folder / "1.jsonl"
    whole = path.read_bytes()
    assert place is not None

    os.truncate(path, place.length - 1)
    assert not History(scribe.folder, place).fits()
    path.write_bytes(whole)
    damage(path, 40, 1)
    assert not History(scribe.folder, place).fits()
    path.unlink()
    assert not History(scribe.folder, place).fits()


def test_a_place_behind_what_a_successor_accepted_is_none(scribe: "Scribe") -> None:
    """A stale watcher wrote on after another had taken over, and took a snapshot of that."""
    stale = scribe.begin()
    stale.append([scribe.move(1)])
    accepted = stale.mark
    scribe.write(1)
    stale.append([scribe.move(2)])

    assert History(scribe.folder, accepted).fits()
    assert not History(scribe.folder, stale.mark).fits()
    scribe.write(1)
    scribe.seal()
    assert History(scribe.folder, accepted).fits()
    assert not History(scribe.folder, stale.mark).fits()


# Damage


def replayed(scribe: "Scribe") -> Standings:
    """What a watcher's start reads."""
    return recall(scribe.folder.parent).standings


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(scribe: "Scribe") -> None:
    scribe.write(2, 3)
    path = scribe.folder / "2.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole) - 1, -1, -1):
        os.truncate(path, length)

        lines = whole[:length].count(b"\n")
        assert [record["seq"] for record in scribe.read()] == list(range(1, 3 + max(lines - 1, 0)))
        assert scribe.segments()[-1].torn == length - (whole[:length].rfind(b"\n") + 1)


def test_any_flipped_byte_stops_with_file_and_line_and_the_fix(scribe: "Scribe", damage: Damage) -> None:
    scribe.write(2, 2)
    for name in ("1.jsonl", "2.jsonl"):
        path = scribe.folder / name
        content = path.read_bytes()
        for at in range(len(content) - (name == "2.jsonl")):  # the journal's very last line end is another matter
            damage(path, at, 1 << at % 8)

            with pytest.raises(AutoexpError) as caught:
                replayed(scribe)

            assert caught.value.what == f"{path}:{content[:at].count(10) + 1}: the journal is damaged here"
            assert "backup" in caught.value.fix
            path.write_bytes(content)


def test_any_flipped_byte_of_a_sealed_file_stops_or_changes_nothing(scribe: "Scribe", damage: Damage) -> None:
    """A gzip header has bytes that nobody needs, and what is packed ends with bits that say nothing."""
    scribe.write(3, 1)
    before = replayed(scribe)
    scribe.seal()
    path = scribe.folder / "1.jsonl.gz"
    content = path.read_bytes()
    harmless, told = [], set()
    for at in range(len(content)):
        damage(path, at, 1 << at % 8)
        try:
            found = replayed(scribe)
        except AutoexpError as error:
            told.add(error.what.partition(":")[0])
        else:
            assert found == before
            harmless.append(at)
        path.write_bytes(content)

    assert set(harmless) <= {*range(3, 10), len(content) - TRAILER_BYTES - 1}
    assert told == {str(path)}


def test_a_sealed_file_that_is_cut_anywhere_stops_with_its_line(scribe: "Scribe") -> None:
    scribe.write(3, 1)
    scribe.seal()
    path = scribe.folder / "1.jsonl.gz"
    content = path.read_bytes()
    for length in range(len(content) - 1, -1, -1):
        os.truncate(path, length)

        with pytest.raises(AutoexpError, match=r"1\.jsonl\.gz:[1-5]: the journal is damaged here"):
            replayed(scribe)


def test_a_last_line_without_its_end_is_a_torn_tail(scribe: "Scribe", damage: Damage) -> None:
    """Whatever stands behind the last line end was never acted on, even if only that is missing."""
    scribe.write(2)
    path = scribe.folder / "1.jsonl"
    damage(path, path.stat().st_size - 1, 0x2A)

    assert len(scribe.read()) == 1


@pytest.mark.parametrize("size", [512, 4096])
def test_a_block_of_zeros_is_damage(scribe: "Scribe", size: int) -> None:
    scribe.write(50)
    path = scribe.folder / "1.jsonl"
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + size] = bytes(size)
    path.write_bytes(data)
    line = data[:4096].count(b"\n") + 1

    with pytest.raises(AutoexpError, match=rf"1\.jsonl:{line}: the journal is damaged"):
        replayed(scribe)


def test_zeros_behind_the_last_line_are_a_torn_tail(scribe: "Scribe") -> None:
    """So a file looks whose length reached the disk before its content did."""
    scribe.write(2)
    with (scribe.folder / "1.jsonl").open("ab") as file:
        file.write(bytes(4096))

    assert len(scribe.read()) == 2
    assert scribe.segments()[-1].torn == 4096


def test_reading_alone_cuts_nothing(scribe: "Scribe") -> None:
    scribe.write(1)
    with (scribe.folder / "1.jsonl").open("ab") as file:
        file.write(b"torn")
    before = (scribe.folder / "1.jsonl").read_bytes()

    scribe.read()

    assert (scribe.folder / "1.jsonl").read_bytes() == before


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def foreign(line: bytes, **changes: object) -> bytes:
    record = {**from_line(line[:-1]), **changes}
    del record["crc"]
    return to_line(record)


@pytest.mark.parametrize(
    ("change", "number", "why"),
    [
        pytest.param(lambda x: [*x[:2], *x[3:]], 3, "its number is 3, where 2 is due", id="a line is lost"),
        pytest.param(lambda x: [x[0], *x[2:]], 2, "its number is 2, where 1 is due", id="the first move is lost"),
        pytest.param(lambda x: x[1:], 1, "first line is missing", id="the first line is lost"),
        pytest.param(
            lambda x: [*x[:3], x[2], *x[3:]], 4, "its number is 2, where 3 is due", id="a line is there twice"
        ),
        pytest.param(lambda x: [*x, x[-1]], 6, "its number is 4, where 5 is due", id="the last line is there twice"),
        pytest.param(lambda x: [*x[:2], x[3], x[2], x[4]], 3, "its number is 3", id="two lines changed places"),
        pytest.param(lambda x: [*x[:3], b"hello\n", *x[3:]], 4, "no checksum", id="a line of somebody else's"),
        pytest.param(lambda x: [*x, b"\n"], 6, "no checksum", id="an empty line"),
        pytest.param(
            lambda x: [*x[:4], foreign(x[4], v=2)], 5, "version 2; this autoexp reads 1", id="a later version"
        ),
        pytest.param(lambda x: [*x[:4], foreign(x[4], epoch=9)], 5, "it is of file 9", id="another file's line"),
        pytest.param(lambda x: [foreign(x[0], epoch=9), *x[1:]], 1, "it is of file 9", id="another file's first line"),
        pytest.param(lambda x: [foreign(x[0], v=2), *x[1:]], 1, "version 2", id="a later version's file"),
    ],
)
@pytest.mark.parametrize("is_last", [True, False], ids=["newest", "older"])
def test_a_line_that_does_not_belong_where_it_stands_stops_with_its_number(
    scribe: "Scribe", change: Callable[[list[bytes]], list[bytes]], number: int, why: str, *, is_last: bool
) -> None:
    scribe.write(4, *([] if is_last else [1]))
    path = scribe.folder / "1.jsonl"
    changed = change(lines_of(path))
    path.write_bytes(b"".join(changed))
    appended = not is_last and number > 5  # what stands behind that which was accepted is ignored

    if appended:
        assert len(scribe.read()) == 5
        return
    with pytest.raises(
        AutoexpError, match=rf"1\.jsonl:{number}: the journal (is damaged|cannot be read) here"
    ) as caught:
        replayed(scribe)
    assert why in caught.value.why
    assert ("version" in why) is (caught.value.fix == "use the newer autoexp")


def test_a_sealed_file_that_lost_its_last_lines_is_damage(scribe: "Scribe") -> None:
    scribe.write(2, 1)
    path = scribe.folder / "1.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:-1]))

    with pytest.raises(AutoexpError, match=r"1\.jsonl:3: the journal is damaged here") as caught:
        replayed(scribe)

    assert "its successor accepted" in caught.value.why


def test_an_accepted_file_whose_lines_were_replaced_by_whole_ones_is_damage(scribe: "Scribe") -> None:
    scribe.write(2, 1)
    path = scribe.folder / "1.jsonl"
    lines = lines_of(path)
    changed = foreign(lines[1], job="jobX")
    assert len(changed) == len(lines[1])
    path.write_bytes(b"".join([lines[0], changed, lines[2]]))

    with pytest.raises(AutoexpError, match=r"1\.jsonl is not what its successor accepted"):
        replayed(scribe)


def test_a_file_that_was_taken_out_is_noticed(scribe: "Scribe") -> None:
    scribe.write(1, 1, 1)
    (scribe.folder / "2.jsonl").unlink()

    with pytest.raises(AutoexpError, match=r"3\.jsonl:1: the journal has a gap before this file") as caught:
        replayed(scribe)

    assert "after move 2, but the files before it end with move 1" in caught.value.why
    assert "the files before 3.jsonl from a backup" in caught.value.fix


def test_the_first_file_that_was_taken_out_is_noticed(scribe: "Scribe") -> None:
    scribe.write(1, 1)
    (scribe.folder / "1.jsonl").unlink()

    with pytest.raises(AutoexpError, match=r"2\.jsonl:1: the journal has a gap before this file"):
        replayed(scribe)


def test_a_file_without_a_move_is_missed_by_nobody(scribe: "Scribe") -> None:
    scribe.write(1, 0, 1)
    (scribe.folder / "2.jsonl").unlink()

    assert [record["seq"] for record in scribe.read()] == [1, 2]


def test_a_journal_that_we_may_not_read_is_no_empty_journal(scribe: "Scribe", humble: tuple[str, ...]) -> None:
    scribe.write(1)
    (scribe.folder / "1.jsonl").chmod(0)
    script = f"""
from pathlib import Path; from autoexp.history import History
print(list(History(Path({str(scribe.folder)!r})).records()))
"""

    done = subprocess.run([*humble, sys.executable, "-c", script], check=False, capture_output=True, text=True)

    assert done.stdout == ""
    assert "1.jsonl cannot be read" in done.stderr


def test_the_checksum_of_what_was_read_is_that_of_the_file(scribe: "Scribe") -> None:
    scribe.write(3)

    (segment,) = scribe.segments()

    data = (scribe.folder / "1.jsonl").read_bytes()
    assert (segment.length, segment.crc) == (len(data), zlib.crc32(data))
