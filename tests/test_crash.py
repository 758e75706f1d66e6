import sys
import tempfile
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


def test_a_bug_of_ours_is_told_whole_where_no_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    assert handled().endswith("ZeroDivisionError: too bad\n")
