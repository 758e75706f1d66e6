import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

Settle = Callable[[], None]
TRAINER = """
import pathlib, sys, time
print(" iteration        7/      40 | elapsed time per iteration (ms): 10.0 | lm loss: 3.5E+00 |", flush=True)
time.sleep(60)
"""
BRANCH = """
pretrain: {backend: megatron, params: {program: train.py}, args: {train-iters: 40}}
cooldown:
  start:
    checkpoint_reached: {stage: pretrain, iteration: 20}
    file_exists: {path: go}
  command: 'true'
"""
FIELDS = [
    *("study", "job", "state", "reason", "attempt", "attempts", "pending", "progress", "unsettled", "conditions"),
    *("moves", "verbs", "hint", "dir", "log", "watched", "problems"),
]


@pytest.fixture
def training(here: "Room") -> "Room":
    """A pretraining that has come to iteration 7 of 40, and its cooldown."""
    program = here.write("train.py", TRAINER)
    here.plan(BRANCH.replace("train.py", str(program)))
    here.watch()
    here.wait_until(lambda: here.rows()["pretrain"]["iteration"] == 7)
    return here


def test_a_cooldown_that_waits_says_for_which_iteration_and_how_far_its_parent_has_come(
    training: "Room", say: "Say", save_checkpoint: Callable[..., Path]
) -> None:
    def reason() -> str:
        conditions = json.loads(say("why", "demo/cooldown", "--json").out)["conditions"]
        return str(conditions[0]["reason"])

    assert reason() == ("waits for iteration 20 of pretrain, which has no checkpoint yet, and trains at iteration 7")
    save_checkpoint(training.job_dir("pretrain") / "checkpoints", 10)
    training.wait_until(lambda: "newest checkpoint is at iteration 10, and trains at iteration 7" in reason())

    shown = say("why", "demo/cooldown").out.splitlines()
    assert shown[0].startswith("demo/cooldown is waiting: waits for iteration 20 of pretrain")
    assert shown[1] == "  it starts when all of these hold:"
    assert shown[2].startswith("    no    checkpoint_reached: waits for iteration 20 of pretrain")
    assert shown[3] == "    no    file_exists: go is not there"
    assert "  what would move it: start submits it now, whatever it waits for" in shown


def test_a_running_job_says_how_far_it_is_and_where_its_log_is(training: "Room", say: "Say") -> None:
    told = json.loads(say("why", training.job_dir("pretrain"), "--json").out)
    shown = say("why", "demo/pretrain").out

    assert list(told) == FIELDS
    assert (told["state"], told["progress"], told["watched"]) == ("running", "7/40 loss 3.500", True)
    assert told["log"] == str(training.attempt_dir("pretrain") / "output.log")
    assert [move["trigger"] for move in told["moves"]] == ["planned", "conditions_met", "submitted", "started"]
    assert told["verbs"] == ["hold", "release", "save", "cancel", "restart", "succeed", "fail"]
    assert "  progress: 7/40 loss 3.500\n" in shown
    assert f"  attempt 1; 0 of 1 count; log: {told['log']}\n" in shown
    assert shown.endswith(f"  type: tail -F {told['log']}\n")


def test_a_checkpoint_that_the_tracker_does_not_name_yet_is_told(
    training: "Room", say: "Say", save_checkpoint: Callable[..., Path]
) -> None:
    def unsettled() -> list[int]:
        return list(json.loads(say("why", "demo/pretrain", "--json").out)["unsettled"])

    save_checkpoint(training.job_dir("pretrain") / "checkpoints", 20, tracker=False)

    training.wait_until(lambda: unsettled() == [20], "the checkpoint")


