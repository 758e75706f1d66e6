"""Turn a recipe into a study under the experiments folder.

Planning the same recipe again changes nothing; a changed recipe adds and retires jobs, and says which. Jobs that have
run keep what they ran with.

  autoexp plan recipes/demo.yaml
  autoexp plan recipes/demo.yaml --dry-run --graph text
  autoexp plan recipes/demo.yaml lr=1e-3 stages.pretrain.retry.max_attempts=2 --dry-run
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autoexp import flow, folders, selection, studies, study_files, targets
from autoexp.budget import in_words
from autoexp.costs import cost_of
from autoexp.errors import AutoexpError, RecipeError
from autoexp.model import JobSpec, Template
from autoexp.outline import Plan
from autoexp.studies import Study
from autoexp.study_files import Difference

if TYPE_CHECKING:
    from autoexp.plan import Planner

PLAIN: Mapping[str, Any] = {"overrides": (), "machine": None, "where": None}
"""What planning is asked where nothing more is said than the recipe."""
CHANGES = ("added", "changed", "retired", "kept")
"""What planning again may do with a job."""
MOST_MODULES = 100
"""Modules beside a program that are read to see what it reads."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp plan`."""
    add_recipe_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--graph", choices=("text", "mermaid", "dot"), help="draw its stages, and what waits for what")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def add_recipe_arguments(
    parser: argparse.ArgumentParser,
    metavar: str = "RECIPE",
    words: str = "a recipe's path, or the name of one in recipes/",
) -> None:
    """Declare what every planning command takes."""
    parser.add_argument("recipe", metavar=metavar, help=words)
    words = "a param, an axis to pin, or a dotted path"
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", default=[], help=words)
    parser.add_argument("--root", metavar="DIR", help="the experiments folder (else $AUTOEXP_ROOT, else ./experiments)")
    parser.add_argument("--machine", metavar="NAME", help="plan for this machine instead of the recipe's")
    words = "only these jobs, and what they need: 'model == \"10M\" and lr < 1e-3'"
    parser.add_argument("--where", metavar="EXPR", help=words)


def run(arguments: argparse.Namespace) -> int:
    """Plan, write, and say what the study comes to."""
    root = targets.default_root(arguments.root)
    study, text, old, _ = make(arguments, root, dry_run=arguments.dry_run)
    difference = study_files.compare(old, study)
    if not arguments.dry_run:
        difference = study_files.write(study, text, old)
    if arguments.json:
        changes = {what: getattr(difference, what) for what in CHANGES} if old else None
        print(json.dumps({**as_json(study.plan), "changes": changes}))
    elif arguments.graph:
        print(flow.draw(study.plan, arguments.graph))
        for line in (*_warnings(study.plan), *(_changed(difference) if old else ())):
            print(line, file=sys.stderr)
    else:
        print("\n".join(describe(study, difference, dry_run=arguments.dry_run)))
    return 0


class Made(NamedTuple):
    """What planning came to."""

    study: Study
    text: str
    """The recipe as the study keeps it."""
    old: Study | None
    """The study that stands there already."""
    planner: "Planner"
    """What plans the jobs that appear."""


def make(arguments: argparse.Namespace, root: Path, *, dry_run: bool = False) -> Made:
    """Plan a recipe.

    Raises:
        AutoexpError: the recipe, its machine, or the root cannot be used.
    """
    from autoexp import executors, hooks, machines, recipes  # noqa: PLC0415 - OmegaConf is slow to load
    from autoexp.plan import Planner  # noqa: PLC0415 - it loads OmegaConf
    from autoexp.world import World  # noqa: PLC0415 - as above

    path = Path(arguments.recipe)
    is_name = path.suffix == "" and "/" not in arguments.recipe
    if is_name and (path.is_dir() or not os.path.exists(path)):  # noqa: PTH110 - as below
        path = folders.find("recipes", arguments.recipe, ".yaml")
    recipe = recipes.load(path, arguments.overrides)
    try:
        machine = machines.load(arguments.machine or recipe.machine)
    except AutoexpError as error:
        if arguments.machine or isinstance(error, RecipeError):  # its own file says where
            raise
        raise recipe.places.error(("machine",), error.what, why=error.why, fix=error.fix) from error
    executors.check(machine)
    folder = root.resolve() / recipe.study
    _check_place(root, folder, dry_run=dry_run)
    if studies.exists(folder) and not dry_run:
        study_files.relocate(folder)
    old = studies.load(folder) if studies.exists(folder) else None
    key = old.key if old else study_files.key_for(folder)
    world = World(
        machine=machine,
        root=str(root.resolve()),
        hooks=hooks.find,
        exists=os.path.exists,
        source=_source,
        misspelled=_misspelled,
        variables=os.environ,
        key=key,
    )
    planner = Planner(recipe, world)
    study = Study(
        dir=folder,
        plan=planner.plan(selection.read(arguments.where) if arguments.where else None),
        machine=machine,
        key=key,
        recipe_sha256=study_files.sha256_of(recipe.text),
        provenance=study_files.provenance(path),
    )
    return Made(study, recipe.text, old, planner)


