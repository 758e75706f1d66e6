import json
from pathlib import Path

import pytest

from autoexp.report.peaks import TAIL_BYTES, read_peaks


def step(*peaks: object) -> str:
    return json.dumps({"kind": "step", "peak_allocated_bytes": list(peaks)}) + "\n"


def test_the_last_whole_line_tells_the_peaks_of_all_processes(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(step(1, 2) + step(3, 4) + '{"kind": "step", "peak_all')

    assert read_peaks(tmp_path) == (3, 4)


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(step(1) * TAIL_BYTES + step(5, 6))

    assert read_peaks(tmp_path) == (5, 6)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "[]\n3\nnull\n", step("a", None, -1, [2]), "\xff\xfe\n", '{"kind": "start"}\n']
)
def test_what_says_nothing_of_memory_has_no_peaks(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text, encoding="latin-1")

    assert read_peaks(tmp_path) == ()


def test_without_metrics_there_are_none(tmp_path: Path) -> None:
    assert read_peaks(tmp_path) == ()
    (tmp_path / "metrics.jsonl").mkdir()
    assert read_peaks(tmp_path) == ()
