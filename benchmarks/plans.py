"""What planning costs.

python -m benchmarks plans
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.stand import AUTOEXP, stand

RECIPE = """
study: bench
machine: local
params: {{width: 64, steps: "${{calc:'${{width}} * (${{m}} + ${{n}})'}}"}}
sweep: {{params: {{m: {tens}, n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}}}
stages:
  train: {{command: [sleep, '${{steps}}']}}
"""
SIZES = ((1_000, 0.4, None), (10_000, 1.5, 3.0), (100_000, 15.0, 30.0))


def measure() -> Iterator[Figure]:
    """Measure all of them."""
    for jobs, dry_s, written_s in SIZES:
        with stand() as place:
            recipe = place.home / "bench.yaml"
            recipe.write_text(RECIPE.format(tens=list(range(0, jobs, 10))))
            took_s, peak_mb = _plan(recipe, "--dry-run")
            yield Figure(what=f"plan --dry-run of {jobs:,} jobs", measured=took_s, unit="s", wanted=dry_s)
            if written_s is not None:
                yield Figure(what="its memory", measured=peak_mb, unit="MB", wanted=500)
                took_s, peak_mb = _plan(recipe, "--root", str(place.root))
                yield Figure(what=f"plan of {jobs:,} jobs, written", measured=took_s, unit="s", wanted=written_s)


def _plan(recipe: Path, *options: str) -> tuple[float, float]:
    """Plan it in a new process; return how long it took, and its peak memory in MB."""
    began = time.perf_counter()
    with subprocess.Popen([*AUTOEXP, "plan", str(recipe), *options], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "plan")
    return time.perf_counter() - began, usage.ru_maxrss / 1024
