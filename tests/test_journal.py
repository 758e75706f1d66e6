import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp.errors import AutoexpError
from autoexp.journal import (
    History,
    Journal,
    cut_torn_tails,
    from_line,
    open_journal,
    records,
    stamp,
    to_line,
    to_record,
    to_transition,
    unstamp,
)
from autoexp.model import State, Transition

AT = 1_795_210_801.123456
TEXT = st.text(st.characters(), max_size=8)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3)
BRIEFLY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def move(number: int = 0, **fields: Any) -> Transition:
    usual: dict[str, Any] = {"at": AT + number, "study": "demo", "job": f"job{number}", "attempt": 1}
    states = {"trigger": "conditions_met", "source": State.WAITING, "target": State.SUBMITTING}
    return Transition(**{**usual, **states, **fields})


def begin(folder: Path) -> Journal:
    history = History(folder)
    for _ in history.records():
        pass
    return open_journal(folder, history, {"host": "here", "pid": 1}, AT)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Begin files in tmp_path, closed at the end."""
    with ExitStack() as stack:

        def begin_one() -> Journal:
            journal = begin(tmp_path)
            stack.callback(journal.close)
            return journal

        yield begin_one


def write(folder: Path, *counts: int) -> list[dict[str, Any]]:
    """Write a journal of as many files as there are counts, each with so many moves; return their records."""
    written = []
    for number, count in enumerate(counts):
        journal = begin(folder)
        written += journal.append([move(100 * number + n) for n in range(count)])
        journal.close()
    return written


def damage(path: Path, at: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def read(folder: Path) -> list[dict[str, Any]]:
    return list(records(folder))


# One line


@BRIEFLY
@given(MAPPINGS)
def test_a_record_is_read_as_it_was_written_whatever_text_is_in_it(data: dict[str, Any]) -> None:
    record = {"v": 1, "data": data}

    line = to_line(record)

    assert line.count(b"\n") == 1
    assert from_line(line[:-1]) == {**record, "crc": line[-11:-3].decode()}


def test_the_checksum_is_crc32_of_the_line_without_it() -> None:
    line = to_line({"v": 1, "seq": 7})

    body = line.split(b',"crc":')[0]
    assert line == body + b',"crc":"%08x"}\n' % zlib.crc32(body)


@BRIEFLY
@given(st.data())
def test_no_flipped_byte_of_a_line_goes_unnoticed(data: st.DataObject) -> None:
    line = bytearray(to_line({"v": 1, "seq": 7, "at": "2026", "text": 'ä,"crc":"'})[:-1])
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ValueError, match=r"checksum"):
        from_line(bytes(line))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param(b"", "no checksum", id="an empty line"),
        pytest.param(b'{"v":1}', "no checksum", id="a line without a checksum"),
        pytest.param(to_line({"v": 1, "a": 2})[:-1].replace(b"2", b"3"), "does not fit", id="a changed value"),
        pytest.param(to_line({"v": 2})[:-1], "version 2; this autoexp reads 1", id="a later version"),
    ],
)
def test_what_is_no_line_of_ours_is_refused_with_the_reason(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_line(line)


@BRIEFLY
@given(
    st.builds(
        Transition,
        at=st.integers(0, 4_000_000_000_000_000).map(lambda us: us / 1_000_000),
        study=TEXT,
        job=TEXT,
        attempt=st.integers(0, 999),
        trigger=TEXT,
        source=st.none() | st.sampled_from(State),
        target=st.sampled_from(State),
        evidence=MAPPINGS,
        changes=MAPPINGS,
        actions=st.lists(TEXT, max_size=2).map(tuple),
    )
)
def test_a_transition_comes_back_from_its_line_as_it_was(transition: Transition) -> None:
    back = to_transition(from_line(to_line(to_record(transition, 1, 1))[:-1]))

    assert back == Transition(**{**_fields(transition), "at": back.at})
    assert abs(back.at - transition.at) < 1e-6


def _fields(transition: Transition) -> Mapping[str, Any]:
    return {name: getattr(transition, name) for name in Transition.__dataclass_fields__}


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=2))
def test_times_are_spelt_in_utc_and_sort_as_text(times: list[float]) -> None:
    spelt = sorted(stamp(at) for at in times)

    assert all(text.endswith("Z") and len(text) == 27 for text in spelt)
    assert [unstamp(text) for text in spelt] == pytest.approx(sorted(times), abs=2e-6)


def test_the_fields_of_a_line_are_those_that_other_programs_rely_on(
    tmp_path: Path, begun: Callable[[], Journal]
) -> None:
    journal = begun()
    journal.append(
        [move(1, evidence={"reason": "why"}, changes={"token": "a.1.k"}, actions=("submit job1 attempt 1",))]
    )

    (line,) = (tmp_path / "1.jsonl").read_bytes().splitlines()[1:]
    assert from_line(line) == {
        "v": 1,
        "seq": 1,
        "epoch": 1,
        "at": "2026-11-20T21:40:02.123456Z",
        "study": "demo",
        "job": "job1",
        "attempt": 1,
        "trigger": "conditions_met",
        "from": "waiting",
        "to": "submitting",
        "evidence": {"reason": "why"},
        "set": {"token": "a.1.k"},
        "actions": ["submit job1 attempt 1"],
        "crc": line[-10:-2].decode(),
    }


# Files


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []


def test_each_start_begins_a_file_and_the_numbers_go_on(tmp_path: Path) -> None:
    written = write(tmp_path, 2, 0, 3)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jsonl", "2.jsonl", "3.jsonl"]
    assert [record["seq"] for record in written] == [1, 2, 3, 4, 5]
    assert [record["epoch"] for record in written] == [1, 1, 3, 3, 3]
    assert [record["seq"] for record in read(tmp_path)] == [1, 2, 3, 4, 5]


def test_more_than_nine_starts_are_read_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, *[1] * 11)

    assert [record["epoch"] for record in read(tmp_path)] == list(range(1, 12))


def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    write(tmp_path, 1)

    assert (tmp_path / "1.jsonl").stat().st_mode & 0o777 == 0o600


def test_moves_are_on_disk_when_append_returns(tmp_path: Path, begun: Callable[[], Journal]) -> None:
    journal = begun()

    told = journal.append([move(1), move(2)])

    assert read(tmp_path) == [
        {**record, "crc": found["crc"]} for record, found in zip(told, read(tmp_path), strict=True)
    ]
    assert journal.seq == 2


def test_appending_nothing_writes_nothing(tmp_path: Path, begun: Callable[[], Journal]) -> None:
    journal = begun()
    before = (tmp_path / "1.jsonl").read_bytes()

    assert journal.append([]) == []
    assert (tmp_path / "1.jsonl").read_bytes() == before


def test_a_full_disk_is_the_users_to_fix_and_nothing_is_kept_to_be_written_later() -> None:
    with Path("/dev/full").open("ab", buffering=0) as full:
        journal = Journal(full, 1, 0)

        with pytest.raises(AutoexpError, match="the journal cannot be written") as caught:
            journal.append([move()])

        journal.close()
    assert "No space left" in caught.value.why
    assert journal.seq == 0


def test_of_two_that_open_it_at_once_one_wins(tmp_path: Path, begun: Callable[[], Journal]) -> None:
    second = History(tmp_path)
    assert list(second.records()) == []

    begun().append([move()])

    with pytest.raises(FileExistsError):
        open_journal(tmp_path, second, {}, AT)
    assert len(read(tmp_path)) == 1


def test_of_many_processes_that_open_it_at_once_one_wins(tmp_path: Path) -> None:
    script = """
