import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from autoexp import hosts

if TYPE_CHECKING:
    from tests.conftest import Room

SLOW = "one: {command: 'until test -e go; do sleep 0.02; done; echo done'}\n"


def test_once_looks_does_what_follows_and_ends(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")

    for _ in range(2):
        done = room.run("watch", room.root, "--once")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        room.wait_until(lambda: not room.processes())
    room.run("watch", room.root, "--once")

    assert room.states() == {"one": "succeeded", "two": "succeeded"}
    assert [row["attempt"] for row in room.rows().values()] == [1, 1]
    assert len(list((room.var / "journal").iterdir())) == 3


def test_until_done_ends_with_0_when_everything_succeeded(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")

    done = room.run("watch", room.root, "--until-done")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_whoever_starts_a_watcher_may_ignore_that_its_children_end(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: grep SigIgn /proc/self/status}\n")

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    done = room.run("watch", room.root, "--until-done", preexec_fn=ignore)

    assert (done.returncode, done.stderr) == (0, "")
    ignored = int((room.attempt_dir("two") / "output.log").read_text().split()[1], 16)
    assert not ignored >> signal.SIGCHLD - 1 & 1


def test_until_done_ends_with_1_and_lists_what_did_not_succeed(room: "Room") -> None:
    room.plan("bad: {command: 'exit 3'}\nafter: {needs: bad, command: 'true'}\ngood: {command: 'true'}\n")
    room.plan("idle: {command: 'true'}\n", study="other")
    room.touch("idle", "hold", study="other")

    done = room.run("watch", room.root, "--until-done")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[:2] == ["failed: demo/bad (exit code 3)", "skipped: demo/after (bad is failed)"]
    assert done.stderr.splitlines()[2].startswith("held: other/idle (")
    assert len(done.stderr.splitlines()) == 3


def test_until_done_is_not_0_while_a_study_cannot_be_read(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.plan("one: {command: 'true'}\n", study="torn")
    (room.root / "torn" / "plan.json").write_text("{}")

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1
    assert f"problem: torn: {room.root}/torn/plan.json cannot be read" in done.stderr
    assert room.states() == {"one": "succeeded"}


def test_nothing_to_do_is_done(room: "Room") -> None:
    room.root.mkdir()

    assert room.run("watch", room.root, "--until-done").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watcher_that_is_ended_leaves_its_jobs_and_the_next_one_finishes_them(
    room: "Room", number: signal.Signals
) -> None:
    room.plan(f"{SLOW}two: {{needs: one, command: 'true'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    pid = room.pid_of("one")

    assert room.stop(watcher, number) == 130

    assert room.said() == f"\nstopped watching; jobs go on. Watch again: autoexp watch {room.root}\n"
    assert pid in room.processes()
    assert json.loads((room.root / ".autoexp" / "lease.json").read_bytes())["held"] is False
    assert room.inside("status", room.root, "--json")["watcher"] is None

    finishing = room.watch("--until-done")
    (room.job_dir("one") / "go").touch()
    assert finishing.wait(60) == 0
    assert {job: (row["state"], row["attempt"]) for job, row in room.rows().items()} == {
        "one": ("succeeded", 1),
        "two": ("succeeded", 1),
    }
    assert room.pid_of("one") == pid
    assert (room.attempt_dir("one") / "output.log").read_text() == "done\n"


@pytest.mark.parametrize("option", [(), ("--once",), ("--until-done",)], ids=" ".join)
def test_a_second_watcher_is_status_75_names_the_first_and_disturbs_nothing(
    room: "Room", option: tuple[str, ...]
) -> None:
    room.plan(SLOW)
    first = room.watch()
    room.wait_for({"one": "running"})
    lines = len(room.journal())

    second = room.run("watch", room.root, *option)

    assert (second.returncode, second.stdout) == (75, "")
    assert second.stderr.startswith(f"autoexp: {room.root} is already being watched\n  why: by pid {first.pid} on ")
    assert len(list((room.var / "journal").iterdir())) == 1
    assert len(room.journal()) == lines
    (room.job_dir("one") / "go").touch()
    room.wait_for({"one": "succeeded"})


# Keeping it watched


def test_ensure_is_done_at_once_where_a_watcher_runs(room: "Room") -> None:
    room.plan(SLOW)
    first = room.watch()

    for more in ((), ("--daemon",)):
        second = room.run("watch", room.root, "--ensure", *more)
        assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    assert first.poll() is None
    assert json.loads((room.root / ".autoexp" / "lease.json").read_bytes())["pid"] == first.pid


def test_ensure_becomes_the_watcher_where_none_runs(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")

    watcher = room.watch("--ensure")
    room.wait_for({"one": "succeeded"})

    assert room.stop(watcher) == 130


def test_ensure_in_the_background_returns_when_it_watches(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")

    done = room.run("watch", room.root, "--ensure", "--daemon")
    pid = json.loads((room.root / ".autoexp" / "lease.json").read_bytes())["pid"]
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert os.getsid(pid) == pid
        room.wait_for({"one": "succeeded"})
    finally:
        os.kill(pid, signal.SIGTERM)
    room.wait_until(lambda: hosts.start_time(pid) is None)
    assert "stopped watching" in (room.var / "watch.out").read_text()


def test_what_keeps_a_background_watcher_from_beginning_is_said_where_it_was_called(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    (room.home / "var").touch()

    done = room.run("watch", room.root, "--ensure", "--daemon")

    assert done.returncode == 1
    assert "cannot be used for the runtime state" in done.stderr


def test_a_watcher_that_was_taken_over_says_so_even_if_it_only_ensured(room: "Room") -> None:
    room.plan(SLOW)
    watcher = room.watch("--ensure")
    path = room.root / ".autoexp" / "lease.json"
    room.wait_until(lambda: json.loads(path.read_bytes())["beat"])

    def take_over() -> bool:  # again, where its own beat came in between
        if '"nonce":"x' not in (ours := path.read_text()):
            (path.parent / "theirs").write_text(ours.replace('"nonce":"', '"nonce":"x'))
            (path.parent / "theirs").replace(path)
        return watcher.poll() is not None

    room.wait_until(take_over)

    assert watcher.returncode == 75
    assert "is no longer ours to watch" in room.said()


def test_the_background_is_for_cron(room: "Room") -> None:
    room.plan(SLOW)

    done = room.run("watch", room.root, "--daemon")

    assert done.returncode == 1
    assert done.stderr.startswith("autoexp: --daemon goes with --ensure\n  why: ")


@pytest.mark.parametrize(("name", "why"), [("nowhere", "there is no such folder"), ("demo.yaml", "it is a file")])
def test_what_is_no_folder_cannot_be_watched_and_is_not_made(room: "Room", name: str, why: str) -> None:
    room.write("demo.yaml", "study: demo")

    done = room.run("watch", name, "--once")

    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [f"autoexp: {name} is no experiments folder", f"  why: {why}"]
    assert not (room.home / "nowhere").exists()
    assert not (room.home / "var").exists()


def test_a_root_that_may_not_be_written_to_cannot_be_watched(room: "Room", humble: tuple[str, ...]) -> None:
    room.plan("one: {command: 'true'}\n")
    room.prefix = humble
    room.root.chmod(0o555)

    done = room.run("watch", room.root, "--once")
    room.root.chmod(0o755)

    assert done.returncode == 1
    assert done.stderr.startswith(f"autoexp: {room.root} cannot be watched\n  why: ")
    assert not (room.root / ".autoexp").exists()


# What it prints


def test_moves_are_printed_when_someone_asks_for_more(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")

    done = room.run("watch", room.root, "--until-done", "-v")

    assert done.returncode == 0
    assert " demo/one started: queued -> running " in done.stdout
    assert [word in done.stderr for word in ("watching", "conditions_met", "ended")] == [True, True, True]


@pytest.mark.parametrize(
    ("level", "told"),
    [
        pytest.param("DEBUG", {"watching", "ended"}, id="debug: every move"),
        pytest.param("info", {"watching"}, id="info: that it watches"),
        pytest.param("WARNING", set(), id="warning: nothing that is as it should be"),
        pytest.param("nonsense", set(), id="no level: as if nothing was asked"),
    ],
)
def test_the_environment_says_how_much_is_told(room: "Room", level: str, told: set[str]) -> None:
    room.plan("one: {command: 'true'}\n")
    room.variables = {"AUTOEXP_LOG_LEVEL": level}

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 0
    assert {word for word in ("watching", "ended") if word in done.stderr} == told


def test_a_reader_who_has_seen_enough_does_not_end_the_watch(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")
    watcher = room.start("watch", room.root, "--until-done", "-v", stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    watcher.stdout.close()

    assert watcher.wait(60) == 0
    assert room.states() == {"one": "succeeded", "two": "succeeded"}
    assert "Traceback" not in room.said()