def test_a_job_that_is_over_says_how_it_ended_and_what_moves_it(here: "Room", say: "Say", settle: Settle) -> None:
    here.plan("bad: {command: 'exit 3'}\nafter: {needs: bad, command: 'true'}\n")
    settle()

    bad, after = say("why", "demo/bad").out, say("why", "demo/after").out

    assert bad.startswith("demo/bad is failed: exit code 3\n  attempt 1; 1 of 1 count; log: ")
    assert "ended: running -> failed ending=crashed reason=exit code 3 code=3" in bad
    assert f"  no watcher runs: nothing moves until one does (autoexp watch {here.root})\n" in bad
    assert "  what would move it: retry gives it a fresh attempt budget, once the cause is mended\n" in bad
    assert f"  it may be told to restart, retry, succeed: autoexp mark {here.job_dir('bad')} VERB\n" in bad
    assert bad.endswith(f"  type: autoexp mark {here.job_dir('bad')} retry\n")
    assert "    never job_succeeded: bad is failed\n" in after


def test_a_job_that_nobody_ever_watched_waits_and_has_no_log(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'true'}\n")

    told = json.loads(say("why", "demo/one", "--json").out)

    assert (told["state"], told["reason"], told["moves"], told["log"]) == ("waiting", "nothing to wait for", [], None)


def test_a_wish_that_is_pending_is_told(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'sleep 60'}\n")
    here.watch()
    here.wait_for({"one": "running"})
    here.touch("one", "hold")
    here.wait_answer("one")

    assert json.loads(say("why", "demo/one", "--json").out)["pending"] == "hold"
    assert say("why", "demo/one").out.startswith("demo/one is running: hold was asked")


def test_a_job_of_a_study_that_cannot_be_read_says_why(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'true'}\n")
    (here.root / "demo" / "plan.json").write_text("{}")

    said = say("why", "demo/one")

    assert said.status == 1
    assert said.err.startswith("autoexp: nothing is known of demo/one\n  why: ")
    assert "plan.json cannot be read" in said.err


@pytest.mark.parametrize(
    ("name", "fix"), [("demo/on", "did you mean demo/one?"), ("demo", "name it as <study>/<job>, or by its directory")]
)
def test_what_is_no_job_is_refused(here: "Room", say: "Say", name: str, fix: str) -> None:
    here.plan("one: {command: 'true'}\n")

    said = say("why", name)

    assert (said.status, said.out) == (1, "")
    assert said.err.endswith(f"  fix: {fix}\n")


def test_asking_changes_nothing(here: "Room", say: "Say") -> None:
    here.plan(BRANCH)
    here.run("watch", here.root, "--once")
    before = {path: path.lstat().st_mtime_ns for path in here.home.rglob("*")}

    assert say("why", "demo/cooldown").out == say("why", "demo/cooldown").out

    assert {path: path.lstat().st_mtime_ns for path in here.home.rglob("*")} == before


@pytest.mark.parametrize("named", ["experiments/demo/jobs/bad", "demo/bad"])
def test_a_job_whose_directory_is_gone_is_told_from_the_journal(
    here: "Room", say: "Say", settle: Settle, named: str
) -> None:
    here.plan("bad: {command: 'exit 3'}\n")
    settle()
    shutil.rmtree(here.job_dir("bad"))

    said = say("why", named)
    told = json.loads(say("why", "demo/bad", "--json").out)

    assert (said.status, told["gone"], told["state"]) == (0, True, "failed")
    assert said.out.startswith("demo/bad is failed: exit code 3\n")
    assert "ended: running -> failed ending=crashed" in said.out
    assert said.out.endswith(
        f"  its directory is gone: {here.job_dir('bad')}\n  type: autoexp events {here.root} --job demo/bad\n"
    )
    assert "running -> failed" in say("events", here.root, "--job", "demo/bad").out


def test_a_job_that_never_was_is_refused_by_its_path_too(here: "Room", say: "Say") -> None:
    here.plan("one: {command: 'true'}\n")

    said = say("why", here.job_dir("two"))

    assert said.status == 1
    assert "names no job" in said.err
