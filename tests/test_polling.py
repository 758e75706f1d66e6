import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.polling import BATCH_S, LONGEST, PollingObserver


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-4)


class Eyes(PollingObserver):
    """An observer in a time of its own."""

    def __init__(self, most_per_s: float = 1000.0) -> None:
        self.time = Time()
        super().__init__(1.0, most_per_s, lambda: self.time.now, self.time.sleep)

    def seen_in(self, seconds: float) -> list[tuple[float, Any]]:
        """What is seen in so long a time, and when."""
        found, until = [], self.time.now + seconds
        while (left := until - self.time.now) > 0:
            found += [(self.time.now, hint) for hint in self.wait(left)]
        return found


@pytest.fixture
def eyes() -> Eyes:
    return Eyes()


CHANGES: dict[str, Callable[[Path], object]] = {
    "created": lambda folder: (folder / "new").touch(),
    "written to": lambda folder: (folder / "old").write_text("x"),
    "written anew with as many bytes": lambda folder: os.utime(folder / "old", ns=(1, 1)),
    "replaced": lambda folder: (folder / "sub").rename(folder / "other"),
    "deleted": lambda folder: (folder / "old").unlink(),
    "made as a link": lambda folder: (folder / "link").symlink_to("nowhere"),
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CHANGES.items()])
def test_an_entry_that_is_changed_means_its_directorys_hint(
    eyes: Eyes, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "old").touch()
    eyes.add(tmp_path, ("demo", "one"))
    eyes.seen_in(3)

    change(tmp_path)

    assert [hint for _, hint in eyes.seen_in(5)] == [("demo", "one")]


def test_the_first_look_tells_what_is_there_and_then_nothing_happens(eyes: Eyes, tmp_path: Path) -> None:
    eyes.add(tmp_path, "a")
    eyes.add(tmp_path, "b")

    assert [hint for _, hint in eyes.seen_in(100)] == ["a"]


def test_what_lies_in_a_sub_directory_costs_nothing_and_tells_nothing(
    eyes: Eyes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint").mkdir()
    eyes.add(tmp_path, "a")
    eyes.seen_in(3)
    listed: list[str] = []
    look = os.scandir

    def noted(path: str) -> Any:
        listed.append(path)
        return look(path)

    monkeypatch.setattr(os, "scandir", noted)

    (tmp_path / "checkpoint" / "shard").touch()

    assert eyes.seen_in(30) == []
    assert set(listed) == {str(tmp_path)}


def test_where_something_happens_is_looked_at_more_often_than_where_nothing_does(eyes: Eyes, tmp_path: Path) -> None:
    eyes.add(tmp_path, "a")
    log = tmp_path / "log"
    seen = []
    for number in range(20):  # a line every 5 s
        log.write_text(str(number))
        seen += [at for at, _ in eyes.seen_in(5)]
    assert len(seen) >= 15

    before = eyes.time.now
    eyes.seen_in(100)
    log.write_text("at last")
    ((at, _),) = eyes.seen_in(LONGEST + 1)

    assert at - before - 100 <= LONGEST + 0.1


class Storm(Eyes):
    """All directories change all the time; when each look was."""

    def __init__(self, most_per_s: float) -> None:
        super().__init__(most_per_s)
        self.looks: list[float] = []

    def _look(self, path: str, *place: Any) -> set[Hashable]:
        self.looks.append(self.time.now)
        (Path(path) / "log").write_text(str(len(self.looks)))
        return super()._look(path, *place)


@settings(deadline=None, max_examples=20)
@given(folders=st.integers(1, 60), most=st.integers(5, 200))
def test_never_are_more_entries_looked_at_in_a_second_than_is_allowed(
    tmp_path_factory: pytest.TempPathFactory, folders: int, most: int
) -> None:
    home = tmp_path_factory.mktemp("many")
    eyes = Storm(most)
    for number in range(folders):
        (home / str(number)).mkdir()
        eyes.add(home / str(number), number)

    eyes.seen_in(20)

    for second in range(20):
        entries = 2 * sum(0 <= at - 100 - second < 1 for at in eyes.looks)
        assert entries <= most * (1 + 2 * BATCH_S) + 4
    assert len(eyes.looks) >= min(folders * 10, most * 10 / 2) - 1


def test_where_there_are_too_many_directories_those_in_which_nothing_happens_wait_longer(tmp_path: Path) -> None:
    eyes = Eyes(100)
    for number in range(500):
        (tmp_path / f"idle{number}").mkdir()
        eyes.add(tmp_path / f"idle{number}", "idle")
    (tmp_path / "busy").mkdir()
    eyes.add(tmp_path / "busy", "busy")
    eyes.seen_in(60)

    seen = []
    for number in range(30):
        (tmp_path / "busy" / "log").write_text(str(number))
        seen += [hint for _, hint in eyes.seen_in(3)]

    assert seen.count("busy") >= 20  # when each is looked at depends on its name
    (tmp_path / "idle7" / "marker").touch()
    assert [hint for _, hint in eyes.seen_in(2 * LONGEST)] == ["idle"]


def test_a_large_directory_keeps_the_others_from_nothing(eyes: Eyes, tmp_path: Path) -> None:
    for name in ("large", "other"):
        (tmp_path / name).mkdir()
    for number in range(3000):
        (tmp_path / "large" / f"file{number}").touch()
        (tmp_path / "large" / f"sub{number}").mkdir()
    eyes.add(tmp_path / "large", "large")
    eyes.add(tmp_path / "other", "other")
    eyes.seen_in(3)

    (tmp_path / "other" / "new").touch()
    assert [hint for _, hint in eyes.seen_in(3)] == ["other"]
    (tmp_path / "large" / "sub7").rename(tmp_path / "large" / "new")
    assert [hint for _, hint in eyes.seen_in(2 * LONGEST)] == ["large"]


def test_a_directory_that_is_deleted_says_so_and_can_be_added_anew(eyes: Eyes, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    eyes.add(folder, "a")
    eyes.seen_in(3)

    folder.rmdir()
    assert [hint for _, hint in eyes.seen_in(20)] == ["a"]
    folder.mkdir()
    eyes.add(folder, "a")

    assert [hint for _, hint in eyes.seen_in(3)] == ["a"]


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_what_is_no_directory_is_nothing_to_look_at(eyes: Eyes, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "later"
    if what == "a file":
        folder.touch()
    eyes.add(folder, "a")

    assert eyes.seen_in(30) == []


def test_a_removed_directory_is_looked_at_no_longer_and_nothing_is_left_of_it(eyes: Eyes, tmp_path: Path) -> None:
    for number in range(1000):
        eyes.add(tmp_path / str(number), number)
        eyes.remove(tmp_path / str(number))
    eyes.remove(tmp_path)

    assert eyes.seen_in(30) == []
    assert len(eyes._queue) < 200


def test_waiting_ends_when_the_time_is_over_or_something_is_seen(tmp_path: Path) -> None:
    eyes = PollingObserver(0.05, 1000)
    assert eyes.wait(0.1) == set()

    eyes.add(tmp_path, "a")

    assert eyes.wait(5) == {"a"}
    eyes.close()
