import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Room

STUDY = """
study: small
machine: bench
params: {program: train.sh}
sweep: {params: {lr: [1, 2]}, configs: {model: [tiny: {width: 8}]}}
stages:
  train:
    command: for i in 1 2; do echo lr ${lr} width ${width} step $i; done; echo ${lr} > result.txt
    retry: {max_attempts: 2, backoff: 0.05s}
  score:
    needs: train
    command: [cat, "${sibling.train.dir}/result.txt"]
  check: {each: {job: train}, command: 'test ${sibling.train.job} != $AUTOEXP_JOB && echo checked ${sibling.train.job}'}
  tell: {each: {job: check}, command: [echo, "told ${sibling.check.job}"]}
"""
JOBS = [
    *(f"{stage}-lr{lr}-modeltiny" for stage in ("train", "score") for lr in (1, 2)),
    *(f"{stage}train-lr{lr}-modeltiny" for stage in ("check-", "tell-check-") for lr in (1, 2)),
]


def test_a_study_runs_to_its_end_with_what_appears_for_its_jobs(room: "Room") -> None:
    room.write("small.yaml", STUDY)

    done = room.run("run", "small.yaml")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"small: 4 jobs on machine bench, in {room.root}/small\n")
    rows = room.rows("small")
    assert sorted(rows) == sorted(JOBS)
    assert {(row["state"], row["attempt"]) for row in rows.values()} == {("succeeded", 1)}
    for job in JOBS:
        assert f" small/{job} ended: running -> succeeded" in done.stdout
        assert len(list((room.job_dir(job, "small") / "attempts").iterdir())) == 1
    logs = {job: (room.job_dir(job, "small") / "current.log").read_text() for job in JOBS}
    assert logs["train-lr2-modeltiny"] == "lr 2 width 8 step 1\nlr 2 width 8 step 2\n"
    assert logs["score-lr2-modeltiny"] == "2\n"
    assert logs["check-train-lr2-modeltiny"] == "checked train-lr2-modeltiny\n"
    assert logs["tell-check-train-lr2-modeltiny"] == "told check-train-lr2-modeltiny\n"
    checked = room.inside("replay", room.root, "--check", "--json")
    assert (checked["breaks"], checked["differences"]) == ([], [])


def test_running_it_again_runs_nothing_again(room: "Room") -> None:
    room.write("small.yaml", STUDY)
    room.run("run", "small.yaml")
    moves = len(room.journal())

    again = room.run("run", "small.yaml")

    assert again.returncode == 0
    assert "nothing has changed since it was planned" in again.stdout
    assert len(room.journal()) == moves


def test_a_study_that_fails_is_status_1_with_a_list_of_the_rest(room: "Room") -> None:
    stages = "  bad: {command: 'echo oh no; exit 3'}\n  after: {needs: bad, command: 'true'}\n"
    room.write("demo.yaml", f"study: demo\nmachine: bench\nstages:\n{stages}")

    done = room.run("run", "demo.yaml")

    assert done.returncode == 1
    assert done.stderr == "failed: demo/bad (exit code 3: oh no)\nskipped: demo/after (bad is failed)\n"


def test_a_recipe_that_cannot_be_planned_runs_nothing(room: "Room") -> None:
    room.write("demo.yaml", "study: demo\nstages:\n  one: {comand: x}\n")

    done = room.run("run", "demo.yaml")

    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean command?" in done.stderr
    assert not room.root.exists()


def test_only_its_own_study_is_waited_for(room: "Room") -> None:
    room.plan("idle: {start: {file_exists: {path: never}}, command: 'true'}\n", study="other")
    room.write("small.yaml", STUDY)

    done = room.run("run", "small.yaml", "lr=1")

    assert (done.returncode, done.stderr) == (0, "")
    assert room.states("other") == {"idle": "waiting"}


def test_a_root_that_is_watched_already_gets_the_study_and_carries_it(room: "Room") -> None:
    room.root.mkdir()
    first = room.watch()
    room.write("demo.yaml", "study: demo\nmachine: bench\nstages:\n  one: {command: 'true'}\n")

    done = room.run("run", "demo.yaml")

    assert done.returncode == 75
    assert f"by pid {first.pid} on " in done.stderr
    room.wait_for({"one": "succeeded"})


def test_a_reader_who_has_seen_enough_does_not_end_the_study(room: "Room") -> None:
    room.write("small.yaml", STUDY)
    reading, writing = os.pipe()
    os.close(reading)

    done = room.run_into(writing, "run", "small.yaml")

    assert (done.returncode, done.stderr) == (0, "")
    assert set(room.states("small").values()) == {"succeeded"}


def test_on_a_terminal_a_table_is_shown_as_it_goes(room: "Room") -> None:
    room.write("small.yaml", STUDY)
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        room.command("run", "small.yaml"), **room.settings(stdout=theirs, stderr=subprocess.STDOUT)
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end was closed
        pass
    os.close(ours)

    assert program.wait(60) == 0
    assert b"8 of 8 jobs succeeded so far" in shown
    assert b"4/4" not in shown
    assert b"2/2" in shown
    assert b"conditions_met" not in shown


def test_the_journal_of_a_study_is_beside_its_root(room: "Room") -> None:
    room.write("small.yaml", STUDY)

    room.run("run", "small.yaml", "lr=1", "--root", "elsewhere/trials")

    assert (room.home / "elsewhere" / "var" / "trials" / "journal" / "1.jsonl").is_file()
    assert json.loads((room.home / "elsewhere" / "trials" / ".autoexp" / "root.json").read_bytes())["v"] == 1
