"""Files of JSON lines."""

import json
from pathlib import Path

import pytest

from autoexp.errors import AutoexpError
from autoexp.trainers.jsonl import Lines


def test_a_line_can_be_read_as_soon_as_it_is_written_and_goes_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "made" / "metrics.jsonl"
    for step in (1, 2):
        lines = Lines(path)
        lines.write(step=step)
        assert json.loads(path.read_text().splitlines()[-1]) == {"step": step}
        lines.close()

    assert len(path.read_text().splitlines()) == 2


def test_without_a_file_nothing_is_written() -> None:
    lines = Lines(None)
    lines.write(step=1)
    lines.close()

    assert not lines


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="cannot write"):
        Lines(tmp_path)
