from pathlib import Path
from random import Random

from autoexp.simulation.disk import Disk
from autoexp.simulation.timeline import Timeline


def test_what_a_node_writes_is_on_the_server_at_once_and_visible_later_and_in_order(tmp_path: Path) -> None:
    timeline, told, chance = Timeline(1000.0), list[Path](), Random(3)
    disk = Disk(timeline, told.append, 50.0)
    for number in range(20):
        disk.append(tmp_path, tmp_path / "log", f"{number}\n", chance)
    disk.put(tmp_path, tmp_path / "deep" / "exit.json", b"{}", chance)

    assert disk.exists(tmp_path / "deep" / "exit.json")
    assert (list(tmp_path.iterdir()), told) == ([], [])
    while not (tmp_path / "deep").exists():
        timeline.step(1100.0)

    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(20)]
    assert (tmp_path / "log").stat().st_mtime <= timeline.now <= 1050.0
    assert set(told) == {tmp_path, tmp_path / "deep"}
    assert disk.exists(tmp_path / "deep" / "exit.json")


def test_who_creates_a_file_first_is_decided_at_once(tmp_path: Path) -> None:
    told = list[Path]()
    disk = Disk(Timeline(0.0), told.append, 50.0)

    assert disk.create(tmp_path / "run.t", "7\n")
    assert not disk.create(tmp_path / "run.t", "8\n")

    assert (tmp_path / "run.t").read_text() == "7\n"
    assert told == [tmp_path]
