"""How long 10,000 jobs take to plan, and to play in virtual time, and how much memory that needs.

Two recipes: 5,000 jobs that 5,000 others wait for; and 2,000 trainings, whose checkpoints are converted and evaluated
(4,000 and 4,000 jobs that appear). Each command runs in a process of its own.

  python benchmarks/simulate.py [--jobs 10000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLAT = """
study: flat
sweep: {{params: {{seed: {seeds}}}}}
stages:
  train: {{command: [echo, "${{seed}}"], resources: {{gpus_per_node: 4, walltime: 6h}}}}
  score: {{needs: train, command: [echo, "${{seed}}"]}}
"""
APPEARING = """
study: appearing
sweep: {{params: {{seed: {seeds}}}}}
stages:
  train:
    backend: megatron
    args: {{seed: "${{seed}}", train-iters: 1000, save-interval: 500}}
    resources: {{gpus_per_node: 4, walltime: 6h}}
    retry: {{max_attempts: 3}}
  convert: {{each: {{checkpoint: train}}, hook: megatron_to_hf}}
  evaluate: {{each: {{job: convert}}, hook: evaluate, with: {{model: "${{sibling.convert.output}}"}}}}
"""


def measured(folder: Path, *words: str) -> tuple[float, float, float]:
    """Run a command; return its seconds by the clock and of the processor, and its peak memory in MiB."""
    begin = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "autoexp", *words], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"autoexp {' '.join(words)} ended with {child.returncode}")
    return time.monotonic() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Measure both recipes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    jobs = parser.parse_args().jobs
    top = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (top, os.environ.get("PYTHONPATH"))))
    site = ("--machine", "leonardo")
    with tempfile.TemporaryDirectory() as name:
        for title, recipe, count in (("flat", FLAT, jobs // 2), ("appearing", APPEARING, jobs // 5)):
            path = Path(name) / f"{title}.yaml"
            path.write_text(recipe.format(seeds=list(range(count))), encoding="utf-8")
            for words in (("plan", path.name, "--dry-run", *site), ("simulate", path.name, "--nodes", "64", *site)):
                seconds, cpu_s, mebibytes = measured(path.parent, *words)
                print(f"{title:<10} {words[0]:<9} {seconds:5.2f} s, {cpu_s:5.2f} s of a core, {mebibytes:4.0f} MiB")


if __name__ == "__main__":
    main()
