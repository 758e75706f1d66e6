"""The study that is watched and killed, on a stage of its own: quick real processes, and a person who drops markers.

One core, so that jobs come one after the other. A job waits at its gates (it has begun, it has saved) until the watcher
has seen that: so each run sees the same things in the same order, and a crash point can be hit again. After a crash all
gates are open: jobs go on, and end, while nobody watches.
"""

import argparse
import json
import os
import pickle
import secrets
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from autoexp import checkpoints
from tests.crashes.effects import Effects

RECIPE = """
study: demo
machine: bench
params: {{program: {home}/train.sh}}
stages:
  tokenize: {{command: [bash, {home}/step.sh, fails-first], retry: {{max_attempts: 3, backoff: 0.01s}}}}
  pretrain:
    backend: megatron
    needs: tokenize
    args: {{train-iters: 50, save-interval: 10}}
  baseline: {{needs: tokenize, command: [bash, {home}/step.sh, for-ever]}}
  ablation: {{needs: tokenize, command: [bash, {home}/step.sh]}}
  cooldown:
    sweep: {{params: {{branch: [20, 40]}}}}
    backend: megatron
    start: {{checkpoint_reached: {{stage: pretrain, iteration: "${{branch}}"}}}}
    prepare: {{cooldown_symlink: {{from: "${{sibling.pretrain.checkpoints}}", iteration: "${{branch}}"}}}}
    args: {{train-iters: "${{calc:'${{branch}} + 20'}}", save-interval: 10}}
  convert:
    each: {{checkpoint: [pretrain, cooldown]}}
    command: [bash, {home}/step.sh, writes, hf/model]
  evaluate:
    each: {{job: convert}}
    command: [bash, {home}/step.sh, writes, eval/results]
  archive:
    each: {{checkpoint: pretrain, batch: 2}}
    env: {{PART: "${{iteration}}"}}
    command: [bash, {home}/step.sh, writes, packed/model]
  publish: {{needs: tokenize, command: [bash, {home}/step.sh]}}
"""

MACHINE = {"executor": "local", "cpus": 1, "gpus": 0, "visibility": "1s", "stop_grace": "20s", "python": "/bin/bash"}

SAY = r"""
home=${AUTOEXP_ROOT%/*}
echo "$AUTOEXP_TOKEN${PART:+.$PART}" >> "$home/runs.log"
exec 9<> "$home/never"
meet() { until [[ -e $home/free || -e $home/gates/$1 ]]; do read -rt 0.003 -u 9; done; }
"""

STEP = """
[[ $1 != for-ever ]] || exec sleep 1000
meet "$AUTOEXP_JOB.started.$AUTOEXP_ATTEMPT"
case $1 in
  fails-first) [[ $AUTOEXP_ATTEMPT != 1 ]] ;;
  cut-first) # no exec: bash that has read with a time limit loses a SIGTERM at it
    [[ $AUTOEXP_ATTEMPT != 1 ]] || { kill -USR2 $PPID; while :; do sleep 0.05; done; } ;;
  writes) mkdir "${2%/*}" && echo "$AUTOEXP_JOB" > "$2" ;;
esac
"""

TRAIN = """
while (($#)); do
  case $1 in --save) save=$2 ;; --train-iters) end=$2 ;; --save-interval) every=$2 ;; esac; shift
done
meet "$AUTOEXP_JOB.started.$AUTOEXP_ATTEMPT"
tracker=$save/latest_checkpointed_iteration.txt at=0
if [[ -e $tracker ]]; then
  at=$(< "$tracker")
  echo "loading checkpoint from $save at iteration $at"
else
  mkdir "$save"
fi
while ((at < end)); do
  ((at += every))
  echo " iteration $at/ $end | consumed samples: $at | lm loss: 2.0E+00 | number of nan iterations: 0 |"
  printf -v name %07d "$at"
  cp -rl "$home/whole" "$save/iter_$name"
  echo "$at" > "$tracker"
  echo "successfully saved checkpoint from iteration $at to $save"
  meet "$AUTOEXP_JOB.checkpoint_saved.$at"
done
echo "[after training is done]"
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What the person does once all of these moves were made."""

    after: frozenset[str]
    job: str
    verb: str
    begun: bool = False
    """The job's program has to be at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is played: a recipe, the machine it runs on, and what the person does."""

    recipe: str
    machine: Mapping[str, object]
    person: tuple[Step, ...]
    dropped_first: tuple[tuple[str, str], ...] = ()
    """Markers that lie there before any watcher."""
    endless: tuple[str, ...] = ()
    """Jobs that do not end by themselves; they wait at no gate."""
    blocked: tuple[str, ...] = ()
    """Jobs that are queued behind those."""
    queue: Callable[[], list[str]] = list
    """Names the jobs that a scheduler has."""
    tell: Callable[[], str] = str
    """Says how a scheduler's jobs and nodes stand."""
    clear: Callable[[], None] = lambda: None
    """Takes from the scheduler what it has."""
    begin: Callable[[Effects], None] = lambda _: None
    """Makes a process ready to be the watcher, and to be heard."""


