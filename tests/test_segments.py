import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import segments
from autoexp.errors import AutoexpError
from autoexp.segments import Accepted, Content, crc_of, first_line, holds, segment_files

if TYPE_CHECKING:
    from tests.conftest import Scribe


def test_a_journal_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert segment_files(tmp_path / "none") == {}


def test_files_are_listed_by_epoch_the_sealed_one_of_two(scribe: "Scribe") -> None:
    scribe.write(*[1] * 11)
    plain = (scribe.folder / "2.jsonl").read_bytes()
    scribe.seal()
    (scribe.folder / "2.jsonl").write_bytes(plain)

    files = segment_files(scribe.folder)

    assert list(files) == list(range(1, 12))
    assert files[2].name == "2.jsonl.gz"
    assert files[11].name == "11.jsonl"


def test_a_file_that_is_in_neither_place_is_looked_for_again(scribe: "Scribe", monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing may miss a new name and an old one that goes at that moment."""
    scribe.write(1, 1, 1)
    sealed = ["1.jsonl", "2.jsonl.gz", "3.jsonl"]
    answers = [["1.jsonl", "3.jsonl"], sealed, sealed]
    monkeypatch.setattr(os, "listdir", lambda _: answers.pop(0))

    assert list(segment_files(scribe.folder)) == [1, 2, 3]


def test_a_folder_that_is_none_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()

    with pytest.raises(AutoexpError, match="journal cannot be read"):
        segment_files(tmp_path / "journal")


@pytest.fixture(params=["1.jsonl", "1.jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of 100,000 lines, plain or sealed."""
    made: Path = tmp_path / request.param
    data = b"".join(b"%d\n" % number for number in range(100_000))
    made.write_bytes(gzip.compress(data, mtime=0) if made.suffix == ".gz" else data)
    return made


def test_content_is_counted_as_it_is_read(path: Path) -> None:
    with Content(path) as content:
        assert content.skip(10)
        assert content.read(3) == b"5\n6"
        assert (content.length, content.crc) == (13, crc_of(path, 13))
        content.readall()
        assert content.length == 588_890
        assert not content.skip(588_891)


def test_a_file_holds_what_it_begins_with_and_nothing_else(path: Path) -> None:
    for length in (0, 13, 588_890):
        assert holds(path, Accepted(length, crc_of(path, length)))
        assert not holds(path, Accepted(length, crc_of(path, length) ^ 1))
    assert not holds(path, Accepted(588_891, crc_of(path, 588_890)))


def test_a_sealed_file_tells_what_it_holds_without_being_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = Accepted(588_890, crc_of(path, 588_890))
    read = []
    monkeypatch.setattr(segments.Content, "skip", lambda *_: read.append(path))

    holds(path, accepted)

    assert read == ([] if path.suffix == ".gz" else [path])


def test_the_first_line_is_read_as_far_as_it_goes(path: Path, tmp_path: Path) -> None:
    assert first_line(path) == b"0\n"
    (tmp_path / "2.jsonl").write_bytes(b"torn")
    assert first_line(tmp_path / "2.jsonl") == b"torn"


def test_a_first_line_that_cannot_be_decompressed_is_damage(tmp_path: Path) -> None:
    (tmp_path / "2.jsonl.gz").write_bytes(b"no gzip")

    with pytest.raises(AutoexpError, match=r"2\.jsonl\.gz:1: the journal is damaged here"):
        first_line(tmp_path / "2.jsonl.gz")
