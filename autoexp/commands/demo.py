"""Run a whole study on this computer in a few minutes: pretraining, cooldowns, conversion, evaluation, report.

Four small GPTs learn the Python standard library's own sources, two cooldowns branch off each, every checkpoint is
converted to Hugging Face's format and evaluated on text held out, and a report shows what came of it.

  autoexp demo
  autoexp demo --root /scratch/me/experiments
"""

import argparse
from importlib.util import find_spec

from autoexp import studies, targets
from autoexp.commands import plan
from autoexp.commands import run as runs
from autoexp.errors import AutoexpError

RECIPE = "demo"
NEEDED = ("torch", "transformers", "safetensors", "matplotlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp demo`."""
    parser.add_argument("--root", metavar="DIR", help="the experiments folder (else $AUTOEXP_ROOT, else ./experiments)")
    parser.set_defaults(recipe=RECIPE, var=None, **plan.PLAIN)


def run(arguments: argparse.Namespace) -> int:
    """Plan, watch, report, and say where to look next."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise AutoexpError(
            f"the demo needs {', '.join(missing)}",
            why="it trains, converts and evaluates for real",
            fix="pip install 'autoexp[all]'",
        )
    status = runs.run(arguments)
    root = targets.default_root(arguments.root)
    jobs = studies.load(root / RECIPE).plan.jobs
    print("\n".join(_next_steps(str(root), jobs[0].id, jobs[-1].id)))
    return status


def _next_steps(root: str, first: str, last: str) -> list[str]:
    return [
        "",
        "where to look next:",
        f"  autoexp status {root}",
        f"  autoexp why {RECIPE}/{last} --root {root}",
        f"  autoexp events {root} --job {RECIPE}/{last}",
        f"  less {root}/{RECIPE}/jobs/{first}/current.log",
        f"  xdg-open {root}/{RECIPE}/report/report.html",
    ]
