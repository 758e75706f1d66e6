import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import mounts
from autoexp.errors import AutoexpError
from autoexp.machine import Machine
from autoexp.polling import PollingObserver
from autoexp.watch import EVERYTHING, InotifyObserver, Observer, observer

PATIENCE_S = 5.0


@pytest.fixture
def eyes() -> Iterator[InotifyObserver]:
    with closing(InotifyObserver(PollingObserver(0.2, 100))) as made:
        yield made


def seen(eyes: Observer) -> set[Any]:
    """Every hint until nothing has happened for a while."""
    found: set[Any] = set()
    while hints := eyes.wait(PATIENCE_S if not found else 0.1):
        found |= hints
    return found


# inotify


CHANGES: dict[str, Callable[[Path], object]] = {
    "created": lambda folder: (folder / "new").touch(),
    "written to": lambda folder: (folder / "old").write_text("x"),
    "moved in": lambda folder: (folder.parent / "outside").rename(folder / "inside"),
    "deleted": lambda folder: (folder / "old").unlink(),
    "made as a directory": lambda folder: (folder / "sub").mkdir(),
    "made as a link": lambda folder: (folder / "link").symlink_to("old"),
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CHANGES.items()])
def test_an_entry_that_is_changed_means_its_directorys_hint(
    eyes: InotifyObserver, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "old").touch()
    (tmp_path / "outside").touch()
    eyes.add(folder, ("demo", "one"))

    change(folder)

    assert seen(eyes) == {("demo", "one")}