import sys; from pathlib import Path; from autoexp.journal import History, open_journal
history = History(Path(sys.argv[1])); list(history.records()); print("ready", flush=True); sys.stdin.readline()
try: open_journal(Path(sys.argv[1]), history, {}, 0.0)
except FileExistsError: print("lost")
else: print("won")
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    rivals = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"

    said = sorted(rival.communicate("go\n")[0].strip() for rival in rivals)

    assert said == ["lost", "lost", "lost", "won"]


def test_what_a_stale_writer_appends_later_is_ignored(tmp_path: Path, begun: Callable[[], Journal]) -> None:
    stale = begun()
    stale.append([move(1)])
    fresh = begun()
    stale.append([move(2)])
    fresh.append([move(3)])
    stale.append([move(4)])

    assert [(record["seq"], record["job"]) for record in read(tmp_path)] == [(1, "job1"), (2, "job3")]


def test_a_watcher_that_died_before_its_first_line_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "2.jsonl").touch()
    (tmp_path / "3.jsonl").write_bytes(b'{"v":1,"ep')
    write(tmp_path, 1)

    assert [record["seq"] for record in read(tmp_path)] == [1, 2, 3]
    assert from_line((tmp_path / "4.jsonl").read_bytes().splitlines()[0])["predecessors"] == [
        {"epoch": epoch, "length": len(data), "crc": f"{zlib.crc32(data):08x}"}
        for epoch, data in ((1, (tmp_path / "1.jsonl").read_bytes()), (2, b""), (3, b""))
    ]


def test_a_copy_or_a_draft_in_the_folder_is_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "1.jsonl.bak").write_text("x\n")
    (tmp_path / "old.jsonl").write_text("x\n")

    assert len(read(tmp_path)) == 1


