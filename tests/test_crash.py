import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from autoexp import __version__, crash


def handled() -> str:
    try:
        raise ZeroDivisionError("too bad")
    except ZeroDivisionError:
        return crash.report(["status", "somewhere"])


def test_a_bug_of_ours_leaves_a_file_to_attach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    first, second = handled().splitlines()

    (report,) = tmp_path.iterdir()
    assert first == "autoexp: this is a bug of ours: ZeroDivisionError: too bad"
    assert second == f"  please report it with the file {report}"
    text = report.read_text()
    assert text.startswith(f"autoexp {__version__}, Python {sys.version}\ncommand: status somewhere\n\nTraceback")
    assert text.endswith("ZeroDivisionError: too bad\n")


def test_what_others_have_put_in_its_place_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(time, "strftime", lambda _: "20261120T214001")
    (tmp_path / "theirs").write_text("mine\n")
    link = tmp_path / f"autoexp-crash-20261120T214001-{os.getpid()}.txt"
    link.symlink_to("theirs")

    place = Path(handled().rpartition(" ")[2])

    assert place != link
    assert place.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "theirs").read_text() == "mine\n"


def test_a_bug_of_ours_is_told_whole_where_no_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    assert handled().endswith("ZeroDivisionError: too bad\n")
