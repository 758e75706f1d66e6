from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.report.gpus import MIB, Gpus, read_gpus

TITLES = "timestamp, index, uuid, utilization.gpu [%], memory.used [MiB], memory.total [MiB]\n"
LINE = "2025/12/05 10:24:0{}.343, {}, GPU-{}, {}, {} MiB, 81920 MiB\n"


def samples(folder: Path, text: str, attempt: int = 1, host: str = "node1") -> None:
    path = folder / "attempts" / f"{attempt:03d}" / f"gpus.{host}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_gpus_are_as_busy_as_they_were_while_a_training_was_loaded(tmp_path: Path) -> None:
    start = LINE.format(0, 0, "a", "0 %", 1) + LINE.format(0, 1, "b", "0 %", 1)
    steps = "".join(LINE.format(n, 0, "a", f"{80 + 10 * n} %", 41800 + n) for n in (1, 2))
    samples(tmp_path, TITLES + start + steps + LINE.format(1, 1, "b", "65 %", 40000))

    assert read_gpus(tmp_path) == Gpus(busy_percent=80.0, peak_bytes=(41802 * MIB, 40000 * MIB))


def test_gpus_of_other_nodes_are_others_and_those_of_later_attempts_the_same(tmp_path: Path) -> None:
    for attempt, host in ((1, "node1"), (1, "node2"), (2, "node1")):
        samples(tmp_path, TITLES + LINE.format(0, 0, "a", "50 %", 100 * attempt), attempt, host)

    assert read_gpus(tmp_path).peak_bytes == (200 * MIB, 100 * MIB)


def test_fields_are_known_by_their_titles_and_what_is_not_available_counts_for_nothing(tmp_path: Path) -> None:
    units = (
        "timestamp, index, utilization.gpu [%], memory.used [MiB], memory.total [MiB]\n"
        "2025/12/05 10:24:00.101, 0, 97 %, 41805 MiB, 81920 MiB\n"
        "2025/12/05 10:24:00.103, 1, [N/A], 41801 MiB, 81920 MiB\n"
        "2025/12/05 10:24:05.101, 0, 9"
    )
    samples(tmp_path, units)
    assert read_gpus(tmp_path) == Gpus(busy_percent=97.0, peak_bytes=(41805 * MIB, 41801 * MIB))

    samples(tmp_path, units.replace(" %", "").replace(" MiB,", ","))
    assert read_gpus(tmp_path) == Gpus(busy_percent=97.0, peak_bytes=(41805 * MIB, 41801 * MIB))


def test_a_job_without_samples_has_none(tmp_path: Path) -> None:
    assert read_gpus(tmp_path) == Gpus()
    samples(tmp_path, "Failed to initialize NVML: Driver/library version mismatch\n")
    assert read_gpus(tmp_path) == Gpus()
    (tmp_path / "attempts" / "001" / "gpus.odd.csv").mkdir()
    assert read_gpus(tmp_path) == Gpus()


@given(st.text(alphabet='0, 1[%]\n\r"-9.eN\0', max_size=200))
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    samples(folder, TITLES + LINE.format(0, 0, "a", "50 %", 100) + text + "\n")
    assert read_gpus(folder).peak_bytes
