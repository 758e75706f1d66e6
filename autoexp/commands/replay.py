"""Show what the journal says of any moment, or check that it still adds up.

--check folds every move again: each must begin where the job stood, and the table of today must decide the same. A
difference in what the table decides is printed, and is no error: replay trusts what was written. snapshot.json must say
just what the journal says up to its place.

  autoexp replay experiments/ --at 2026-11-20T21:40
  autoexp replay experiments/ --check
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from autoexp import targets
from autoexp.codec import decode
from autoexp.commands.events import moment
from autoexp.commands.status import as_json
from autoexp.events import EVENTS
from autoexp.fold import fold
from autoexp.history import History
from autoexp.journal import to_transition, unstamp
from autoexp.lifecycle import step
from autoexp.model import Job, JobSpec, Transition
from autoexp.recall import folder_of, load
from autoexp.standings import Standings
from autoexp.view import View, view

DIFFERS = "differs"
"""How snapshot.json may compare with the journal, and must not."""


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
    seen = view(root, arguments.var, until=unstamp(moment(arguments.at)) if arguments.at else None, whole=True)
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
    found = _Found()
    for record, job, move in _walk(seen):
        found.moves += 1
        found.breaks += check(record, job, move)
        found.differences += compare(record, job, move)
    snapshot = compare_snapshot(seen.var)
    if as_json:
        print(json.dumps({**asdict(found), "snapshot": snapshot}))
    else:
        breaks, differences = len(found.breaks), len(found.differences)
        print(f"{found.moves} moves, {breaks} breaks, {differences} decided otherwise by today's table")
        for what in (*found.breaks, *found.differences):
            print(f"  seq {what['seq']}: {what['what']}")
        print(f"snapshot.json: {snapshot}")
    return 1 if found.breaks or snapshot.startswith(DIFFERS) else 0


@dataclass(slots=True)
class _Found:
    moves: int = 0
    breaks: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)


def check(record: Mapping[str, Any], job: Job, move: Transition) -> Iterator[dict[str, Any]]:
    """Tell of a move that does not begin where its job stood."""
    if job.state is not move.source:
        what = f"{move.study}/{move.job} {move.trigger} begins at {move.source}, where it was {job.state}"
        yield {"seq": record["seq"], "what": what}


def compare(record: Mapping[str, Any], job: Job, move: Transition) -> Iterator[dict[str, Any]]:
    """Tell of a move that today's table would decide otherwise."""
    decision = step(job, _event(move))
    target = decision.transition.target if decision.transition else job.state
    if target is not move.target:
        what = f"{move.study}/{move.job} {move.trigger} went to {move.target}; today's table says {target}"
        yield {"seq": record["seq"], "what": what}


def compare_snapshot(var: Path) -> str:
    """Say how snapshot.json compares with the journal up to its place."""
    try:
        mark, standings = load(var)
    except FileNotFoundError:
        return "none"
    except (OSError, ValueError) as error:
        return f"left aside: {error}"
    if not History(folder_of(var), mark).fits():
        return "left aside: it is of another journal, or of another past of this one"
    folded = Standings()
    for record in islice(History(folder_of(var)).records(), mark.seq):
        folded.take(record)
    return "agrees" if folded == standings else f"{DIFFERS} from the first {mark.seq} moves; delete it"


def _walk(seen: View) -> Iterator[tuple[Mapping[str, Any], Job, Transition]]:
    """Yield each move with its job as it stood before."""
    jobs: dict[tuple[str, str], Job] = {}
    for record in seen.records():
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
