"""Make a recipe of another tool's experiment, and say what it got wrong.

autoexp import autoexperiment scaling_exps.yaml                 print the recipe
autoexp import oellm config/experiments/mine.yaml --out mine.yaml
autoexp import modalities sweep_config.yaml --json           or a folder of its results
"""

import argparse
import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoexp import files, targets
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

    if arguments.out and os.path.lexists(arguments.out):
        raise _taken(arguments.out)
    made = importers.find(arguments.dialect).read(arguments.file)
    text = writing.write(made.recipe, arguments.file.name)
    if not arguments.out and not arguments.json:
        print(text, end="")
    for warning in made.warnings:
        print(f"warning: {warning['where']}: {warning['message']}", file=sys.stderr)
    planned = _planned(text, arguments.out, arguments.file)
    for warning in planned["warnings"]:
        print(f"warning: {warning['where']}: {warning['message']}", file=sys.stderr)
    if arguments.out:
        _write(arguments.out, text)
    if arguments.json:
        print(json.dumps({**planned, "warnings": [*made.warnings, *planned["warnings"]]}))
    count = len(planned["jobs"])
    print(f"{count} job{'' if count == 1 else 's'}, counting one for each of an each stage's parents", file=sys.stderr)
    if arguments.out:
        print(f"next: autoexp plan {shlex.quote(os.fspath(arguments.out))} --dry-run", file=sys.stderr)
    return 0


def _write(file: Path, text: str) -> None:
    try:
        files.write_new_whole(file, text.encode())
    except FileExistsError as error:
        raise _taken(file) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise AutoexpError(f"{file} cannot be written", why=why, fix="give another --out") from error


def _taken(file: Path) -> AutoexpError:
    why, fix = "somebody may have changed it since it was imported", "remove it, or give another --out"
    return AutoexpError(f"{file} is there already", why=why, fix=fix)


def _planned(text: str, file: Path | None, original: Path) -> dict[str, Any]:
    """Plan the recipe without writing anything that stays.

    Raises:
        AutoexpError: it cannot be planned as it is; the message names the original, and the line of the recipe.
    """
    with tempfile.TemporaryDirectory() as folder:
        recipe, name = Path(folder) / "recipe.yaml", os.fspath(file or "recipe.yaml")
        recipe.write_text(text, encoding="utf-8")
        asked = argparse.Namespace(recipe=os.fspath(recipe), **plan.PLAIN)
        try:
            made = plan.make(asked, targets.default_root(None), dry_run=True)
        except AutoexpError as error:
            place = re.compile(rf"{re.escape(os.fspath(recipe))}(?::(?P<line>\d+))?(?:: (?P<key>[\w.-]+): )?")
            found = place.match(error.what)
            where = _origin(original, (found and found["key"]) or "")
            said = place.sub(
                lambda at: f"line {at['line']}, {at['key'] or 'its top'}: " if at["line"] else "", error.what
            )
            what = f"{where}: the recipe made of it cannot be planned here: {said}"
            fix = f"{error.fix}; {file} is not written: without --out the recipe is printed all the same"
            raise AutoexpError(what, why=error.why, fix=fix if file else error.fix) from error
        planned = plan.as_json(made.study.plan)
    named = [{**each, "where": each["where"].replace(os.fspath(recipe), name)} for each in planned["warnings"]]
    return {**planned, "warnings": named}


def _origin(file: Path, key: str) -> str:
    """Spell where the original says what a key of the recipe is made of, as far as the key's name tells."""
    from autoexp import recipes  # noqa: PLC0415 - OmegaConf is slow to load

    *above, name = key.replace("-", "_").split(".")
    if not file.is_file() or not {"params", "args", "env"} & {*above}:
        return os.fspath(file)
    _, places = recipes.load_yaml(file)
    known = (path for path in places.written if path and str(path[-1]).rpartition(".")[2] == name)
    return places.spell(next(known, ()))
