"""Make a recipe of another tool's experiment, and say what it got wrong.

autoexp import autoexperiment scaling_exps.yaml                 print the recipe
autoexp import oellm config/experiments/mine.yaml --out mine.yaml
autoexp import modalities sweep_config.yaml --json           or a folder of its results
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoexp import targets
from autoexp.commands import plan
from autoexp.errors import AutoexpError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp import`."""
    parser.add_argument("dialect", metavar="DIALECT", help="the tool it is of: autoexperiment, modalities, oellm")
    parser.add_argument("file", metavar="FILE", type=Path, help="its experiment")
    parser.add_argument(
        "-o", "--out", metavar="RECIPE", type=Path, help="write the recipe there instead of printing it"
    )
    parser.add_argument("--json", action="store_true", help="print what the recipe plans to, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Import, plan what came of it as a trial, and say what to know of it."""
    from autoexp import importers  # noqa: PLC0415 - OmegaConf is slow to load
    from autoexp.importers import writing  # noqa: PLC0415 - as above

    made = importers.find(arguments.dialect).read(arguments.file)
    text = writing.write(made.recipe, arguments.file.name)
    if arguments.out:
        _write(arguments.out, text)
    elif not arguments.json:
        print(text, end="")
    for warning in made.warnings:
        print(f"warning: {warning['where']}: {warning['message']}", file=sys.stderr)
    planned = _planned(text, arguments.out)
    for warning in planned["warnings"]:
        print(f"warning: {warning['where']}: {warning['message']}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({**planned, "warnings": [*made.warnings, *planned["warnings"]]}))
    print(f"{len(planned['jobs'])} jobs, counting one for each of an each stage's parents", file=sys.stderr)
    if arguments.out:
        print(f"next: autoexp plan {shlex.quote(os.fspath(arguments.out))} --dry-run", file=sys.stderr)
    return 0


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError as error:
        why, fix = "somebody may have changed it since it was imported", "remove it, or give another --out"
        raise AutoexpError(f"{file} is there already", why=why, fix=fix) from error


def _planned(text: str, file: Path | None) -> dict[str, Any]:
    """Plan the recipe without writing anything.

    Raises:
        AutoexpError: it cannot be planned as it is; the message names the line.
    """
    with tempfile.TemporaryDirectory() as folder:
        recipe = file or Path(folder) / "recipe.yaml"
        if not file:
            recipe.write_text(text, encoding="utf-8")
        asked = argparse.Namespace(recipe=os.fspath(recipe), **plan.PLAIN)
        try:
            made = plan.make(asked, targets.default_root(None), dry_run=True)
        except AutoexpError as error:
            what = f"the recipe cannot be planned here: {error.what.replace(f'{folder}/', '')}"
            raise AutoexpError(what, why=error.why, fix=error.fix) from error
        planned = plan.as_json(made.study.plan)
    named = [{**each, "where": each["where"].replace(f"{folder}/", "")} for each in planned["warnings"]]
    return {**planned, "warnings": named}
