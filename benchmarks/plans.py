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
                took_s, _ = _plan(recipe, "--root", str(place.root))
                yield Figure(
                    what=f"plan of {jobs:,} jobs, written",
                    measured=took_s,
                    unit="s",
                    wanted=written_s,
                    floor=_bare_s(place.root / "bench" / "jobs", place.home / "bare"),
                    floor_is="its folders and files alone, made by bare system calls",
                )


def _plan(recipe: Path, *options: str) -> tuple[float, float]:
    """Plan it in a new process; return how long it took, and its peak memory in MB."""
    began = time.perf_counter()
    with subprocess.Popen([*AUTOEXP, "plan", str(recipe), *options], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "plan")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def _bare_s(jobs: Path, copies: Path) -> float:
    """Make the folders of all jobs once more, with files as long; return how long it took."""
    one = next(jobs.iterdir())
    files = {path.name: bytes(path.stat().st_size) for path in one.iterdir() if path.is_file()}
    names = os.listdir(jobs)  # noqa: PTH208 - only names
    copies.mkdir()
    began = time.perf_counter()
    for name in names:
        folder = f"{copies}/{name}"
        os.mkdir(folder)  # noqa: PTH102 - bare, as is said
        os.mkdir(f"{folder}/markers")  # noqa: PTH102 - as above
        for file, text in files.items():
            descriptor = os.open(f"{folder}/{file}", os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, text)
            os.close(descriptor)
    return time.perf_counter() - began