PERSON = (
    Step(frozenset({"baseline.started.1", "ablation.submitted.1"}), "ablation", "cancel"),
    Step(frozenset({"baseline.started.1", "ablation.ended.1"}), "baseline", "cancel", begun=True),
    Step(frozenset({"evaluate-convert-pretrain@0000010.started.1"}), "publish", "release"),
)
DROPPED_FIRST = (("publish", "hold"), ("publish", "dance"), ("pretrain", "retry"))
"""Markers that lie there before any watcher: one is obeyed, two are refused."""
LOCAL = Script(recipe=RECIPE, machine=MACHINE, person=PERSON, dropped_first=DROPPED_FIRST, endless=("baseline",))


@dataclass(slots=True)
class Stage:
    """The folder in which the study is played again and again, each time from its planned beginning."""

    home: Path
    script: Script = LOCAL
    key: str = ""
    """The study's own part of its tokens; another one in each run: a scheduler remembers the last run's jobs."""

    @property
    def markers(self) -> int:
        """Count the markers that are dropped."""
        return len(self.script.person) + len(self.script.dropped_first)

    @property
    def root(self) -> Path:
        """The watched folder."""
        return self.home / "experiments"

    @property
    def var(self) -> Path:
        """Its runtime state."""
        return self.home / "var" / "experiments"

    @property
    def planned(self) -> Path:
        """The study as planned, to begin from."""
        return self.home.with_name(f"{self.home.name}.planned")

    def build(self) -> None:
        """Write everything but the plan."""
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "gates").mkdir(parents=True)
        (self.home / "machines").mkdir()
        (self.home / "machines" / "bench.yaml").write_text(
            "".join(f"{key}: {value}\n" for key, value in self.script.machine.items())
        )
        (self.home / "demo.yaml").write_text(self.script.recipe.format(home=self.home))
        (self.home / "step.sh").write_text(dedent(SAY + STEP))
        (self.home / "train.sh").write_text(dedent(SAY + TRAIN))
        os.mkfifo(self.home / "never")
        save_whole(self.home / "whole")

    def keep(self) -> None:
        """Take what was planned for the beginning of every run."""
        for job, verb in self.script.dropped_first:
            self.drop(job, verb)
        shutil.rmtree(self.planned, ignore_errors=True)
        shutil.copytree(self.root, self.planned, symlinks=True)

    def reset(self) -> None:
        """Go back to the beginning."""
        for folder in (self.root, self.var.parent, self.home / "gates"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("free", "runs.log", "said.log"):
            (self.home / name).unlink(missing_ok=True)
        shutil.copytree(self.planned, self.root, symlinks=True)
        (self.home / "gates").mkdir()
        self._draw_key()

    def _draw_key(self) -> None:
        plan = self.root / "demo" / "plan.json"
        text, self.key = plan.read_text(), secrets.token_hex(4)
        plan.write_text(text.replace(json.loads(text)["key"], self.key))

    def ran(self) -> list[str]:
        """List the tokens of the attempts whose programs ran, once for each time and part of a batch."""
        log = self.home / "runs.log"
        return log.read_text().split() if log.exists() else []

    def drop(self, job: str, verb: str) -> None:
        """Drop a marker, as `touch` does."""
        (self.root / "demo" / "jobs" / job / "markers" / verb).touch()

    def open(self, gate: str) -> None:
        """Let a job go on."""
        (self.home / "gates" / gate).touch()

    def open_all(self) -> None:
        """Let every job go on, now and later."""
        (self.home / "free").touch()

    def close(self) -> None:
        """Leave nothing behind."""
        for folder in (self.home, self.planned):
            shutil.rmtree(folder, ignore_errors=True)


def save_whole(folder: Path) -> None:
    """Save a checkpoint that is structurally whole, as torch.save would: a zip with a pickle."""
    rank = folder / "mp_rank_00"
    rank.mkdir(parents=True)
    state = {"args": argparse.Namespace(world_size=1), "model": {}, "optimizer": {}}
    with zipfile.ZipFile(rank / checkpoints.MODEL_FILE, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(state, protocol=2))
        archive.writestr("model/byteorder", "little")
    judgement = checkpoints.judge(folder)
    if not judgement.resumable:
        raise AssertionError(judgement.why)
