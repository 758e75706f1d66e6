"""What a study of many short jobs asks of a real Slurm, and how soon the end of the last one is known.

A cluster of its own is started. Every call of a client is counted by a program of the same name that comes first on
the PATH. The watcher runs as `autoexp watch ROOT --until-done`.

  python benchmarks/slurm_load.py [--jobs 1000] [--sleep 1]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from autoexp.journal import unstamp
from tests.slurm.cluster import Cluster, cluster

CLIENTS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
RECIPE = """
study: load
machine: load
sweep: {{params: {{a: {tens}, b: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}}}
stages:
  nap: {{command: [sleep, '{seconds}'], resources: {{walltime: 10m, memory: 50MiB}}}}
"""
MACHINE = "executor: slurm\nvisibility: 10s\nsweep: 10s\n"


def count_calls(folder: Path) -> None:
    """Put a program before each client that writes down when it was called."""
    folder.mkdir()
    for name in CLIENTS:
        path = folder / name
        path.write_text(
            f"#!/bin/bash\nprintf '%s\\n' \"$EPOCHREALTIME\" >> {folder}/{name}.calls\n"
            f'PATH=${{PATH#{folder}:}}; exec {name} "$@"\n'
        )
        path.chmod(0o755)


def calls(folder: Path) -> dict[str, list[float]]:
    """Say when each client was called."""
    logs = {name: folder / f"{name}.calls" for name in CLIENTS}
    return {name: [float(at) for at in log.read_text().split()] if log.exists() else [] for name, log in logs.items()}


def play(home: Path, made: Cluster, jobs: int, seconds: float) -> dict[str, Any]:
    """Run a study to its end; return what it took."""
    shims = home / "shims"
    count_calls(shims)
    (home / "machines").mkdir()
    (home / "machines" / "load.yaml").write_text(MACHINE)
    (home / "load.yaml").write_text(RECIPE.format(tens=list(range(jobs // 10)), seconds=seconds))
    environment = {**os.environ, **made.env, "PATH": f"{shims}:{os.environ['PATH']}"}
    autoexp = (sys.executable, "-m", "autoexp")
    options: dict[str, Any] = {"cwd": home, "env": environment, "stdout": subprocess.DEVNULL}
    subprocess.run((*autoexp, "plan", "load.yaml", "--root", "experiments"), check=True, **options)
    began = time.time()
    subprocess.run((*autoexp, "watch", "experiments", "--until-done"), check=True, **options)
    ended = time.time()
    folders = home.glob("experiments/load/jobs/*/attempts/*/exit.json")
    exits = {path.parts[-4]: json.loads(path.read_text())["at"] for path in folders}
    journal = [
        json.loads(line) for path in home.glob("var/*/journal/*.jsonl") for line in path.read_text().splitlines()[1:]
    ]
    return {"began": began, "ended": ended, "exits": exits, "journal": journal, "calls": calls(shims)}


def known_after_s(played: dict[str, Any]) -> list[float]:
    """Say how long after each job's exit file the journal knew of it, in the order of the ends."""
    known = {
        line["job"].rpartition("/")[2]: unstamp(line["at"]) for line in played["journal"] if line["trigger"] == "ended"
    }
    return [known[job] - end for job, end in sorted(played["exits"].items(), key=lambda ended: ended[1])]


def main() -> int:
    """Start a cluster, play, and print figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000, help="in tens")
    parser.add_argument("--sleep", type=float, default=1.0, help="seconds that each takes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-") as folder, cluster() as made:
        played = play(Path(folder), made, asked.jobs, asked.sleep)
    took_s = played["ended"] - played["began"]
    counted = Counter({name: len(times) for name, times in played["calls"].items()})
    delays = known_after_s(played)
    print(f"{len(played['exits'])} attempts of {asked.jobs} jobs in {took_s:.0f} s")
    print(f"calls: {dict(counted)}; squeue an hour at this rate: {counted['squeue'] / took_s * 3600:.0f}")
    print(f"from an exit file to the journal: last {delays[-1]:.3f} s, median {sorted(delays)[len(delays) // 2]:.3f} s")
    print(f"from the last exit file to the end of the watcher: {played['ended'] - max(played['exits'].values()):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
