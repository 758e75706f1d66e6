"""The demo, and a watcher killed in the middle of one: real training, conversion and evaluation, all of them tiny."""

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

TINY = """
study: demo
machine: bench
params: {program: autoexp.trainers.gpt}
stages:
  pretrain:
    backend: megatron
    args: &training
      num-layers: 1
      hidden-size: 16
      ffn-hidden-size: 32
      num-attention-heads: 2
      num-query-groups: 1
      seq-length: 16
      micro-batch-size: 4
      global-batch-size: 4
      train-iters: 10
      lr: 2e-3
      lr-decay-style: WSD
      lr-wsd-decay-style: linear
      lr-wsd-decay-iters: 0
      save-interval: 10
      log-interval: 5
      eval-iters: 0
    retry: {max_attempts: 3}
  cooldown:
    backend: megatron
    start: {checkpoint_reached: {stage: pretrain, iteration: 10}}
    prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: 10}}
    args:
      <<: *training
      train-iters: 14
      lr-decay-iters: 14
      lr-wsd-decay-iters: 4
      save-interval: 14
      override-opt_param-scheduler: true
      exit-on-missing-checkpoint: true
    retry: {max_attempts: 3}
  convert:
    each: {checkpoint: [pretrain, cooldown]}
    hook: megatron_to_hf
  evaluate:
    each: {job: convert}
    hook: evaluate
    with: {model: "${sibling.convert.output}", windows: 2, seq-length: 16}
"""
PRETRAINING = TINY.partition("  cooldown:\n")[0]
APPEARED = {f"convert-{job}": iteration for job, iteration in (("pretrain@0000010", 10), ("cooldown@0000014", 14))}
UNCONFIRMED = "its log does not confirm its learning rate"  # four iterations, of which none is reported
ROWS = {
    "pretrain": ("succeeded", "trained to iteration 10", 1, 10),
    "cooldown": ("succeeded", f"trained to iteration 14; {UNCONFIRMED}", 1, 14),
    **{job: ("succeeded", "exit code 0", 1, iteration) for job, iteration in APPEARED.items()},
    **{f"evaluate-{job}": ("succeeded", "exit code 0", 1, iteration) for job, iteration in APPEARED.items()},
}
FIELDS = ("state", "reason", "attempt", "iteration")


def test_a_watcher_killed_twice_in_the_middle_comes_to_the_same_end_with_one_start_an_attempt(room: "Room") -> None:
    room.write("demo.yaml", TINY)
    room.run("plan", "demo.yaml")
    for milestone in ("pretrain/attempts/001/started.json", "cooldown/attempts/001/started.json"):
        watcher = room.watch("--until-done")
        room.wait_until((room.root / "demo" / "jobs" / milestone).exists, milestone, 60)
        room.stop(watcher, signal.SIGKILL)

    done = room.run("watch", room.root, "--until-done")

    assert (done.returncode, done.stderr) == (0, "")
    assert {job: tuple(row[field] for field in FIELDS) for job, row in room.rows().items()} == ROWS
    for job in ROWS:
        assert [path.name for path in (room.job_dir(job) / "attempts").iterdir()] == ["001"]
        assert len(list(room.attempt_dir(job).glob("run.*"))) == 1
        assert (room.attempt_dir(job) / "started.json").is_file()
    checked = room.inside("replay", room.root, "--check", "--json")
    assert (checked["breaks"], checked["differences"]) == ([], [])
    assert {record["epoch"] for record in room.journal()} == {1, 2, 3}
    see_the_cooldown_goes_on_from_its_parents_checkpoint(room)
    for job in APPEARED:
        see_the_evaluation_is_of_the_model_that_was_converted(room, job)


def see_the_cooldown_goes_on_from_its_parents_checkpoint(room: "Room") -> None:
    link = room.job_dir("cooldown") / "checkpoints" / "iter_0000010"
    assert link.resolve() == room.job_dir("pretrain") / "checkpoints" / "iter_0000010"
    assert not Path(link.readlink()).is_absolute()
    log = (room.job_dir("cooldown") / "current.log").read_text()
    assert " successfully loaded checkpoint from " in log
    assert " saving checkpoint at iteration      14 to " in log


def see_the_evaluation_is_of_the_model_that_was_converted(room: "Room", job: str) -> None:
    results = json.loads((room.job_dir(f"evaluate-{job}") / "eval" / "results.json").read_text())
    assert {"config.json", "model.safetensors"} <= {path.name for path in (room.job_dir(job) / "hf").iterdir()}
    assert 3.0 < results["loss"] < 6.0  # ln 256 is 5.5


def test_the_demo_ends_with_its_report_and_where_to_look_next(room: "Room") -> None:
    room.write("recipes/demo.yaml", PRETRAINING)

    done = room.run("demo")

    assert (done.returncode, done.stderr) == (0, "")
    assert "\npage: experiments/demo/report/report.html\n" in done.stdout
    assert (room.root / "demo" / "report" / "report.html").is_file()
    steps = done.stdout.partition("where to look next:\n")[2].splitlines()
    assert len(steps) == 5
    for step in map(str.split, steps):
        if step[0] == "autoexp":
            assert room.run(*step[1:]).returncode == 0, step
        else:
            assert (room.home / step[1]).exists(), step


def test_what_the_demo_needs_is_told_before_it_begins(
    here: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoexp.commands.demo.NEEDED", ("torch", "flux_capacitor"))

    said = say("demo")

    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("autoexp: the demo needs flux_capacitor\n")
    assert said.err.endswith("  fix: pip install 'autoexp[all]'\n")
    assert not here.root.exists()


def test_a_demo_that_fails_is_status_1_and_says_where_to_look_all_the_same(room: "Room") -> None:
    room.write("recipes/demo.yaml", "study: demo\nmachine: bench\nstages:\n  one: {command: 'exit 3'}\n")

    done = room.run("demo", "--root", "trials")

    assert (done.returncode, done.stderr) == (1, "failed: demo/one (exit code 3)\n")
    assert "  autoexp why demo/one --root trials\n" in done.stdout