# Damage


@BRIEFLY
@given(st.data())
def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / os.urandom(4).hex()
    write(folder, 2, 3)
    path = folder / "2.jsonl"
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    os.truncate(path, length)

    history = History(folder)
    found = list(history.records())

    lines = whole[:length].count(b"\n")
    assert [record["seq"] for record in found] == list(range(1, 3 + max(lines - 1, 0)))
    assert history.segments[-1].torn == length - (whole[:length].rfind(b"\n") + 1)


@BRIEFLY
@given(st.data())
def test_any_flipped_byte_stops_with_file_and_line_and_the_fix(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / os.urandom(4).hex()
    write(folder, 2, 2)
    path = folder / f"{data.draw(st.integers(1, 2))}.jsonl"
    content = path.read_bytes()
    last = len(content) - 1 - (path.name == "2.jsonl")  # without its very last line end, the journal has a torn tail
    at = data.draw(st.integers(0, last))
    damage(path, at, data.draw(st.integers(1, 255)))

    with pytest.raises(AutoexpError) as caught:
        read(folder)

    line = content[:at].count(b"\n") + 1
    torn = at == len(content) - 1  # of a sealed file
    assert caught.value.what == (
        f"{path} is not what its successor accepted" if torn else f"{path}:{line}: the journal is damaged here"
    )
    assert "backup" in caught.value.fix


def test_a_last_line_without_its_end_is_a_torn_tail(tmp_path: Path) -> None:
    write(tmp_path, 2)
    path = tmp_path / "1.jsonl"
    damage(path, path.stat().st_size - 1, 0x2A)

    assert len(read(tmp_path)) == 1


def test_a_block_of_zeros_is_damage(tmp_path: Path) -> None:
    write(tmp_path, 30)
    path = tmp_path / "1.jsonl"
    data = bytearray(path.read_bytes())
    data[4096:4608] = bytes(512)
    path.write_bytes(data)
    line = data[:4096].count(b"\n") + 1

    with pytest.raises(AutoexpError, match=rf"1\.jsonl:{line}: the journal is damaged"):
        read(tmp_path)


def test_zeros_behind_the_last_line_are_a_torn_tail(tmp_path: Path) -> None:
    """So a file looks whose length reached the disk before its content did."""
    write(tmp_path, 2)
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(bytes(512))

    history = History(tmp_path)

    assert len(list(history.records())) == 2
    assert history.segments[-1].torn == 512


def test_the_next_holder_cuts_a_torn_tail_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, 2)
    path = tmp_path / "1.jsonl"
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"v":1,"seq":3,')
    (tmp_path / "2.jsonl").write_bytes(b'{"v"')

    history = History(tmp_path)
    list(history.records())
    cut = cut_torn_tails(history)

    assert [(segment.path.name, segment.torn) for segment in cut] == [("1.jsonl", 15), ("2.jsonl", 4)]
    assert (path.stat().st_size, (tmp_path / "2.jsonl").stat().st_size) == (whole, 0)
    assert len(read(tmp_path)) == 2


def test_reading_alone_cuts_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b"torn")
    before = (tmp_path / "1.jsonl").read_bytes()

    read(tmp_path)

    assert (tmp_path / "1.jsonl").read_bytes() == before


def test_a_sealed_file_that_lost_its_end_is_damage(tmp_path: Path) -> None:
    write(tmp_path, 2, 1)
    path = tmp_path / "1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))

    with pytest.raises(AutoexpError, match=r"1\.jsonl is not what its successor accepted"):
        read(tmp_path)


def test_a_line_that_was_taken_out_is_noticed_by_its_number(tmp_path: Path) -> None:
    write(tmp_path, 3)
    path = tmp_path / "1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[3]]))

    with pytest.raises(AutoexpError, match=r"1\.jsonl:3") as caught:
        read(tmp_path)

    assert caught.value.why == "its number is 3, where 2 is due"


def test_a_file_that_was_taken_out_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, 1)
    (tmp_path / "2.jsonl").unlink()

    with pytest.raises(AutoexpError, match=r"3\.jsonl:2"):
        read(tmp_path)


def test_a_journal_that_we_may_not_read_is_no_empty_journal(tmp_path: Path, humble: tuple[str, ...]) -> None:
    write(tmp_path, 1)
    (tmp_path / "1.jsonl").chmod(0)
    script = (
        f"from pathlib import Path; from autoexp.journal import records; print(list(records(Path({str(tmp_path)!r}))))"
    )

    done = subprocess.run([*humble, sys.executable, "-c", script], check=False, capture_output=True, text=True)

    assert done.stdout == ""
    assert "1.jsonl cannot be read" in done.stderr
