"""Why a job is where it is: each start condition with its verdict, the last moves, and what would move it."""

import shlex
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autoexp import clock, probe
from autoexp.asking import verdict
from autoexp.jobfiles import DONE
from autoexp.lifecycle import accepted
from autoexp.model import Condition, Job, State
from autoexp.moves import line
from autoexp.registry import Ledger
from autoexp.rows import reason
from autoexp.status import progress_of
from autoexp.view import View
from autoexp.world import checkpoint_name

LAST_MOVES = 8
HINTS = {
    State.SUCCEEDED: "nothing needs to; restart runs it again",
    State.FAILED: "retry gives it a fresh attempt budget, once the cause is mended",
    State.SKIPPED: "retry makes it wait again, once the jobs it needs can succeed",
    State.CANCELLED: "retry makes it wait again",
    State.HELD: "release lets it go on",
    State.STALLED: "cancel or restart ends it; it goes on by itself if it gets further",
    State.BACKOFF: "start submits it now",
    State.WAITING: "start submits it now, whatever it waits for",
    State.SUBMITTING: "room for it, or the scheduler's word on its submission",
    State.QUEUED: "its turn",
}


def explain(seen: View, ledger: Ledger, job: Job, records: Iterable[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Gather everything that bears on why a job is where it is; `records` are its own, if they were read."""
    name = ledger.study.name
    training = seen.training(name, job.id)
    moves = deque(seen.records(name, job.id) if records is None else records, maxlen=LAST_MOVES)
    state = job.state or State.WAITING
    folder = ledger.dir_of(job.id)
    return {
        "study": name,
        "job": job.id,
        "state": state,
        "reason": reason(seen, ledger, job),
        "attempt": job.attempt,
        "attempts": {"counted": job.spent, "limit": job.spec.retry.max_attempts},
        "pending": job.pending,
        "progress": progress_of(job, training),
        "unsettled": training.get("unsettled") or [],
        **_batch(folder, job),
        **({"avoided": list(avoided)} if (avoided := ledger.avoided(clock.now())) else {}),
        "conditions": list(_conditions(seen, ledger, job, job.spec.start)),
        "moves": list(moves),
        "verbs": list(accepted(state)),
        "hint": HINTS.get(state, ""),
        "dir": str(folder),
        **({} if folder.is_dir() else {"gone": True}),
        "log": str(probe.attempt_dir(folder, job.attempt) / "output.log") if job.attempt else None,
        "watched": seen.watcher is not None,
        "problems": [what for about, what in seen.problems.items() if about == f"{name}/{job.id}"],
    }


def _batch(folder: Path, job: Job) -> dict[str, list[int]]:
    """List the iterations of a batch, and which of them are done."""
    iterations = list(job.spec.iterations)
    done = [iteration for iteration in iterations if (folder / DONE / checkpoint_name(iteration)).exists()]
    return {"iterations": iterations, "done": done} if iterations else {}


def _conditions(seen: View, ledger: Ledger, job: Job, condition: Condition) -> Iterator[dict[str, Any]]:
    """Answer each part of the start conditions by itself."""
    for part in condition.parts if condition.name == "all" else (condition,):
        said = verdict(part, ledger, job, seen.iterations(ledger.study.name))
        yield {"condition": part.name, "holds": said.holds, "reason": said.reason, "dead": said.dead}
    if ledger.budget.limit:
        short = ledger.budget.shortage(job)
        yield {"condition": "budget", "holds": not short, "reason": short or ledger.budget.told(), "dead": False}


def text(said: dict[str, Any]) -> Iterator[str]:
    """Spell an explanation for people."""
    yield f"{said['study']}/{said['job']} is {said['state']}" + (f": {said['reason']}" if said["reason"] else "")
    if said["progress"]:
        yield f"  progress: {said['progress']}"
    yield from (f"  problem: {problem}" for problem in said["problems"])
    for iteration in said.get("iterations", ()):
        yield f"  iteration {iteration} is {'done' if iteration in said['done'] else 'not done'}"
    if said.get("avoided"):
        yield f"  nodes that its study avoids for now: {', '.join(said['avoided'])}"
    if said["unsettled"]:
        yield f"  checkpoints {said['unsettled']} are whole, but the tracker does not name them yet"
    if said["attempt"]:
        budget = said["attempts"]
        yield f"  attempt {said['attempt']}; {budget['counted']} of {budget['limit']} count; log: {said['log']}"
    if said["conditions"]:
        yield "  it starts when all of these hold:"
    for condition in said["conditions"]:
        mark = "yes" if condition["holds"] else "never" if condition["dead"] else "no"
        yield f"    {mark:<5} {condition['condition']}: {condition['reason']}"
    if said["moves"]:
        yield "  its last moves:"
    yield from (f"    {line(move)}" for move in said["moves"])
    yield from _ahead(said)


def _ahead(said: dict[str, Any]) -> Iterator[str]:
    """Say what would move it, and last what to type."""
    root, name = shlex.quote(str(Path(said["dir"]).parents[2])), shlex.quote(f"{said['study']}/{said['job']}")
    if said.get("gone"):
        yield f"  its directory is gone: {said['dir']}"
        yield f"  type: autoexp events {root} --job {name}"
        return
    if not said["watched"]:
        yield f"  no watcher runs: nothing moves until one does (autoexp watch {root})"
    yield f"  what would move it: {said['hint'] or 'its own end'}"
    verbs, place = said["verbs"], shlex.quote(said["dir"])
    best = next((word for word in said["hint"].split() if word in verbs), None)
    yield f"  it may be told to {', '.join(verbs)}: autoexp mark {place} VERB"
    if best:
        yield f"  type: autoexp mark {place} {best}"
    else:
        yield (
            f"  type: tail -F {shlex.quote(said['log'])}" if said["log"] else f"  type: autoexp status {root} --follow"
        )
