import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import hosts, lease
from autoexp.errors import AlreadyWatched, AutoexpError, TakenOver
from autoexp.lease import BEAT_S, Lease

if TYPE_CHECKING:
    from tests.conftest import Room

NOW = 1_795_210_801.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments"
    folder.mkdir()
    return folder


@pytest.fixture
def take(root: Path) -> Iterator[Callable[[], Lease]]:
    """Take the root's lease; it is given back at the end."""
    taken: list[Lease] = []

    def take_one() -> Lease:
        taken.append(lease.take(root, lease.var_of(root), NOW))
        return taken[-1]

    yield take_one
    for one in taken:
        one.release()


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as program:
        yield program
        program.kill()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge other hosts' heartbeats in tenths of seconds."""
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    monkeypatch.setattr(lease, "PATIENCE_S", 0.4)


def forge(root: Path, **fields: Any) -> Path:
    """Write a lease that somebody holds."""
    usual = {"held": True, **hosts.this_process().to_record()}
    path = root / ".autoexp" / "lease.json"
    path.parent.mkdir(exist_ok=True)
    record = {"v": 1, **usual, "since": "2026-11-20T21:40:00Z", "nonce": "another", "beat": 5, **fields}
    path.with_suffix(".draft").write_text(json.dumps(record))
    path.with_suffix(".draft").replace(path)
    return path


def recorded(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / ".autoexp" / "lease.json").read_text())
    return found


# Taking


def test_a_taken_lease_names_its_holder(root: Path, take: Callable[[], Lease]) -> None:
    take()

    holder = lease.holder(root)
    assert holder is not None
    assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert holder["since"] == "2026-11-20T21:40:01.000000Z"


def test_a_released_lease_names_nobody_and_can_be_taken_again(root: Path, take: Callable[[], Lease]) -> None:
    first = lease.take(root, root.parent / "var", NOW)
    first.release()

    assert lease.holder(root) is None
    take()


def test_a_root_that_nobody_ever_watched_has_no_holder(root: Path) -> None:
    assert lease.holder(root) is None


def test_a_second_taker_on_the_host_is_refused(take: Callable[[], Lease]) -> None:
    take()

    with pytest.raises(AlreadyWatched) as caught:
        take()

    assert caught.value.why.startswith(f"by pid {os.getpid()} on {socket.gethostname()} since 2026-11-20T21:40:01")


def test_a_living_holder_is_respected_even_without_its_lock(
    root: Path, take: Callable[[], Lease], stranger: "subprocess.Popen[bytes]"
) -> None:
    """A file system may know no locks."""
    forge(root, pid=stranger.pid, start_time=hosts.start_time(stranger.pid))

    with pytest.raises(AlreadyWatched, match=f"by pid {stranger.pid}"):
        take()


def test_a_dead_holder_is_replaced_at_once(root: Path, take: Callable[[], Lease]) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    forge(root, pid=gone.pid, start_time=1)

    began = time.monotonic()
    take()

    assert time.monotonic() - began < 1.0
    assert recorded(root)["pid"] == os.getpid()


def test_a_pid_that_another_process_has_by_now_is_no_holder(
    root: Path, take: Callable[[], Lease], stranger: "subprocess.Popen[bytes]"
) -> None:
    began = hosts.start_time(stranger.pid)
    assert began is not None
    forge(root, pid=stranger.pid, start_time=began - 1)

    assert lease.holder(root) is None
    take()


def test_a_holder_in_another_container_is_named_as_that() -> None:
    """Its pid is somebody else's here."""
    said = {"pid": 1, "host": hosts.hostname(), "since": "now", "pid_namespace": hosts.pid_namespace()}

    assert lease.named_as(said) == f"pid 1 on {hosts.hostname()} since now"
    assert lease.named_as({**said, "pid_namespace": "pid:[1]"}).startswith("pid 1 of another container (pid:[1]) on ")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"host": "elsewhere"}, id="on another host"),
        pytest.param({"boot_id": "another"}, id="of another boot, or of another host of the same name"),
        pytest.param({"pid_namespace": "pid:[1]"}, id="in another container"),
    ],
)
class TestAHolderThatCannotBeSeen:
    def test_it_is_replaced_once_its_heartbeat_stands_still(
        self, root: Path, take: Callable[[], Lease], fields: dict[str, Any]
    ) -> None:
        forge(root, **fields)

        began = time.monotonic()
        take()

        assert time.monotonic() - began >= lease.PATIENCE_S

    def test_it_is_respected_while_its_heart_beats(
        self, root: Path, take: Callable[[], Lease], fields: dict[str, Any]
    ) -> None:
        forge(root, **fields)
        over = threading.Event()

        def beat() -> None:
            number = 6
            while not over.wait(0.1):
                forge(root, beat=number, **fields)
                number += 1

        heart = threading.Thread(target=beat)
        heart.start()
        try:
            with pytest.raises(AlreadyWatched, match="since 2026-11-20T21:40:00Z"):
                take()
        finally:
            over.set()
            heart.join()