def test_hints_come_at_once_even_after_a_file_was_moved_out(eyes: InotifyObserver, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    eyes.add(folder, "a")
    delays = []
    for number in range(10):
        (folder / "file").touch()
        seen(eyes)
        (folder / "file").rename(tmp_path / f"out{number}")
        began = time.monotonic()
        (folder / "other").write_text(str(number))
        eyes.wait(PATIENCE_S)
        delays.append(time.monotonic() - began)

    assert sorted(delays)[5] < 0.1


def test_nothing_happens_below_a_watched_directory(eyes: InotifyObserver, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    eyes.add(tmp_path, "a")

    (tmp_path / "checkpoint" / "shard").touch()

    assert eyes.wait(0.2) == set()


def test_many_changes_are_one_hint(eyes: InotifyObserver, tmp_path: Path) -> None:
    eyes.add(tmp_path, "a")
    for number in range(1000):
        (tmp_path / str(number)).touch()

    assert seen(eyes) == {"a"}


def test_each_directory_has_its_own_hint(eyes: InotifyObserver, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        eyes.add(tmp_path / name, name)

    (tmp_path / "a" / "x").touch()
    (tmp_path / "c" / "x").touch()

    assert seen(eyes) == {"a", "c"}


def test_adding_a_directory_again_is_harmless(eyes: InotifyObserver, tmp_path: Path) -> None:
    eyes.add(tmp_path, "a")
    eyes.add(tmp_path, "a")

    (tmp_path / "x").touch()

    assert seen(eyes) == {"a"}


def test_two_names_of_one_directory_are_both_heard(eyes: InotifyObserver, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    eyes.add(tmp_path / "real", "a")
    eyes.add(tmp_path / "link", "b")

    (tmp_path / "real" / "x").touch()

    assert seen(eyes) == {"a", "b"}


@pytest.mark.parametrize("what", ["missing", "a file"])
def test_what_is_no_directory_yet_can_be_added_once_it_is(eyes: InotifyObserver, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "later"
    if what == "a file":
        folder.touch()
    eyes.add(folder, "a")
    folder.unlink(missing_ok=True)
    folder.mkdir()

    eyes.add(folder, "a")
    (folder / "x").touch()

    assert seen(eyes) == {"a"}
    assert eyes.name == "inotify"


def test_a_removed_directory_is_not_heard_any_more(eyes: InotifyObserver, tmp_path: Path) -> None:
    eyes.add(tmp_path, "a")
    eyes.remove(tmp_path)
    eyes.remove(tmp_path)
    eyes.wait(0.1)

    (tmp_path / "x").touch()

    assert eyes.wait(0.2) == set()


def test_a_directory_that_is_deleted_says_so_and_can_be_added_anew(eyes: InotifyObserver, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    eyes.add(folder, "a")

    folder.rmdir()
    assert seen(eyes) == {"a"}
    folder.mkdir()
    eyes.add(folder, "a")
    (folder / "x").touch()

    assert seen(eyes) == {"a"}


def test_directories_may_come_and_go_while_others_are_added(eyes: InotifyObserver, tmp_path: Path) -> None:
    """Watchdog's thread notes the deletions while ours notes the additions."""
    over = threading.Event()

    def churn() -> None:
        number = 0
        while not over.is_set():
            folder = tmp_path / f"gone{number}"
            folder.mkdir()
            eyes.add(folder, "gone")
            folder.rmdir()
            number += 1

    churning = threading.Thread(target=churn)
    churning.start()
    for number in range(300):
        (tmp_path / f"kept{number}").mkdir()
        eyes.add(tmp_path / f"kept{number}", number)
    over.set()
    churning.join()
    seen(eyes)

    (tmp_path / "kept7" / "x").touch()

    assert 7 in seen(eyes)


def test_a_lost_event_asks_for_a_look_at_everything(eyes: InotifyObserver, tmp_path: Path) -> None:
    largest = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    eyes.add(tmp_path, "a")
    with eyes._inotify._lock, (tmp_path / "x").open("ab", 0) as x, (tmp_path / "y").open("ab", 0) as y:
        for _ in range(largest):  # watchdog's thread cannot read, as if it had no time to
            x.write(b".")  # equal events in a row would be merged
            y.write(b".")

    assert EVERYTHING in seen(eyes)


def test_waiting_ends_when_the_time_is_over(eyes: InotifyObserver) -> None:
    began = time.monotonic()

    assert eyes.wait(0.1) == set()
    assert 0.05 < time.monotonic() - began < 2.0


def test_a_directory_that_may_not_be_read_is_polled_and_the_others_are_still_heard(
    tmp_path: Path, humble: tuple[str, ...]
) -> None:
    for name in ("open", "closed", "shut"):
        (tmp_path / name).mkdir()
    script = """
import sys, time; from pathlib import Path; from autoexp.machine import Machine; from autoexp.watch import observer
home = Path(sys.argv[1]); eyes = observer(Machine(name="m", poll_s=0.3), home, "inotify")
for name in ("closed", "shut"):
    (home / name).chmod(0)
    eyes.add(home / name, name)
eyes.add(home / "open", "open")
print(eyes.name.partition(":")[0])
(home / "open" / "x").touch()
found, until = set(), time.monotonic() + 10
while found != {"open", "closed", "shut"} and time.monotonic() < until:
    found |= eyes.wait(1)
print(sorted(found))
eyes.remove(home / "closed"); eyes.close()
"""

    command = [*humble, sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    for name in ("closed", "shut"):
        (tmp_path / name).chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"inotify and poll ({tmp_path / 'closed'} may not be read)",
        "['closed', 'open', 'shut']",
    ]


# Choosing


MACHINE = Machine(name="bench", poll_s=0.1)


@pytest.mark.parametrize(
    ("asked", "kind", "name"),
    [
        ("auto", "ext4", "inotify"),
        ("auto", "lustre", "poll"),
        ("inotify", "lustre", "inotify"),
        ("poll", "ext4", "poll"),
    ],
)
def test_an_observer_is_chosen_by_the_file_system_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, kind: str, name: str
) -> None:
    monkeypatch.setattr(mounts, "kind_of", lambda _: kind)

    with closing(observer(replace(MACHINE, observer=asked), tmp_path)) as said_by_the_machine:
        assert said_by_the_machine.name == name
    with closing(observer(replace(MACHINE, observer="poll"), tmp_path, asked)) as said:
        assert said.name == name


@pytest.fixture
def no_inotify() -> Iterator[None]:
    """Use up every file descriptor that inotify could have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("no_inotify")
def test_where_inotify_does_not_work_we_poll(tmp_path: Path) -> None:
    assert observer(MACHINE, tmp_path).name == "poll"


@pytest.mark.usefixtures("no_inotify")
def test_who_insists_on_inotify_where_it_does_not_work_is_told(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="inotify does not work here") as caught:
        observer(MACHINE, tmp_path, "inotify")

    assert "--observer auto" in caught.value.fix
