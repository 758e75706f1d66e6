import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp.errors import AutoexpError
from autoexp.journal import (
    Journal,
    Mark,
    cut_torn_tails,
    from_line,
    naming,
    stamp,
    to_line,
    to_record,
    to_transition,
    unstamp,
)
from autoexp.model import State, Transition
from autoexp.recall import recall
from autoexp.standings import Standings

if TYPE_CHECKING:
    from tests.conftest import Scribe

AT = 1_795_210_801.123456
TEXT = st.text(st.characters(), max_size=8)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3)
BRIEFLY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def test_the_fields_of_a_line_are_those_that_other_programs_rely_on(scribe: "Scribe") -> None:
    said = {"evidence": {"reason": "why"}, "changes": {"token": "a.1.k"}, "actions": ("submit job1 attempt 1",)}
    scribe.begin().append([scribe.move(1, **said)])

    (line,) = (scribe.folder / "1.jsonl").read_bytes().splitlines()[1:]
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


@BRIEFLY
@given(TEXT.filter(bool), TEXT.filter(bool))
def test_a_jobs_lines_are_found_by_the_bytes_that_name_it(study: str, job: str) -> None:
    move = Transition(at=AT, study=study, job=job, attempt=1, trigger="t", source=None, target=State.WAITING)

    assert naming(study, job) in to_line(to_record(move, 1, 1))
    assert naming(study, f"{job}x") not in to_line(to_record(move, 1, 1))
    assert naming("", "") == b""


# Files


def test_each_start_begins_a_file_and_the_numbers_go_on(scribe: "Scribe") -> None:
    written = scribe.write(2, 0, 3)

    found = scribe.read()
    assert scribe.names() == ["1.jsonl", "2.jsonl", "3.jsonl"]
    assert [to_transition(record) for record in found] == written
    assert [record["seq"] for record in found] == [1, 2, 3, 4, 5]
    assert [record["epoch"] for record in found] == [1, 1, 3, 3, 3]


def test_a_file_is_for_its_owner_only(scribe: "Scribe") -> None:
    scribe.write(1)

    assert (scribe.folder / "1.jsonl").stat().st_mode & 0o777 == 0o600


def test_moves_are_on_disk_when_append_returns(scribe: "Scribe") -> None:
    journal = scribe.begin()

    journal.append([scribe.move(1), scribe.move(2)])

    assert [(record["seq"], to_transition(record)) for record in scribe.read()] == [
        (1, scribe.move(1)),
        (2, scribe.move(2)),
    ]
    assert journal.seq == 2


def test_appending_nothing_writes_nothing(scribe: "Scribe") -> None:
    journal = scribe.begin()
    before = (scribe.folder / "1.jsonl").read_bytes()

    journal.append([])

    assert (scribe.folder / "1.jsonl").read_bytes() == before


def test_a_writer_knows_its_place_and_where_every_job_stands(scribe: "Scribe") -> None:
    scribe.write(2)
    journal = scribe.begin()
    journal.append([scribe.move(1, source=None, target=State.WAITING), scribe.move(1)])

    again = recall(scribe.folder.parent)

    assert journal.mark == again.history.mark
    assert journal.standings == again.standings
    assert journal.standings.studies["demo"].jobs["job1"].state == "submitting"


def test_a_full_disk_is_the_users_to_fix_and_nothing_is_kept_to_be_written_later(scribe: "Scribe") -> None:
    with Path("/dev/full").open("ab", buffering=0) as full:
        journal = Journal(scribe.folder, full, Mark(1, 0, 0, 0, 0), {}, Standings())

        with pytest.raises(AutoexpError, match="the journal cannot be written") as caught:
            journal.append([scribe.move(source=None, target=State.WAITING)])

        journal.close()
    assert "No space left" in caught.value.why
    assert journal.seq == 0
    assert journal.mark is None, "nobody may take a snapshot of this"
    assert journal.standings == Standings()


def test_of_two_that_open_it_at_once_one_wins(scribe: "Scribe") -> None:
    slow = recall(scribe.folder.parent)

    scribe.begin().append([scribe.move()])

    with pytest.raises(FileExistsError):
        scribe.begin(slow)
    assert len(scribe.read()) == 1


def test_who_was_so_slow_that_its_file_has_been_sealed_does_not_begin_it_again(scribe: "Scribe") -> None:
    """It read the journal, was suspended, and two others have watched since."""
    slow = recall(scribe.folder.parent)
    scribe.write(1, 1)
    scribe.seal()

    with pytest.raises(FileExistsError):
        scribe.begin(slow)
    assert scribe.names() == ["1.jsonl.gz", "2.jsonl"]
    assert len(scribe.read()) == 2