@pytest.mark.usefixtures("quick")
class TestASuspendedHolder:
    @pytest.fixture
    def suspended(self, stranger: "subprocess.Popen[bytes]", wait: Callable[..., Any]) -> dict[str, Any]:
        stranger.send_signal(signal.SIGSTOP)
        wait(lambda: hosts.is_suspended(stranger.pid))
        return {"pid": stranger.pid, "start_time": hosts.start_time(stranger.pid)}

    def test_it_is_ended_before_it_is_replaced(
        self, root: Path, take: Callable[[], Lease], stranger: "subprocess.Popen[bytes]", suspended: dict[str, Any]
    ) -> None:
        forge(root, **suspended)

        began = time.monotonic()
        take()

        assert time.monotonic() - began >= lease.PATIENCE_S
        assert stranger.wait(5) == -signal.SIGKILL

    def test_it_lives_if_it_goes_on_in_time(
        self, root: Path, take: Callable[[], Lease], stranger: "subprocess.Popen[bytes]", suspended: dict[str, Any]
    ) -> None:
        forge(root, **suspended)
        beat = threading.Timer(0.15, forge, (root,), {**suspended, "beat": 6})
        beat.start()

        with pytest.raises(AlreadyWatched, match=f"by pid {stranger.pid}"):
            take()

        beat.join()
        assert stranger.poll() is None


@pytest.mark.usefixtures("quick")
def test_a_lock_outlives_no_holder_that_cannot_be_seen(root: Path, take: Callable[[], Lease]) -> None:
    """A suspended holder in another container of this host keeps its lock as long as it likes."""
    first = take()
    forge(root, pid_namespace="pid:[1]")

    second = take()

    assert not first.is_ours()
    assert second.is_ours()


