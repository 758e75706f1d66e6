"""Hard weather: what file systems, clocks and limits do to a watcher, each with the real thing."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp import hosts

if TYPE_CHECKING:
    from tests.conftest import Room

CLONE_NEWNS = 0x20000
SLOW = "one: {command: 'until test -e go; do sleep 0.05; done; echo ran >> ran'}\n"
TWO = f"{SLOW}two: {{needs: one, command: 'echo ran >> ran'}}\n"
WAITING = "one: {start: {file_exists: {path: never}}, command: 'true'}\ntwo: {command: 'true'}\n"


@pytest.fixture
def mount(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Mount something where only this test process and what it starts can see it."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        pytest.fail(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)

    def mount(place: Path, *options: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *options, str(place)], check=True)
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", place], check=False))

    return mount


def fill(folder: Path) -> Path:
    """Fill a file system to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def finish(room: "Room", *jobs: str) -> None:
    """Let the slow job go, watch to the end, and see that each job ran once."""
    (room.job_dir("one") / "go").touch()
    done = room.run("watch", room.root, "--until-done")
    assert done.returncode == 0, done.stderr
    for job in jobs:
        assert (room.job_dir(job) / "ran").read_text() == "ran\n"
        assert room.rows()[job]["attempt"] == 1
    assert room.run("replay", room.root, "--check").returncode == 0


def problems(room: "Room") -> dict[str, str]:
    found: dict[str, str] = json.loads((room.var / "progress.json").read_bytes())["problems"]
    return found


# Disks


def test_a_full_disk_under_var_stops_the_watcher_before_it_acts_and_loses_nothing(
    room: "Room", mount: Callable[..., None]
) -> None:
    mount(room.var, "-t", "tmpfs", "-o", "size=64k,mode=0700", "none")
    names = ("one", "two", *(f"job{number}" for number in range(10)))  # more moves than fit into a page
    later = (f"{name}: {{needs: {before}, command: 'echo ran >> ran'}}\n" for before, name in pairwise(names))
    room.plan(SLOW + "".join(later))
    watcher = room.watch()
    room.wait_for({"one": "running"})

    ballast = fill(room.var)
    (room.job_dir("one") / "go").touch()

    assert watcher.wait(30) == 1
    assert "No space left on device" in room.said()
    assert not room.attempt_dir(names[-1]).exists()
    ballast.unlink()
    finish(room, *names)


def test_a_full_disk_in_a_job_directory_is_told_and_the_job_runs_once_there_is_room(
    room: "Room", mount: Callable[..., None]
) -> None:
    room.plan(f"{SLOW}two: {{command: 'echo ran >> ran'}}\n")
    folder = room.job_dir("two")
    shutil.move(folder, room.home / "kept")
    mount(folder, "-t", "tmpfs", "-o", "size=32k", "none")
    shutil.copytree(room.home / "kept", folder, dirs_exist_ok=True)
    ballast = fill(folder)

    watcher = room.watch()
    room.wait_for({"one": "running", "two": "backoff"})
    assert "No space left on device" in room.rows()["two"]["reason"]
    ballast.unlink()
    room.wait_for({"two": "succeeded"})

    room.stop(watcher)
    finish(room, "one", "two")


def test_a_root_that_becomes_read_only_stops_the_watcher_and_loses_nothing(
    room: "Room", mount: Callable[..., None]
) -> None:
    """As the kernel does it when a disk fails: writes to open files are I/O errors, and nothing new can be opened."""
    disk = room.home / "disk"
    disk.write_bytes(bytes(16 << 20))
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    mount(room.root, "-o", "loop,errors=remount-ro", str(disk))
    room.plan(WAITING.replace("never", "go").replace("'true'", "'echo ran >> ran'"))
    watcher = room.watch()
    room.wait_for({"two": "succeeded"})

    subprocess.run(["mount", "-o", "remount,abort", str(room.root)], check=True)
    assert watcher.wait(30) == 1
    assert "Read-only file system" in room.said()
    assert room.inside("status", room.root, "--json")["watcher"] is None
    subprocess.run(["umount", room.root], check=True)
    mount(room.root, "-o", "loop", str(disk))

    finish(room, "one")
    assert room.rows()["two"]["attempt"] == 1


