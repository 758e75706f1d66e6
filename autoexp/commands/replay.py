"""Show what the journal says of any moment, or check that it still adds up.

--check folds every move again: each must begin where the job stood, and the table of today must decide the same. A
difference in what the table decides is printed, and is no error: replay trusts what was written.

  autoexp replay experiments/ --at 2026-11-20T21:40
  autoexp replay experiments/ --check
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoexp import targets
from autoexp.codec import decode
from autoexp.commands.events import moment
from autoexp.commands.status import as_json
from autoexp.events import EVENTS
from autoexp.fold import fold
from autoexp.journal import to_transition, unstamp
from autoexp.lifecycle import step
from autoexp.model import Job, JobSpec, Transition
from autoexp.view import View, view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp replay`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    parser.add_argument("--at", metavar="TIME", help="the moment to show: 2026-11-20T21:40, UTC")
    parser.add_argument("--check", action="store_true", help="check every move")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fold the journal, and print; safe beside a watcher."""
    root = targets.existing_root(targets.default_root(arguments.root))
    seen = view(root, arguments.var, until=unstamp(moment(arguments.at)) if arguments.at else None)
    if arguments.check:
        return _report(seen, as_json=arguments.json)
    states = as_json(seen)
    if arguments.json:
        print(json.dumps(states))
    else:
        for study in states["studies"]:
            for job in study["jobs"]:
                print(f"{study['study']}/{job['job']} {job['state']} (attempt {job['attempt']})")
    return 0


def _report(seen: View, *, as_json: bool) -> int:
    breaks = list(check(seen))
    differences = list(compare(seen))
    if as_json:
        print(json.dumps({"moves": len(seen.records), "breaks": breaks, "differences": differences}))
    else:
        print(f"{len(seen.records)} moves, {len(breaks)} breaks, {len(differences)} decided otherwise by today's table")
        for found in (*breaks, *differences):
            print(f"  seq {found['seq']}: {found['what']}")
    return 1 if breaks else 0


def check(seen: View) -> Iterator[dict[str, Any]]:
    """List the moves that do not begin where their job stood."""
    for record, job, move in _walk(seen):
        if job.state is not move.source:
            what = f"{move.study}/{move.job} {move.trigger} begins at {move.source}, where it was {job.state}"
            yield {"seq": record["seq"], "what": what}


def compare(seen: View) -> Iterator[dict[str, Any]]:
    """List the moves that today's table would decide otherwise."""
    for record, job, move in _walk(seen):
        decision = step(job, _event(move))
        target = decision.transition.target if decision.transition else job.state
        if target is not move.target:
            what = f"{move.study}/{move.job} {move.trigger} went to {move.target}; today's table says {target}"
            yield {"seq": record["seq"], "what": what}


def _walk(seen: View) -> Iterator[tuple[Mapping[str, Any], Job, Transition]]:
    """Yield each move with its job as it stood before."""
    jobs: dict[tuple[str, str], Job] = {}
    for record in seen.records:
        move = to_transition(record)
        key = (move.study, move.job)
        born = move.source is None  # again, if its study was deleted and planned anew
        job = Job(spec=_spec(seen, *key)) if born or key not in jobs else jobs[key]
        yield record, job, move
        jobs[key] = fold(job, move)


def _spec(seen: View, study: str, job: str) -> JobSpec:
    ledger = seen.registry.ledgers.get(study)
    known = ledger.jobs.get(job) if ledger else None
    return known.spec if known else JobSpec(id=job, study=study, stage="")


def _event(move: Transition) -> Any:
    """Build the event behind a move from its evidence."""
    kind = EVENTS[move.trigger]
    speaks_of_attempt = move.trigger in ("submitted", "submit_refused", "submit_lost", "started", "ended")
    attempt = move.attempt if speaks_of_attempt and move.trigger != "ended" else None
    return decode(kind, {**move.evidence, "at": move.at, "attempt": attempt})