def test_a_lock_without_a_name_is_respected(
    root: Path, take: Callable[[], Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "MOMENT_S", 0.1)
    take()
    (root / ".autoexp" / "lease.json").unlink()

    with pytest.raises(AlreadyWatched) as refused:
        take()

    assert refused.value.why == "by another process"


def test_a_file_system_without_locks_is_done_without(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_PATH)  # flock refuses such a descriptor, as Lustre may refuse any
    try:
        assert not lease._is_locked(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("content", [pytest.param("", id="an empty file"), pytest.param("[]", id="no object")])
def test_a_lease_that_cannot_be_read_is_no_free_lease(root: Path, take: Callable[[], Lease], content: str) -> None:
    (root / ".autoexp").mkdir()
    (root / ".autoexp" / "lease.json").write_text(content)

    with pytest.raises(AutoexpError, match=r"lease\.json cannot be read") as caught:
        take()

    assert "delete it" in caught.value.fix


def test_a_root_that_may_not_be_written_to_says_so(root: Path, humble: tuple[str, ...]) -> None:
    root.chmod(0o555)
    script = f"from pathlib import Path; from autoexp import lease; lease.take(Path({str(root)!r}), Path('/'), 0.0)"

    done = subprocess.run([*humble, sys.executable, "-c", script], check=False, capture_output=True, text=True)

    assert "cannot be watched" in done.stderr
    assert "choose a folder that you may write to" in done.stderr


RIVAL = """
import sys, time; from pathlib import Path; from autoexp import lease; from autoexp.errors import AlreadyWatched
for number in range(int(sys.argv[2])):
    root = Path(sys.argv[1]) / str(number)
    while not (root / "go").exists():
        pass
    try: taken = lease.take(root, lease.var_of(root), 0.0)
    except AlreadyWatched as refusal: print("refused", refusal.why, flush=True)
    else: print("took", flush=True)
time.sleep(60)  # a holder that is gone has no name to be refused by
"""


def test_of_two_takers_at_the_same_instant_one_wins_and_the_other_names_it(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).mkdir()
    command = [sys.executable, "-c", RIVAL, str(tmp_path), "100"]
    with ExitStack() as stack:
        rivals = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(2)]
        for rival in rivals:
            stack.callback(rival.kill)
        for number in range(100):
            (tmp_path / str(number) / "go").touch()
            said = [rival.stdout.readline().strip() for rival in rivals if rival.stdout]
            winner = rivals[said.index("took")]
            assert min(said).startswith(f"refused by pid {winner.pid} on "), said


# Holding


def test_the_heart_beats_when_it_is_time_to(root: Path, take: Callable[[], Lease]) -> None:
    mine = take()

    beats = []
    for now in (NOW, NOW + BEAT_S - 0.1, NOW + BEAT_S, NOW + BEAT_S + 0.1):
        mine.beat(now)
        beats.append(recorded(root)["beat"])

    assert beats == [1, 1, 2, 2]
    assert mine.due_in_s(NOW + BEAT_S + 1) == BEAT_S - 1


def test_who_lost_the_lease_notices_and_leaves_it_alone(root: Path) -> None:
    mine = lease.take(root, root.parent / "var", NOW)
    path = forge(root, host="elsewhere", pid=77)
    theirs = path.read_text()

    assert not mine.is_ours()
    for act in (mine.check, lambda: mine.beat(NOW + 60)):
        with pytest.raises(AlreadyWatched, match="by pid 77 on elsewhere"):
            act()
    mine.release()

    assert path.read_text() == theirs


def test_a_lease_that_was_deleted_is_lost(root: Path) -> None:
    mine = lease.take(root, root.parent / "var", NOW)
    (root / ".autoexp" / "lease.json").unlink()

    with pytest.raises(AlreadyWatched, match=r"no longer ours to watch") as caught:
        mine.check()

    assert caught.value.why.endswith("lease.json is gone")
    mine.release()
    assert not (root / ".autoexp" / "lease.json").exists()


def test_who_wrote_over_its_takers_lease_notices_by_the_journal(root: Path, take: Callable[[], Lease]) -> None:
    """It was suspended between asking whether the lease is its own and writing its heartbeat."""
    held = take()
    (root / "1.jsonl").touch()
    held.name_epoch(1, root / "1.jsonl")

    (root / "2.jsonl").touch()

    with pytest.raises(TakenOver, match="another watcher began the journal's next file"):
        held.check()


def test_a_copy_of_the_lease_put_back_in_its_place_is_still_ours(root: Path, take: Callable[[], Lease]) -> None:
    mine = take()
    path = root / ".autoexp" / "lease.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text)

    mine.check()


# Where var is


def test_var_is_beside_the_root_under_its_name(root: Path) -> None:
    assert lease.var_of(root) == root.parent / "var" / "experiments"


def test_var_is_where_it_is_asked_for_under_the_roots_name(root: Path, tmp_path: Path) -> None:
    assert lease.var_of(root, str(tmp_path / "fast")) == tmp_path / "fast" / "experiments"


def test_var_follows_the_environment_under_the_roots_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOEXP_VAR", str(tmp_path / "fast"))

    assert lease.var_of(root) == tmp_path / "fast" / "experiments"
    assert lease.var_of(root, str(tmp_path / "faster")) == tmp_path / "faster" / "experiments"


def test_a_root_behind_a_symlink_has_the_var_of_the_real_one(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "alias"
    link.parent.mkdir()
    link.symlink_to(root)

    assert lease.var_of(link) == lease.var_of(root)


def test_a_root_remembers_its_var(root: Path, tmp_path: Path) -> None:
    var = lease.var_of(root, str(tmp_path / "fast"))
    var.mkdir(parents=True)
    lease.take(root, var, NOW).release()

    assert lease.var_of(root) == var


def test_another_var_for_a_root_is_refused(root: Path, tmp_path: Path) -> None:
    lease.take(root, lease.var_of(root), NOW).release()

    with pytest.raises(AutoexpError, match="keeps its runtime state in") as caught:
        lease.var_of(root, str(tmp_path / "other"))

    assert caught.value.fix == f"leave out --var and AUTOEXP_VAR, or give {tmp_path / 'var'}"


def test_root_and_var_may_be_moved_together(root: Path, tmp_path: Path) -> None:
    var = lease.var_of(root)
    var.mkdir(parents=True)
    lease.take(root, var, NOW).release()

    moved = tmp_path / "archive"
    moved.mkdir()
    root.rename(moved / "experiments")
    (tmp_path / "var").rename(moved / "var")

    assert lease.var_of(moved / "experiments") == moved / "var" / "experiments"


# The whole program


def test_a_second_watcher_is_told_to_try_later_and_who_watches(room: "Room") -> None:
    room.plan("one: {command: 'sleep 60'}\n")
    first = room.watch()

    second = room.run("watch", room.root)

    assert second.returncode == 75
    assert f"by pid {first.pid} on {socket.gethostname()} since 20" in second.stderr
    assert first.poll() is None


def test_a_watcher_with_another_var_is_refused(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.watch("--var", room.home / "fast")

    variables = {**room.environment(), "AUTOEXP_VAR": str(room.home / "other")}
    second = room.run("watch", room.root, env=variables)

    assert second.returncode == 1
    assert "one root has one journal" in second.stderr
    assert not (room.home / "other").exists()


def test_a_killed_watcher_is_replaced_at_once(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    first = room.watch()
    room.stop(first, signal.SIGKILL)

    assert room.run("watch", room.root, "--once").returncode == 0
    assert recorded(room.root)["held"] is False


def test_var_is_for_its_owner_only_whatever_the_umask(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")

    room.run("watch", room.root, "--once", umask=0)

    assert room.var.stat().st_mode & 0o777 == 0o700


def test_a_watcher_that_was_suspended_and_replaced_does_nothing_more(room: "Room") -> None:
    room.plan("one: {command: 'sleep 1'}\ntwo: {needs: one, command: 'true'}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    watcher.send_signal(signal.SIGSTOP)
    theirs = forge(room.root, host="elsewhere", pid=77).read_text()

    watcher.send_signal(signal.SIGCONT)

    assert watcher.wait(30) == 75
    assert "by pid 77 on elsewhere" in room.said()
    assert (room.root / ".autoexp" / "lease.json").read_text() == theirs
    assert not room.attempt_dir("two").exists()


SUSPEND = """
import os, pathlib, signal

def prepare(folder):
    with open("prepared", "a") as file:
        file.write("once\\n")
    if not pathlib.Path("suspended").exists():
        pathlib.Path("suspended").touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return {}
"""
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


def suspended_within_an_action(room: "Room") -> "subprocess.Popen[bytes]":
    """Start a watcher that is suspended between deciding to submit and submitting."""
    room.write("hooks/suspend.py", SUSPEND)
    room.plan("one: {prepare: {suspend: {}}, command: 'echo ran >> ran'}\n")
    watcher = room.watch()
    room.wait_until(lambda: hosts.is_suspended(watcher.pid))
    return watcher


def runs_of(room: "Room") -> list[str]:
    return (room.job_dir("one") / "ran").read_text().splitlines()


def test_a_watcher_suspended_on_this_host_is_ended_by_the_next_one(room: "Room") -> None:
    first = suspended_within_an_action(room)

    assert room.run("watch", room.root, "--until-done").returncode == 0

    assert first.wait(5) == -signal.SIGKILL
    assert runs_of(room) == ["ran"]
    assert room.run("replay", room.root, "--check").returncode == 0


def test_a_suspended_watcher_is_told(room: "Room", wait: Callable[..., Any]) -> None:
    room.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\n")
    watcher = room.watch()
    watcher.send_signal(signal.SIGSTOP)
    wait(lambda: hosts.is_suspended(watcher.pid))

    assert "problem: watcher: the watcher is suspended; let it go on" in room.run("status", room.root).stdout
    assert "warn  watcher: the watcher is suspended; let it go on" in room.run("doctor", "--root", room.root).stdout
    watcher.send_signal(signal.SIGCONT)


def test_a_holder_elsewhere_whose_heart_stands_still_is_told(root: Path, take: Callable[[], Lease]) -> None:
    take()
    found = lease.holder(root)
    assert found is not None
    assert lease.silence(root, found, time.time()) is None
    assert lease.silence(root, found, time.time() + 3600) == (
        f"the watcher has shown no sign of life for 3600 s; if it is gone: autoexp watch {root}"
    )


def test_what_is_gone_for_good_with_its_container_is_ended_by_a_person(room: "Room") -> None:
    room.plan("one: {command: 'sleep 600'}\n")
    room.prefix = CONTAINER
    room.start("watch", room.root, "--observer", "poll")
    room.wait_for({"one": "running"})
    room.wait_until(
        (room.attempt_dir("one") / "started.json").exists
    )  # its claim, which comes first, is a beginning too
    (container,) = room.watchers
    room.prefix = ()
    for child in children_of(container.pid):
        os.kill(child, signal.SIGKILL)  # the first process of a PID namespace takes all with it
    room.watch("--until-done")
    room.wait_until(lambda: "gone for good: " in room.run("status", room.root).stdout)

    (advice,) = re.findall("gone for good: (echo .*)", room.run("status", room.root).stdout)
    subprocess.run(["bash", "-c", advice], check=True)

    room.wait_for({"one": "failed"})


def test_a_watcher_suspended_in_another_container_finishes_its_action_and_no_more(room: "Room") -> None:
    """Neither can see or end the other: what the first still writes is ignored, and its submission has no effect."""
    first = suspended_within_an_action(room)
    room.prefix = CONTAINER

    assert room.run("watch", room.root, "--until-done").returncode == 0
    after = len(room.journal())
    first.send_signal(signal.SIGCONT)

    assert first.wait(30) == 75
    assert f"autoexp: {room.root} is no longer ours to watch\n  why: it was taken over by pid " in room.said()
    assert runs_of(room) == ["ran"]
    assert [path.name for path in room.attempt_dir("one").parent.iterdir()] == ["001"]
    assert len(room.journal()) == after, "what it wrote down of that is in a file that has been sealed"
    room.prefix = ()
    assert room.run("replay", room.root, "--check").returncode == 0
    assert room.states() == {"one": "succeeded"}


def test_what_another_container_started_is_unknown_here_until_it_says_how_it_ended(room: "Room") -> None:
    room.plan("one: {command: 'until test -e go; do sleep 0.02; done; echo ran >> ran'}\n")
    room.prefix = CONTAINER
    room.start("watch", room.root, "--observer", "poll")
    room.wait_for({"one": "running"})
    (container,) = room.watchers
    os.kill(children_of(container.pid)[0], signal.SIGSTOP)
    room.prefix = ()

    room.watch("--until-done")
    room.wait_until_after(3.0)  # three times as long as an exit file may take to be seen
    assert room.states() == {"one": "running"}
    told = room.run("status", room.root).stdout
    assert "cannot be seen from here; if that is gone for good: echo '{" in told
    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded"})

    assert runs_of(room) == ["ran"]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_idle_watcher_keeps_its_heart_beating(room: "Room", wait: Callable[..., Any]) -> None:
    room.machine(sweep="1h")
    room.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\n")
    room.watch()

    began = recorded(room.root)["beat"]

    wait(lambda: recorded(room.root)["beat"] > began + 1, "two beats", 3 * BEAT_S)


def test_a_beat_that_fails_is_not_the_last_one_of_a_long_action(tmp_path: Path, wait: Callable[..., Any]) -> None:
    held = lease.take(tmp_path, tmp_path / "var", 0.0)
    held.beat_s = 0.01
    lasting, held.path = held.path, tmp_path / "gone" / "lease.json"  # as on a full disk

    with held.beating():
        wait(lambda: held.beaten_at > 0, "a beat that fails")
        held.path = lasting
        wait(lambda: recorded(tmp_path)["beat"] > 0, "a beat")
    held.release()


@pytest.mark.parametrize("name", ["2.jsonl", "2.jsonl.gz"])
def test_who_finds_the_journals_next_file_begun_has_been_taken_over(tmp_path: Path, name: str) -> None:
    """It may have been sealed by then, after yet another one."""
    held = lease.take(tmp_path, tmp_path / "var", 0.0)
    (tmp_path / "1.jsonl").touch()
    held.name_epoch(1, tmp_path / "1.jsonl")
    assert held.is_ours()

    (tmp_path / name).touch()

    with pytest.raises(TakenOver, match="another watcher began the journal's next file"):
        held.check()
    held.release()


def test_who_finds_its_own_file_of_the_journal_gone_goes_no_further(tmp_path: Path) -> None:
    """It was sealed by another watcher, or deleted: what is written to it now, nobody will read."""
    held = lease.take(tmp_path, tmp_path / "var", 0.0)
    (tmp_path / "1.jsonl").touch()
    held.name_epoch(1, tmp_path / "1.jsonl")

    (tmp_path / "1.jsonl").unlink()

    with pytest.raises(TakenOver, match=r"1\.jsonl is gone"):
        held.check()
    held.release()


def test_who_has_the_journals_newest_file_is_the_holder_whoever_wrote_the_lease_last(tmp_path: Path) -> None:
    """Of two that begin at once without locks, one has the file; it must not give way to the other, which has not."""
    held = lease.take(tmp_path, tmp_path / "var", 0.0)
    forge(tmp_path, host="elsewhere", pid=77)
    (tmp_path / "1.jsonl").touch()

    held.name_epoch(1, tmp_path / "1.jsonl")

    assert held.is_ours()
    assert json.loads(held.path.read_bytes())["epoch"] == 1
    held.release()


def test_a_holder_that_begins_the_journals_next_file_itself_goes_on(tmp_path: Path) -> None:
    held = lease.take(tmp_path, tmp_path / "var", 0.0)
    (tmp_path / "1.jsonl").touch()
    held.name_epoch(1, tmp_path / "1.jsonl")
    (tmp_path / "2.jsonl").touch()

    held.name_epoch(2, tmp_path / "2.jsonl")

    assert held.is_ours()
    assert json.loads(held.path.read_bytes())["epoch"] == 2
    held.release()