def test_a_log_that_cannot_be_read_is_told_and_moves_nothing(room: "Room") -> None:
    room.plan(SLOW)
    watcher = room.watch("--observer", "poll")
    room.wait_for({"one": "running"})
    log = room.attempt_dir("one") / "output.log"
    log.rename(log.with_name("kept"))

    log.symlink_to(f"/proc/{watcher.pid}/mem")  # reading its first page is an input/output error
    room.wait_until(lambda: "Input/output error" in str(problems(room).get("demo/one")))
    assert room.states() == {"one": "running"}
    log.with_name("kept").replace(log)
    room.wait_until(lambda: "demo/one" not in problems(room))

    room.stop(watcher)
    finish(room, "one")


# Clocks


@pytest.fixture
def clock(room: "Room") -> Callable[[str], None]:
    """Set the wall clock of every program of this room, and only theirs: `-1h`, `+1d`."""
    file = room.home / "clock"
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

    def set_by(offset: str) -> None:
        file.with_suffix(".draft").write_text(offset)
        file.with_suffix(".draft").replace(file)

    set_by("+0")
    room.variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    return set_by


@pytest.mark.parametrize("offset", ["-1h", "+1d"])
def test_a_clock_that_jumps_under_a_watcher_changes_nothing(
    room: "Room", clock: Callable[[str], None], offset: str
) -> None:
    retry = "retry: {max_attempts: 2, backoff: 3s}"
    room.plan(
        f"one: {{stall: {{no_progress: 1h}}, command: 'until test -e go; do sleep 0.05; done; echo ran >> ran'}}\n"
        f"two: {{{retry}, command: 'echo ran >> ran; test $AUTOEXP_ATTEMPT = 2'}}\n"
    )
    watcher = room.watch()
    room.wait_for({"one": "running", "two": "backoff"})

    clock(offset)
    room.wait_for({"two": "succeeded"})

    assert room.states()["one"] == "running"
    assert watcher.poll() is None
    times = [record["at"] for record in room.journal()]
    assert times == sorted(times)
    room.stop(watcher)
    clock("+0")
    room.variables = {}
    finish(room, "one")


def test_a_clock_set_back_between_two_watchers_makes_no_retry_wait_longer_than_it_should(
    room: "Room", clock: Callable[[str], None]
) -> None:
    room.plan("one: {retry: {max_attempts: 2, backoff: 3s}, command: 'echo ran >> ran; test $AUTOEXP_ATTEMPT = 2'}\n")
    watcher = room.watch()
    room.wait_for({"one": "backoff"})
    watcher.kill()
    watcher.wait()

    clock("-1h")
    room.watch()

    room.wait_for({"one": "succeeded"})


# Floods


def test_ten_thousand_files_at_once_are_seen_and_hide_nothing(room: "Room") -> None:
    room.machine(sweep="1h")
    room.plan(f"{WAITING.splitlines()[0]}\ntwo: {SLOW.removeprefix('one: ')}")
    room.watch()
    room.wait_for({"two": "running"})

    folder = room.job_dir("one") / "markers"
    for number in range(10_000):
        (folder / f"junk-{number}").touch()
    (room.job_dir("two") / "go").touch()
    room.touch("one", "cancel")

    room.wait_for({"one": "cancelled", "two": "succeeded"}, within_s=120)
    room.wait_until(lambda: not any(folder.glob("junk-*")), "the last refusal", within_s=240)
    assert len(list((folder / "refused").glob("*.json"))) == 10_000
    assert len(list((folder / "taken").iterdir())) == 1


def test_events_that_the_kernel_dropped_are_made_up_for_by_a_look_at_everything(room: "Room") -> None:
    room.machine(sweep="1h")
    room.plan(WAITING)
    watcher = room.watch("--observer", "inotify")
    room.wait_for({"two": "succeeded"})
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    watcher.send_signal(signal.SIGSTOP)
    room.wait_until(lambda: hosts.is_suspended(watcher.pid))
    folder = room.job_dir("two") / "markers"
    for number in range(limit + 100):
        (folder / f".{number}").touch()
    room.touch("one", "cancel")  # the queue is full by now
    watcher.send_signal(signal.SIGCONT)

    room.wait_for({"one": "cancelled"})


# Limits


def limited(script: str) -> tuple[str, ...]:
    """Start programs where the kernel allows their user less."""
    return ("unshare", "--user", "--map-root-user", "sh", "-c", f'{script}; exec "$@"', "limited")


