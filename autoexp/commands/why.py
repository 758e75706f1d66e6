"""Explain a job: each start condition with its verdict, the last moves, and what would move it.

autoexp why demo/cooldown-model10M-lr0.001
autoexp why experiments/demo/jobs/cooldown-model10M-lr0.001 --json
"""

import argparse
import json

from autoexp import explanation, targets
from autoexp.errors import AutoexpError
from autoexp.view import view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp why`."""
    parser.add_argument("job", metavar="JOB", help="<study>/<job>, or the job's directory")
    parser.add_argument("--root", metavar="DIR", help="the experiments folder")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read, ask, and print; safe beside a watcher."""
    target = targets.find(arguments.job, arguments.root, is_there=False)
    seen = view(target.root, arguments.var)
    ledger = seen.registry.ledgers.get(target.study)
    if ledger is None or target.job not in ledger.jobs:
        targets.find(arguments.job, arguments.root)  # which says so where there is no such directory either
        why = seen.unreadable.get(target.study, "its directory is there, and neither the plan nor the journal has it")
        raise AutoexpError(
            f"nothing is known of {target.study}/{target.job}", why=why, fix="see what there is: autoexp status ROOT"
        )
    said = explanation.explain(seen, ledger, ledger.jobs[target.job])
    print(json.dumps(said) if arguments.json else "\n".join(explanation.text(said)))
    return 0