def test_of_many_processes_that_open_it_at_once_one_wins(tmp_path: Path) -> None:
    script = """
import sys; from pathlib import Path; from autoexp.journal import open_journal; from autoexp.recall import recall
read = recall(Path(sys.argv[1])); print("ready", flush=True); sys.stdin.readline()
try: open_journal(read.history.folder, [], read.standings, 0, holder={}, at=0.0)
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


def test_what_a_stale_writer_appends_later_is_ignored(scribe: "Scribe") -> None:
    stale = scribe.begin()
    stale.append([scribe.move(1)])
    fresh = scribe.begin()
    stale.append([scribe.move(2)])
    fresh.append([scribe.move(3)])
    stale.append([scribe.move(4)])

    assert [(record["seq"], record["job"]) for record in scribe.read()] == [(1, "job1"), (2, "job3")]


def test_a_watcher_that_died_before_its_first_line_loses_nothing(scribe: "Scribe") -> None:
    scribe.write(2)
    (scribe.folder / "2.jsonl").touch()
    (scribe.folder / "3.jsonl").write_bytes(b'{"v":1,"ep')
    scribe.write(1)

    assert [record["seq"] for record in scribe.read()] == [1, 2, 3]
    assert from_line((scribe.folder / "4.jsonl").read_bytes().splitlines()[0])["predecessors"] == [
        {"epoch": epoch, "length": len(data), "crc": f"{zlib.crc32(data):08x}"}
        for epoch, data in ((1, (scribe.folder / "1.jsonl").read_bytes()), (2, b""), (3, b""))
    ]


def test_the_next_holder_cuts_a_torn_tail_and_says_so(scribe: "Scribe") -> None:
    scribe.write(2)
    path = scribe.folder / "1.jsonl"
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"v":1,"seq":3,')
    (scribe.folder / "2.jsonl").write_bytes(b'{"v"')

    cut = cut_torn_tails(scribe.segments())

    assert [(segment.path.name, segment.torn) for segment in cut] == [("1.jsonl", 15), ("2.jsonl", 4)]
    assert (path.stat().st_size, (scribe.folder / "2.jsonl").stat().st_size) == (whole, 0)
    assert len(scribe.read()) == 2


# Going on in a new file


def test_a_writer_goes_on_in_a_new_file_as_another_one_would(scribe: "Scribe") -> None:
    journal = scribe.begin()
    journal.append([scribe.move(1)])
    journal.begin_next(AT)
    journal.append([scribe.move(2)])

    assert [(r["seq"], r["epoch"], r["job"]) for r in scribe.read()] == [(1, 1, "job1"), (2, 2, "job2")]
    assert journal.mark == recall(scribe.folder.parent).history.mark
    assert not scribe.segments()[0].open


def test_who_was_replaced_cannot_go_on_in_a_new_file(scribe: "Scribe") -> None:
    stale = scribe.begin()
    stale.append([scribe.move(1)])
    scribe.begin().append([scribe.move(2)])

    with pytest.raises(FileExistsError):
        stale.begin_next(AT)
    scribe.begin()
    scribe.seal()
    with pytest.raises(FileExistsError):
        stale.begin_next(AT)

    assert scribe.names() == ["1.jsonl.gz", "2.jsonl.gz", "3.jsonl"]
    assert [record["job"] for record in scribe.read()] == ["job1", "job2"]


def test_a_next_file_that_cannot_be_begun_is_not_left_there(scribe: "Scribe", monkeypatch: pytest.MonkeyPatch) -> None:
    journal = scribe.begin()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="No space left"):
            journal.begin_next(AT)
    assert scribe.names() == ["1.jsonl"]
    journal.append([scribe.move(1)])

    journal.begin_next(AT)

    assert len(scribe.read()) == 1


# What survives a power cut


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was made durable, in order; the calls still do it."""
    names: list[str] = []

    def recording(call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            call(descriptor)

        return sync

    monkeypatch.setattr(os, "fsync", recording(os.fsync))
    monkeypatch.setattr(os, "fdatasync", recording(os.fdatasync))
    return names


def test_a_new_file_its_name_and_its_folders_are_durable_before_anything_is_appended(
    scribe: "Scribe", synced: list[str]
) -> None:
    journal = scribe.begin()

    assert synced == [scribe.folder.parent.name, "1.jsonl", "journal"]
    journal.append([scribe.move()])
    assert synced[3:] == ["1.jsonl"]


def test_what_a_predecessor_wrote_is_durable_before_it_is_accepted(scribe: "Scribe", synced: list[str]) -> None:
    """It may have died between writing its last line and making it durable."""
    scribe.write(1)
    synced.clear()

    scribe.begin()

    assert synced == ["1.jsonl", "2.jsonl", "journal"]