@pytest.mark.parametrize(
    ("script", "observer"),
    [
        pytest.param("echo 3 > /proc/sys/user/max_inotify_watches", "inotify and poll (", id="too few watches"),
        pytest.param("echo 0 > /proc/sys/user/max_inotify_instances", "poll", id="no inotify at all"),
    ],
)
def test_a_limit_on_watching_is_made_up_for_by_polling_and_told(room: "Room", script: str, observer: str) -> None:
    room.machine(sweep="1h", poll="0.2s")
    room.plan(TWO)
    room.prefix = limited(script)
    room.watch()
    room.wait_for({"one": "running"})

    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded", "two": "succeeded"})

    room.prefix = ()
    room.wait_until(lambda: f" ({observer}" in room.run("status", room.root).stdout.splitlines()[0])


@pytest.mark.parametrize("files", [*range(6, 13), 16])
def test_too_few_file_descriptors_lose_nothing(room: "Room", files: int) -> None:
    """The fewest end the watcher, some more keep it from starting anything, and some more are enough."""
    room.plan(TWO)
    room.prefix = ("prlimit", f"--nofile={files}")
    done = room.start("watch", room.root, "--until-done")
    (room.job_dir("one") / "go").touch()

    try:
        assert done.wait(3) in (0, 1)
    except subprocess.TimeoutExpired:
        done.send_signal(signal.SIGINT)
        assert done.wait(30) in (130, -signal.SIGINT)  # on a busy computer Python itself may not be up yet
    assert "Traceback" not in room.said()

    room.prefix = ()
    finish(room, "one", "two")


# What disappears


def test_a_root_that_is_renamed_ends_its_watcher_and_is_watched_on_under_its_new_name(room: "Room") -> None:
    room.plan(TWO)
    watcher = room.watch()
    room.wait_for({"one": "running"})

    room.root.rename(room.home / "moved")

    assert watcher.wait(30) == 75
    assert f"{room.root} is no longer ours to watch" in room.said()
    assert not room.root.exists()
    (room.home / "moved").rename(room.root)
    finish(room, "one", "two")


def test_a_root_that_is_deleted_ends_its_watcher(room: "Room") -> None:
    room.plan(WAITING)
    watcher = room.watch()
    room.wait_for({"two": "succeeded"})

    shutil.rmtree(room.root)

    assert watcher.wait(30) == 75
    assert not room.root.exists()


