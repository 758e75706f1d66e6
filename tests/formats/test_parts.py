"""Looks into parts of files."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from autoexp.formats import parts
from autoexp.inert import NotWholeError


def test_the_sums_of_each_item_are_checked_for_itself(two_items: tuple[Path, int]) -> None:
    path, second = two_items
    length = path.stat().st_size - second
    parts.check_sums(path, "x", second, length)
    data = bytearray(path.read_bytes())
    data[data.index(b"iteration")] ^= 1
    path.write_bytes(data)

    parts.check_sums(path, "x", second, length)
    with pytest.raises(NotWholeError, match="the checksum of"):
        parts.check_sums(path, "x", 0, second)


def test_a_status_says_what_is_not_there_and_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotWholeError, match="x is not there"):
        parts.status(tmp_path / "absent", "x")
    with pytest.raises(NotWholeError, match="x is no file"):
        parts.status(tmp_path, "x")


@pytest.mark.parametrize(
    ("data", "blank"),
    [
        pytest.param(bytes(100), True, id="all of it"),
        pytest.param(b"PK" + bytes(98), True, id="its end"),
        pytest.param(bytes(98) + b"PK", True, id="its beginning"),
        pytest.param(b"PK" + bytes(96) + b"PK", False, id="its middle, as tensors may be"),
    ],
)
def test_zeros_at_either_end_are_a_lost_file(tmp_path: Path, data: bytes, *, blank: bool) -> None:
    file = tmp_path / "shard"
    file.write_bytes(data)

    with pytest.raises(NotWholeError, match="zeros") if blank else nullcontext():
        parts.check_not_blank(file, "x", 100)


def test_only_the_members_that_hold_certain_bytes_are_checked_if_asked(two_items: tuple[Path, int]) -> None:
    path, second = two_items
    data = bytearray(path.read_bytes())
    at = data.index(b"iteration")
    data[at] ^= 1
    path.write_bytes(data)

    parts.check_sums(path, "x", 0, second, holding=[])
    parts.check_sums(path, "x", 0, second, holding=[second - 1])
    with pytest.raises(NotWholeError, match="the checksum of"):
        parts.check_sums(path, "x", 0, second, holding=[at + 2])