def _source(path: str) -> str:
    """Read a program, and of a Python program the modules beside it."""
    program = Path(path)
    beside = sorted(program.parent.glob("*.py"))[:MOST_MODULES] if program.suffix == ".py" else []
    try:
        return "\n".join(
            each.read_text(encoding="utf-8", errors="replace") for each in dict.fromkeys((program, *beside))
        )
    except OSError:
        return ""


def _misspelled(script: str) -> str:
    """Ask bash whether it can read a script; on a computer without bash nobody can tell."""
    try:
        asked = subprocess.run(
            ["bash", "-O", "extglob", "-n"],  # which a script may switch on, and reading alone does not tell
            input=script.encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = asked.stderr.decode(errors="replace").partition("\n")[0]
    return said.removeprefix("bash: ") if asked.returncode else ""


def _check_place(root: Path, folder: Path, *, dry_run: bool) -> None:
    """Refuse a place that can hold no study, before anything is written."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        why = "its path has bytes that are no UTF-8, and job.yaml and run.sh are texts that name it"
        raise AutoexpError(f"{root} cannot hold studies", why=why, fix="rename it, or: --root DIR") from error
    place = folder
    while not os.path.exists(place):  # noqa: PTH110 - Path's own raises where we may not look
        place = place.parent
    if not place.is_dir():
        raise AutoexpError(f"{root} cannot hold studies", why=f"{place} is a file", fix="choose a folder: --root DIR")
    if not dry_run and not os.access(place, os.W_OK | os.X_OK):
        fix = "choose a folder that you may write to: --root DIR"
        raise AutoexpError(f"{root} cannot hold studies", why=f"{place} may not be written to", fix=fix)


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as programs read it; an each stage counts one template per parent job."""
    kinds = {template.id: template.kind for template in plan.templates}
    jobs = [_job_json(job, None) for job in plan.jobs]
    jobs += [_job_json(preview, kinds[preview.id]) for preview in plan.previews]
    return {"study": plan.study, "jobs": jobs, "warnings": list(plan.warnings)}


def _job_json(job: JobSpec, each: str | None) -> dict[str, Any]:
    return {
        "job": job.id,
        "stage": job.stage,
        "values": dict(job.values),
        "params": dict(job.params),
        "needs": list(job.needs),
        "each": each,
    }


def _occasion(template: Template) -> str:
    return template.kind if template.batch in (None, 1) else f"{template.batch} checkpoints"


def describe(study: Study, difference: Difference, *, dry_run: bool) -> list[str]:
    """Say what a study comes to, and what planning changed."""
    plan = study.plan
    jobs = Counter(job.stage for job in plan.jobs)
    each = Counter(template.stage for template in plan.templates)
    kinds = {template.stage: _occasion(template) for template in plan.templates}
    lines = [f"{study.name}: {_jobs(len(plan.jobs))} on machine {study.machine.name}, in {study.dir}"]
    lines += [f"  {stage}: {_jobs(count)}" for stage, count in jobs.items()]
    lines += [f"  {stage}: one for each {kinds[stage]} of {_jobs(count)}" for stage, count in each.items()]
    lines += _warned(plan)
    lines += _changed(difference)
    if dry_run:
        return [*lines, "nothing was written (--dry-run)"]
    return [*lines, f"next: autoexp watch {shlex.quote(str(study.root))}"]


def _warned(plan: Plan) -> list[str]:
    """Say what its attempts may cost, and what is odd about it."""
    cost = cost_of(plan)
    known = [f"{in_words(cost.hours)} at most for one attempt of each"] if cost.hours else []
    unknown = [f"unknown for {', '.join(cost.unknown())}"] if cost.unknown() else []
    told = [f"  GPU hours: {'; '.join((*known, *unknown))}"] if known or unknown else []
    return told + _warnings(plan)


def _warnings(plan: Plan) -> list[str]:
    return [f"warning: {each['where']}: {each['message']}" for each in plan.warnings]


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _changed(difference: Difference) -> list[str]:
    lines = [line for what in CHANGES for line in _listed(what, getattr(difference, what))]
    if not difference:
        lines.append("nothing has changed since it was planned")
    elif difference == Difference(kept=difference.kept, recipe=True):
        lines.append("its jobs have not changed; what appears for them from now on follows this recipe and machine")
    return lines


def _listed(what: str, names: tuple[str, ...]) -> list[str]:
    notes = {"kept": " (changed in the recipe, but they have run: they stay as they were)"}
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004 - enough
    return [f"  {what}: {shown}{notes.get(what, '')}"]
