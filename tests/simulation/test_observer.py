from pathlib import Path
from random import Random

from autoexp.simulation.observer import LATEST_S, SimulatedObserver
from autoexp.simulation.timeline import Timeline


def test_some_notifications_come_at_once_some_late_some_twice_and_some_never(tmp_path: Path) -> None:
    observer = SimulatedObserver(Timeline(0.0), Random(1))
    observer.add(tmp_path, "hint")
    counts = []
    for _ in range(500):
        observer.happened(tmp_path)
        at_once = observer.wait(0.0) == {"hint"}
        later = sum(observer.wait(2 * LATEST_S) == {"hint"} for _ in range(2))
        counts.append((at_once, later))

    assert set(counts) == {(True, 0), (False, 1), (True, 1), (False, 0)}
    assert counts.count((True, 0)) > 200


def test_waiting_lets_time_pass_until_something_happens(tmp_path: Path) -> None:
    timeline = Timeline(0.0)
    observer = SimulatedObserver(timeline, Random(1))
    observer.add(tmp_path, "hint")
    for at in range(50):
        timeline.after(100.0 + at, lambda: observer.happened(tmp_path))

    assert observer.wait(50.0) == set()
    assert timeline.now == 50.0
    assert observer.wait(500.0) == {"hint"}
    assert 100.0 <= timeline.now < 150.0


def test_only_folders_that_are_there_and_watched_are_told_of(tmp_path: Path) -> None:
    observer = SimulatedObserver(Timeline(0.0), Random(1))
    observer.add(tmp_path / "missing", "missing")
    observer.add(tmp_path, "removed")
    observer.remove(tmp_path)
    for _ in range(50):
        observer.happened(tmp_path)
        observer.happened(tmp_path / "missing")

    assert observer.wait(2 * LATEST_S) == set()
