import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import mounts
from autoexp.checkup import Grade, place

if TYPE_CHECKING:
    from tests.checkup.conftest import Ask
    from tests.conftest import Room

ONE = "one: {command: [echo, hello]}\n"
SLOW = "one: {command: 'until test -e go; do sleep 0.05; done'}\n"


@pytest.fixture
def said(room: "Room") -> Callable[[str], str]:
    """Say what the real program finds about one thing; it never fails for anything else."""

    def run(about: str) -> str:
        done = room.run("doctor", "--machine", "local", "--root", room.root)
        assert done.stderr == ""
        assert done.returncode == int("\nFAIL" in done.stdout)
        return next(line for line in done.stdout.splitlines() if line[6:].startswith(f"{about}:"))

    return run


Said = Callable[[str], str]


def test_a_root_that_is_not_there_yet_is_no_fault(room: "Room", said: Said) -> None:
    assert said("root") == f"ok    root: {room.root} is not there yet; a plan makes it"
    assert not room.root.exists()


def test_a_root_that_is_a_file_fails(room: "Room", said: Said) -> None:
    room.root.write_text("")

    assert said("root") == f"FAIL  root: {room.root} is a file; choose a folder: --root DIR"


def test_a_root_on_a_file_system_that_is_read_only_fails(room: "Room", said: Said) -> None:
    room.root.mkdir()
    script = f'mount --bind {room.root} {room.root} && mount -o remount,ro,bind {room.root} && exec "$@"'
    room.prefix = ("unshare", "--mount", "sh", "-c", script, "sh")

    assert said("root").startswith(f"FAIL  root: {room.root} lies on a file system that is read-only here; choose")


def test_a_root_that_may_not_be_written_to_fails(room: "Room", said: Said, humble: tuple[str, ...]) -> None:
    room.root.mkdir(mode=0o555)
    room.prefix = humble

    assert said("root").startswith(f"FAIL  root: {room.root} may not be written to; see to its permissions")


def test_a_full_file_system_fails_and_little_room_is_told(room: "Room", said: Said) -> None:
    room.root.mkdir()
    full = f'mount -t tmpfs -o size=64k none {room.root} && (cat /dev/zero > {room.root}/full 2> /dev/null; exec "$@")'
    room.prefix = ("unshare", "--mount", "sh", "-c", full, "sh")
    assert said("room").startswith("FAIL  room: 0.0 GiB free")

    room.prefix = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=9m none {room.root} && exec "$@"', "sh")
    assert said("room").startswith("warn  room: only 0.0 GiB free")
    assert said("file system") == "ok    file system: tmpfs, observer inotify"


@pytest.mark.parametrize(
    ("kind", "observer", "told"),
    [
        ("lustre", "auto", "lustre, observer poll"),
        ("lustre", "poll", "lustre, observer poll"),
        ("fuse.sshfs", "inotify", "fuse.sshfs: inotify does not see what other hosts write to it; only sweeps do"),
        ("ext4", "auto", "ext4, observer inotify"),
        ("ext4", "poll", "ext4, observer poll"),
    ],
)
def test_what_the_root_lies_on_and_how_it_is_looked_at_is_told(
    ask: "Ask", monkeypatch: pytest.MonkeyPatch, kind: str, observer: str, told: str
) -> None:
    monkeypatch.setattr(mounts, "kind_of", lambda _: kind)

    found = ask(place.file_system, observer=observer)["file system"]

    assert (found.grade, found.why) == (Grade.WARN if "only sweeps" in told else Grade.OK, told)


def test_times_ahead_of_our_clock_are_told(ask: "Ask", tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    root.mkdir()
    assert ask(place.clock)["clock"].grade is Grade.OK
    os.utime(root, (time.time() + 100,) * 2)

    assert ask(place.clock)["clock"].why.endswith("s ahead of this host's clock")


def test_a_journal_whose_file_has_another_time_than_its_lines_is_told(room: "Room", said: Said) -> None:
    room.plan(ONE)
    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert said("clock") == "ok    clock: files and the journal agree with it"
    (journal,) = (room.var / "journal").glob("*.jsonl")
    at = journal.stat().st_mtime
    os.utime(journal, (at - 3600,) * 2)

    assert said("clock").startswith("warn  clock: the journal's last line and its file's time are 3600 s apart")
    with journal.open("ab") as file:
        file.write(b"torn")
    assert said("clock").startswith("ok ")


def test_who_watches_is_told_and_that_nobody_does(room: "Room", said: Said) -> None:
    room.plan(SLOW)
    assert said("watcher") == f"warn  watcher: nobody watches; autoexp watch {room.root}"
    watcher = room.watch()

    assert said("watcher").startswith(f"ok    watcher: pid {watcher.pid} on ")
    room.stop(watcher, signal.SIGKILL)  # or its next heartbeat would mend what we tear
    (room.root / ".autoexp" / "lease.json").write_text("torn")
    assert said("watcher").startswith("FAIL  watcher: ")


CRONTABS = """
mount -t tmpfs none /var/spool/cron/crontabs
chown root:crontab /var/spool/cron/crontabs; chmod 1730 /var/spool/cron/crontabs
%s
exec "$@"
"""


def test_a_root_that_cron_does_not_keep_watched_is_told(room: "Room", said: Said) -> None:
    room.plan(ONE)
    install = " ".join(room.command("cron", room.root, "--install"))
    room.prefix = ("unshare", "--mount", "sh", "-c", CRONTABS % "", "sh")
    assert said("cron").endswith(f"autoexp cron {room.root} --install")

    room.prefix = ("unshare", "--mount", "sh", "-c", CRONTABS % f"{install} > /dev/null", "sh")
    assert said("cron") == "ok    cron: it keeps this root watched"


def test_a_host_without_cron_is_told(room: "Room", said: Said, tmp_path: Path) -> None:
    room.plan(ONE)
    room.variables["PATH"] = str(tmp_path)

    assert said("cron").startswith("warn  cron: the crontab cannot be used: there is no crontab command")
