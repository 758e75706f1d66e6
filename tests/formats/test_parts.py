"""Looks into parts of files."""

import io
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from autoexp.formats import parts
from autoexp.inert import NotWholeError


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, int]:
    """A file of two items, and where the second begins."""
    items = []
    for value in ([{"iteration": 6}], {"w": 1}):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        items.append(buffer.getvalue())
    (tmp_path / "__0_0.distcp").write_bytes(b"".join(items))
    return tmp_path / "__0_0.distcp", len(items[0])


def test_the_sums_of_each_item_are_checked_for_itself(file: tuple[Path, int]) -> None:
    path, second = file
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
