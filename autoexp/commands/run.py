"""Plan a recipe, then watch its study until it is done; 0 if every job succeeded.

autoexp run recipes/demo.yaml
autoexp run recipes/demo.yaml --root /scratch/me/experiments lr=1e-3
"""

import argparse

from autoexp import studies, targets
from autoexp.commands import plan
from autoexp.commands.watch import outcome, print_moves, watch
from autoexp.watching import until_done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp run`."""
    plan.add_recipe_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan, watch, and say what became of it."""
    root = targets.default_root(arguments.root)
    study, text, old = plan.make(arguments, root)
    difference = studies.write(study, text, old)
    print("\n".join(plan.describe(study, difference, dry_run=False)), flush=True)
    watch(study.root, until_done(study.name), print_moves, arguments)
    return outcome(study.root, study=study.name)