def test_a_job_directory_that_is_deleted_costs_that_job_only(room: "Room") -> None:
    room.plan(f"{SLOW}gone: {{needs: one, command: 'true'}}\nother: {{needs: one, command: 'echo ran >> ran'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})

    shutil.rmtree(room.job_dir("gone"))
    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded", "other": "succeeded", "gone": "backoff"})

    assert "run.sh is gone" in room.rows()["gone"]["reason"]
    assert watcher.poll() is None


def test_the_directory_of_a_running_job_may_go(room: "Room") -> None:
    room.plan(f"{SLOW}other: {{command: 'echo ran >> ran'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "running", "other": "succeeded"})

    shutil.rmtree(room.job_dir("one"))
    room.kill_jobs()

    room.wait_until(lambda: room.states()["one"] != "running")
    assert room.states()["one"] in ("failed", "backoff")
    assert watcher.poll() is None


# Odd names


def test_loops_of_symlinks_are_walked_past(room: "Room") -> None:
    program = f"backend: megatron, args: {{train-iters: 2}}, params: {{program: {room.write('train.py', '')}}}"
    room.plan(f"{TWO}three: {{{program}}}\n")
    (room.root / "loop").symlink_to(room.root)
    (room.root / "self").symlink_to("self")
    (room.root / "demo" / "jobs" / "around").symlink_to(room.root / "demo" / "jobs")
    (room.job_dir("three") / "checkpoints").symlink_to("checkpoints")
    (room.job_dir("two") / "markers" / "hold").symlink_to("hold")
    (room.job_dir("one") / "go").touch()

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"one": "succeeded", "two": "succeeded", "three": "failed"}
    assert "no whole checkpoint" in room.rows()["three"]["reason"]
    assert room.answers("two")[0][0] == "refused"


ODD = (b"with space", b"it's", b'"double"', b"new\nline", b";touch pwned", b"$(touch pwned)", b"h\xffld", b"-rf", b"*")


def test_files_of_any_name_anywhere_disturb_nothing(room: "Room") -> None:
    room.plan(TWO)
    room.watch()
    room.wait_for({"one": "running"})
    places = (room.root, room.root / "demo", room.root / "demo" / "jobs", room.job_dir("one"), room.attempt_dir("one"))
    for place in places:
        for name in ODD:
            Path(os.fsdecode(os.fsencode(place) + b"/" + name)).touch()
            Path(os.fsdecode(os.fsencode(place) + b"/d" + name)).mkdir()
    folder = os.fsencode(room.job_dir("one") / "markers")
    for name in ODD:
        Path(os.fsdecode(folder + b"/" + name)).touch()

    room.wait_answer("one", len(ODD))
    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded", "two": "succeeded"})

    assert [verdict for verdict, _ in room.answers("one")] == ["refused"] * len(ODD)
    answers = (room.job_dir("one") / "markers" / "refused").iterdir()
    assert all(re.fullmatch(r"[\w.-]+", answer.name, re.ASCII) for answer in answers)
    assert not list(room.home.rglob("pwned"))
    assert room.run("status", room.root).returncode == 0


def test_a_line_of_100_mb_is_read_past_in_little_memory(room: "Room") -> None:
    room.plan("one: {command: 'head -c 104857600 /dev/zero; echo; echo end; until test -e go; do sleep 0.05; done'}\n")
    watcher = room.watch()
    room.wait_until(lambda: room.attempt_dir("one").exists())
    log = room.attempt_dir("one") / "output.log"
    room.wait_until(lambda: log.exists() and log.stat().st_size > 100 << 20)
    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded"})

    peak = next(line for line in Path(f"/proc/{watcher.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 100 << 10


# Folders that are copied, renamed, or not what they were


def test_a_copied_root_has_a_journal_of_its_own_and_leaves_the_jobs_of_the_first_alone(room: "Room") -> None:
    room.plan("one: {command: 'echo ran >> ../../../../ran; sleep 3'}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    shutil.copytree(room.root, room.home / "backup", symlinks=True)

    copied = room.run("watch", room.home / "backup", "--until-done")

    assert (copied.returncode, watcher.poll()) == (1, None)
    assert f"{room.home}/backup/demo is a copy of {room.root}/demo" in copied.stderr
    assert "is a copy of" in room.run("status", room.home / "backup").stdout
    room.wait_for({"one": "succeeded"})
    assert (room.home / "ran").read_text() == "ran\n"


def test_a_study_copied_into_another_root_reaches_no_job_of_the_first(room: "Room") -> None:
    room.plan("one: {command: sleep 60}\n")
    room.watch()
    room.wait_for({"one": "running"})
    other = room.home / "other"
    shutil.copytree(room.root / "demo", other / "demo", symlinks=True)
    (other / "demo" / "markers" / "cancel").touch()

    copied = room.run("watch", other, "--once")

    assert copied.returncode == 0
    assert "is a copy of" in room.run("status", other).stdout
    assert room.states() == {"one": "running"}
    assert (other / "demo" / "markers" / "cancel").exists()


def test_a_study_under_another_name_is_left_alone_and_said_so(room: "Room") -> None:
    room.plan("one: {command: sleep 60}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    room.stop(watcher)
    shutil.copytree(room.root / "demo", room.root / "demo.bak", symlinks=True)
    (room.root / "demo.bak" / "markers" / "cancel").touch()

    room.watch()
    said = "demo.bak is the study demo under another name"
    room.wait_until(lambda: said in room.run("status", room.root).stdout, "word of it")
    assert room.states() == {"one": "running"}
    shutil.rmtree(room.root / "demo.bak")


MOVED = """
one: {command: 'true'}
two: {needs: one, command: [touch, "${dir}/made"], env: {HERE: "${dir}"}}
three: {each: {job: one}, command: [cp, -r, "${sibling.one.dir}/run.sh", "${dir}/copied"]}
four: {needs: one, command: 'echo here: ${dir} > ${dir}/said'}
"""


def test_a_root_that_was_moved_goes_on_in_its_new_place_and_nothing_is_made_in_the_old_one(room: "Room") -> None:
    room.plan(MOVED)
    room.touch("two", "hold")
    room.touch("four", "hold")
    room.run("watch", room.root, "--until-done")
    moved = room.home / "elsewhere" / "runs"
    moved.parent.mkdir()
    room.root.rename(moved)
    (room.home / "var").rename(moved.parent / "var")
    for job in ("two", "four"):
        (moved / "demo" / "jobs" / job / "markers" / "release").touch()
    (moved / "demo" / "jobs" / "three-one" / "markers" / "restart").touch()

    done = room.run("watch", moved, "--until-done")

    assert done.returncode == 0, done.stderr
    assert not room.root.exists()
    jobs = moved / "demo" / "jobs"
    assert (jobs / "two" / "made").exists()
    assert (jobs / "four" / "said").read_text() == f"here: {jobs}/four\n"
    assert (jobs / "three-one" / "copied").read_text() == (jobs / "one" / "run.sh").read_text()
    for path in (*jobs.glob("*/run.sh"), *jobs.glob("*/job.yaml"), moved / "demo" / "plan.json"):
        assert f"{room.root}/" not in path.read_text(), path


def test_a_root_that_was_moved_to_an_odd_name_says_how_its_jobs_find_it(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    odd = room.home / "an odd name"
    room.root.rename(odd)

    refused = room.run("watch", odd, "--until-done")

    assert refused.returncode == 1
    assert f"ln -s '{odd}' {room.root}" in refused.stderr
    room.root.symlink_to(odd)
    assert room.run("watch", odd, "--until-done").returncode == 0


def test_a_renamed_study_is_no_bug_of_ours(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.run("watch", room.root, "--until-done")
    (room.root / "demo").rename(room.root / "renamed")

    for said in (room.run("watch", room.root, "--once"), room.run("status", room.root)):
        assert said.returncode == 0, said.stderr
    assert "renamed is the study demo under another name" in said.stdout


def test_a_study_whose_plan_vanishes_while_its_jobs_run_is_a_problem_that_is_told(room: "Room") -> None:
    room.plan("one: {command: sleep 60}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    (room.root / "demo" / "plan.json").rename(room.home / "set-aside")

    room.wait_until(lambda: "plan.json is gone" in room.run("status", room.root).stdout, "word of it")
    room.stop(watcher)
    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1
    assert "its plan.json is gone, and 1 of its jobs may still run" in done.stderr
    (room.home / "set-aside").rename(room.root / "demo" / "plan.json")
    room.watch()
    room.wait_for({"one": "running"})


@pytest.mark.parametrize("name", ["exit.json", "started.json", "gate.json"])
def test_a_fifo_in_the_place_of_an_attempts_file_keeps_nobody_waiting(room: "Room", name: str) -> None:
    room.plan("one: {command: sleep 2}\ntwo: {command: sleep 1}\n")
    room.watch()
    room.wait_for({"one": "running"})
    odd = room.attempt_dir("one") / name
    odd.unlink(missing_ok=True)
    os.mkfifo(odd)

    room.wait_for({"two": "succeeded"})
    assert room.run("status", room.root).returncode == 0
    room.wait_until(
        lambda: "no regular file" in room.run("status", room.root).stdout or not odd.is_fifo(), "word of it"
    )
    odd.unlink()


def test_an_exit_file_that_goes_too_deep_and_one_of_somebody_else_are_none(room: "Room") -> None:
    room.plan("one: {command: sleep 2}\n")
    room.watch()
    room.wait_for({"one": "running"})
    (room.attempt_dir("one") / "exit.json").write_text("[" * 100_000)
    (room.attempt_dir("one") / "exit.json").write_text('{"v":1,"token":"other.1.0","code":0}')

    room.wait_for({"one": "succeeded"})
    (ended,) = (record for record in room.journal() if record["trigger"] == "ended")
    assert ended["evidence"]["lasted_s"] >= 2


def test_a_file_where_answers_are_kept_is_no_bug_of_ours(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    for folder in (room.root / "demo", room.job_dir("one")):
        (folder / "markers").mkdir(exist_ok=True)
        (folder / "markers" / "taken").touch()

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 0, done.stderr


def test_a_lease_that_lacks_a_word_is_told_from_a_holder(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.run("watch", room.root, "--once")
    (room.root / ".autoexp" / "lease.json").write_text('{"held": true, "pid": 1}')

    refused = room.run("watch", room.root, "--once")

    assert refused.returncode == 1
    assert "lease.json cannot be read" in refused.stderr
    assert "it lacks" in refused.stderr


def test_a_root_whose_name_is_no_text_is_refused_before_anything_is_written(room: "Room") -> None:
    room.machine()
    room.write("demo.yaml", "study: demo\nmachine: bench\nstages: {one: {command: 'true'}}\n")
    odd = os.fsdecode(b"odd\xff")

    refused = room.run("plan", "demo.yaml", "--root", odd)

    assert refused.returncode == 1
    assert "no UTF-8" in refused.stderr
    assert not (room.home / odd).exists()
