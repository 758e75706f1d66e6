"""Plan a recipe, then watch until its study is done; 0 if every job of it succeeded.

One watcher carries a folder: all other studies that are planned in it are carried as well, until this one is done.

autoexp run recipes/demo.yaml
autoexp run recipes/demo.yaml --root /scratch/me/experiments lr=1e-3
"""

import argparse
import sys

from autoexp import study_files, targets
from autoexp.commands import plan, report, tell
from autoexp.commands.watch import outcome, print_moves, watch
from autoexp.studies import Study
from autoexp.watching import until_done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp run`."""
    plan.add_recipe_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan, watch, and say what became of it."""
    root = targets.default_root(arguments.root)
    study, text, old, _ = plan.make(arguments, root)
    difference = study_files.write(study, text, old)
    tell("\n".join(plan.describe(study, difference, dry_run=False)))
    return carry(study, arguments)


def carry(study: Study, arguments: argparse.Namespace) -> int:
    """Watch a study until it is done, where people can see it; then show its report."""
    done = until_done(study.name, tell)
    if sys.stdout.isatty():
        from autoexp.display import Display  # noqa: PLC0415 - rich is slow to load

        with Display(study.name) as display:
            watch(study.root, done, display.listen, arguments, display.attach)
    else:
        watch(study.root, done, print_moves, arguments)
    report.conclude(study)
    return outcome(study.root, study=study.name)
