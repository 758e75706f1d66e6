"""Run a whole study on this computer in a few minutes: pretraining, cooldowns, conversion, evaluation, report.

Four small GPTs learn the Python standard library's own sources, two cooldowns branch off each, every checkpoint is
converted to Hugging Face's format and evaluated on text held out, and a report shows what came of it.

  autoexp demo
  autoexp demo --root /scratch/me/experiments
"""

import argparse
from importlib.util import find_spec

from autoexp import targets
from autoexp.commands import report
from autoexp.commands import run as runs
from autoexp.errors import AutoexpError

RECIPE = "demo"
NEEDED = ("torch", "transformers", "safetensors", "matplotlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp demo`."""
    parser.add_argument("--root", metavar="DIR", help="the experiments folder (else $AUTOEXP_ROOT, else ./experiments)")
    parser.set_defaults(recipe=RECIPE, overrides=[], machine=None, var=None, html=None, json=False)


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
    arguments.study, arguments.root = f"{root}/{RECIPE}", str(root)
    report.run(arguments)
    print("\n".join(_next_steps(f"{root}", f"{root}/{RECIPE}")))
    return status


def _next_steps(root: str, study: str) -> list[str]:
    job = f"{RECIPE}/cooldown-modelsmall-lr0.004-branch200"
    return [
        "",
        "where to look next:",
        f"  autoexp status {root}",
        f"  autoexp why {job} --root {root}",
        f"  autoexp events {root} --job {job}",
        f"  less {study}/jobs/pretrain-modelsmall-lr0.004/current.log",
        f"  xdg-open {study}/report/report.html",
    ]
