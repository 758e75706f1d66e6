"""How long a watcher takes to restart, and how much memory: with snapshot.json and without.

The study is planned by `autoexp plan`, its journal written by the journal's own writer from moves that the table
decided, and each restart is a new process that does what `autoexp watch` does until it is ready to look. After that
comes the first look at every job, told apart; what jobs still ask for (one in nine is about to be submitted) is done
for a hundred of them before each look.

  python benchmarks/restart.py [--moves 1000000] [--jobs 10000] [--keep FOLDER]
"""

import argparse
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from autoexp import cli, clock, events, hosts
from autoexp.diagnostics import set_up
from autoexp.hosts import carriers
from autoexp.journal import open_journal
from autoexp.lease import take, var_of
from autoexp.lifecycle import step
from autoexp.model import ACTIVE, EndingClass, Job, Transition
from autoexp.probe import attempt_dir
from autoexp.recall import SNAPSHOT, folder_of
from autoexp.registry import Registry
from autoexp.standings import Standings
from autoexp.upkeep import Upkeep
from autoexp.watch import EVERYTHING, Hint
from autoexp.watching import watching

RECIPE = """
study: bench
machine: local
params: {{width: 64, steps: "${{calc:'${{width}} * (${{m}} + ${{n}})'}}"}}
sweep: {{params: {{m: {tens}, n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}}}
stages:
  train: {{retry: {{max_attempts: 3, when: {{preempted: resume}}}}, command: [sleep, '${{steps}}']}}
"""
BATCH = 500
"""Moves that are made durable together."""
STUDY = "bench"


