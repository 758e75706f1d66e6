"""Play a study in virtual time: how long it takes, what it costs, where it gets stuck. Nothing is written.

autoexp simulate recipes/demo.yaml --step-time 0.2s
autoexp simulate ladder.yaml --machine leonardo --nodes 16 --step-time pretrain=1.4s --takes evaluate=20m
autoexp simulate experiments/ladder --json
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoexp import studies, targets
from autoexp.commands import plan
from autoexp.errors import AutoexpError
from autoexp.machine import Machine
from autoexp.quantities import duration_s

if TYPE_CHECKING:
    from autoexp.forecast import Forecast
    from autoexp.registry import Ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp simulate`."""
    plan.add_recipe_arguments(parser, "RECIPE|STUDY", "a recipe's path or name, or a study's directory")
    parser.add_argument(
        "--nodes", metavar="N", type=int, help="so many nodes of a cluster are ours; else no end of them"
    )
    words = "how long an iteration takes, of one stage or of all (else a training lasts its walltime)"
    parser.add_argument("--step-time", metavar="[STAGE=]DURATION", action="append", default=[], help=words)
    words = "how long a job of a stage, or of all, takes (else its walltime, else an hour)"
    parser.add_argument("--takes", metavar="[STAGE=]DURATION", action="append", default=[], help=words)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Plan, let virtual time pass, and say what came of it."""
    from autoexp.forecast import summary  # noqa: PLC0415 - `autoexp simulate --help` does without

    found = forecast(arguments)
    found.run()
    print(json.dumps(summary.as_json(found)) if arguments.json else "\n".join(summary.text(found)))
    return 0


def forecast(arguments: argparse.Namespace) -> "Forecast":
    """Make the study, the machine and what is assumed.

    Raises:
        AutoexpError: the recipe, the study, the machine or an option cannot be used.
    """
    from autoexp import clock  # noqa: PLC0415 - as above
    from autoexp.forecast import Forecast  # noqa: PLC0415 - as above
    from autoexp.forecast.lengths import Lengths  # noqa: PLC0415 - as above
    from autoexp.forecast.site import Site  # noqa: PLC0415 - as above

    steps_s, jobs_s = _durations(arguments.step_time, "--step-time"), _durations(arguments.takes, "--takes")
    ledger = _ledger(arguments)
    stages = {spec.stage for spec in (*ledger.study.plan.jobs, *ledger.study.plan.previews)}
    for stage in {*steps_s, *jobs_s} - {*stages, ""}:
        raise AutoexpError(
            f"there is no stage {stage!r}", why=f"the stages are {', '.join(sorted(stages))}", fix="correct the name"
        )
    machine = ledger.study.machine
    site = Site(machine, _room(machine, arguments.nodes))
    return Forecast(ledger, site, Lengths(steps_s=steps_s, jobs_s=jobs_s), clock.now())


def _ledger(arguments: argparse.Namespace) -> "Ledger":
    from autoexp.registry import Ledger  # noqa: PLC0415 - as above

    folder = Path(arguments.recipe)
    if not studies.exists(folder):
        made = plan.make(arguments, targets.default_root(arguments.root), dry_run=True)
        return Ledger(made.study, planner=made.planner)
    if arguments.overrides or arguments.machine or arguments.where:
        fix = f"simulate its recipe: autoexp simulate {folder / 'recipe.yaml'} ..."
        raise AutoexpError(f"{folder} is planned already", why="its values and its machine are settled", fix=fix)
    return Ledger(studies.load(folder.resolve()))


def _room(machine: Machine, nodes: int | None) -> dict[str, float]:
    from autoexp import machines  # noqa: PLC0415 - it loads OmegaConf

    if machine.executor != "local":
        if nodes is not None and nodes < 1:
            raise AutoexpError("nothing runs on no node", why=f"--nodes says {nodes}", fix="give 1, or more")
        return {} if nodes is None else {"nodes": float(nodes)}
    if nodes is not None:
        why, fix = "its executor is local", "leave --nodes out, or name a cluster: --machine NAME"
        raise AutoexpError(f"machine {machine.name} is one computer", why=why, fix=fix)
    return {"cpus": float(machines.cpus(machine)), "gpus": float(len(machines.gpus(machine)))}


def _durations(given: Sequence[str], option: str) -> dict[str, float]:
    """Read [STAGE=]DURATION, several times; an empty name stands for all stages."""
    found = {}
    for text in given:
        stage, _, duration = text.rpartition("=")
        try:
            found[stage] = duration_s(duration)
        except ValueError as error:
            fix = f"write {option} 90s, or {option} STAGE=1.5s"
            raise AutoexpError(f"{option} {text} cannot be read", why=str(error), fix=fix) from error
    return found
