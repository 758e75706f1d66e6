import os
import threading
from pathlib import Path

import pytest

from autoexp import files


def test_a_replaced_file_is_never_seen_in_part(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    versions = [bytes([n]) * 50_000 for n in range(100)]
    files.write_atomically(path, versions[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        files.write_atomically(path, version)
    done.set()
    reader.join()

    assert seen <= set(versions)
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_draft_left_by_a_killed_process_of_the_same_id_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".x.{os.getpid()}.tmp").write_bytes(b"half")

    files.write_atomically(tmp_path / "x", b"whole")

    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_a_new_file_never_overwrites_an_old_one(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"first")

    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "x", b"second")

    assert (tmp_path / "x").read_bytes() == b"first"


def test_numbers_that_json_has_no_word_for_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x", {"loss": float("nan")}, indent=1)

    assert not list(tmp_path.iterdir())
