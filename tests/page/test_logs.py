import os
from pathlib import Path

import pytest

from autoexp.page.logs import FIRST_BYTES, LONGEST_LINE, MOST_BYTES, plain, read


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil.example\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;a title without an end", ""),
        ("\x1b(B\x1b7a\x1b", "a"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        ("a\tb\x00\x08\x9b\u202e", "a\tb"),
        ("<b>&amp;", "<b>&amp;"),
        ("x" * (LONGEST_LINE + 1), "x" * LONGEST_LINE),
    ],
)
def test_what_steers_terminals_is_left_out(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_log_is_read_on_from_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"one\nCUDA out of memory\nthr")

    first = read(path, None)
    with path.open("ab") as log:
        log.write(b"ee\n\xff\n")
    second = read(path, first["place"])

    assert first == {
        "lines": [("one", ""), ("CUDA out of memory", "gpu_oom")],
        "rest": "thr",
        "place": 23,
        "skipped": False,
    }
    assert (second["lines"], second["rest"]) == ([("three", ""), ("\ufffd", "")], "")
    assert read(path, second["place"])["lines"] == []


@pytest.mark.parametrize(("place", "most"), [(None, FIRST_BYTES), (0, MOST_BYTES)])
def test_of_a_long_log_the_end_is_read_in_whole_lines(tmp_path: Path, place: int | None, most: int) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"a line\n" * MOST_BYTES)

    told = read(path, place)

    assert told["skipped"]
    assert told["place"] == path.stat().st_size
    assert 0 <= most - 7 * len(told["lines"]) < 7
    assert {text for text, _ in told["lines"]} == {"a line"}


def test_a_log_that_was_begun_again_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"new\n")

    assert read(path, 1000)["lines"] == [("new", "")]


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "output.log", None)["lines"] == []


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "output.log")

    with pytest.raises(OSError, match="no regular file"):
        read(tmp_path / "output.log", None)