def plan(home: Path, jobs: int) -> None:
    """Plan a study of so many jobs, in tens."""
    recipe = home / "bench.yaml"
    recipe.write_text(RECIPE.format(tens=list(range(0, jobs, 10))))
    command = [sys.executable, "-m", "autoexp", "plan", str(recipe), "--root", str(home / "experiments")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def live(home: Path, moves: int) -> None:
    """Write the journal of jobs that live on: attempts, checkpoints, preemptions; the watcher is killed at its end."""
    var = home / "var" / "experiments"
    specs = Registry(home / "experiments").load(home / "experiments" / STUDY).study.plan.jobs
    journal = open_journal(folder_of(var), [], Standings(), 0, holder={"host": "here", "pid": 1}, at=0.0)
    upkeep = Upkeep(journal, var, take(home / "experiments", var, clock.now()))
    jobs = [Job(spec=spec) for spec in specs]
    told = islice(made_up_moves(jobs), moves)
    while batch := list(islice(told, BATCH)):
        journal.append(batch)
        upkeep.tend(clock.now())
    while upkeep.due_in_s(clock.now()) == 0:
        upkeep.tend(clock.now())
    journal.close()
    for job in jobs:
        if job.state in ACTIVE:
            _begin_attempt(home / "experiments" / STUDY / "jobs" / job.id, job)


def _begin_attempt(folder: Path, job: Job) -> None:
    """Leave what an attempt has on disk."""
    attempt = attempt_dir(folder, job.attempt)
    attempt.mkdir(parents=True)
    (attempt / f"run.{job.token}").touch()
    alive = {**hosts.this_process().to_record(), "pid": 1, "start_time": hosts.start_time(1)}
    begun = {"v": 1, "token": job.token, "id": "1", **alive, "nodes": "", "gpus": "", "at": 1_700_000_000.0}
    (attempt / "started.json").write_text(json.dumps(begun))


def made_up_moves(jobs: list[Job]) -> Iterator[Transition]:
    """Move all jobs in turn; each has a life of its own length, so that they come to stand in different states."""
    lives = [_events(number) for number in range(len(jobs))]
    for at in count(1_700_000_000.0, 0.001):
        for number, job in enumerate(jobs):
            decision = step(job, next(lives[number])(job.attempt, at))
            if decision.transition is not None:
                jobs[number] = decision.job
                yield decision.transition


def _events(number: int) -> Iterator[Callable[[int, float], Any]]:

    yield lambda _, at: events.Planned(at=at)
    yield from [lambda _, at: events.Planned(at=at)] * (number % 9)  # says nothing new: jobs come to differ
    yield lambda _, at: events.ConditionsMet(at=at, reason="nothing to wait for")
    saved = count(200, 200)
    for _ in cycle([None]):
        yield lambda attempt, at: events.Submitted(at=at, attempt=attempt)
        yield lambda attempt, at: events.Started(at=at, attempt=attempt, scheduler_id=str(number))
        for iteration in islice(saved, 5):
            path = f"checkpoints/iter_{iteration:07d}"
            yield lambda attempt, at, i=iteration, p=path: events.CheckpointSaved(
                at=at, attempt=attempt, iteration=i, path=p
            )
        yield lambda attempt, at: events.Ended(
            at=at, attempt=attempt, ending=EndingClass.PREEMPTED, reason="preempted", code=143
        )
        yield lambda _, at: events.BackoffElapsed(at=at)


def restart(home: Path, hints: Iterable[Hint] = ()) -> None:
    """Do what `autoexp watch` does until it is ready, or has looked, and die."""
    root = home / "experiments"
    var = var_of(root)
    with watching(root, var, None, set_up(var, debug=False), lambda _: None) as engine:
        if hints:
            engine.wake(hints)
        _say(line=engine.journal.seq)
        for pid in carriers("AUTOEXP_ROOT", str(root)):
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def look(home: Path) -> None:
    """Restart, and look at every job once."""
    restart(home, [EVERYTHING])


def read_all(home: Path) -> None:
    """Read every line with the standard library alone."""
    lines = 0
    for path in folder_of(home / "var" / "experiments").glob("*.jsonl*"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                json.loads(line)
                lines += 1
    _say(lines=lines)


def status(home: Path) -> None:
    """Run `autoexp status`."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        cli.main(["status", str(home / "experiments"), "--json"])
    _say()


def _say(**figures: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    print(json.dumps({**spent, **figures}), flush=True)


DEEDS = {"restart": restart, "look": look, "read_all": read_all, "status": status}


def child(home: Path, deed: str) -> dict[str, float]:
    """Do something in a new process; return what it spent until it was done, from its very start."""
    begun = time.perf_counter()
    words = [sys.executable, __file__, "--child", deed, "--keep", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline() if process.stdout else ""
        return {"wall_s": time.perf_counter() - begun, **json.loads(said)}


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--moves", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="where to build, and leave it; what is built there is used again")
    parser.add_argument("--child", choices=[*DEEDS, "live"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child == "live":
        live(asked.keep, asked.moves)
    elif asked.child:
        DEEDS[asked.child](asked.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(asked.keep or Path(folder), asked.moves, asked.jobs)


def measure(home: Path, moves: int, jobs: int) -> None:
    """Build what is not there yet, restart with snapshot.json and without it, and compare."""
    home.mkdir(exist_ok=True)
    if not (home / "experiments").exists():
        plan(home, jobs)
        words = [sys.executable, __file__, "--child", "live", "--keep", str(home), "--moves", str(moves)]
        subprocess.run(words, check=True)
    plain = child(home, "read_all")
    print(f"{plain['lines']:,.0f} lines, {jobs:,} live jobs")
    _tell("json.loads of every line", plain, plain)
    snapshot = home / "var" / "experiments" / SNAPSHOT
    aside = snapshot.with_suffix(".aside")
    _tell(f"restart with {SNAPSHOT} (limit 2 s)", child(home, "restart"), plain)
    _tell(f"status with {SNAPSHOT}", child(home, "status"), plain)
    snapshot.rename(aside)
    _tell("restart without (limit 8 s)", child(home, "restart"), plain)
    aside.rename(snapshot)
    _tell("restart, and the first look at all", child(home, "look"), plain)


def _tell(what: str, found: dict[str, float], plain: dict[str, float]) -> None:
    ratio = found["cpu_s"] / plain["cpu_s"]
    spent = f"{found['wall_s']:6.2f} s, {found['cpu_s']:6.2f} s of CPU ({ratio:.2f} of json.loads)"
    print(f"{what:<40} {spent}, peak memory {found['peak_mb']:.0f} MB")


if __name__ == "__main__":
    main()
