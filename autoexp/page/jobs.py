"""What one job's page has: why it is where it is, its moves, attempts, checkpoints, curves, configuration, answers."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoexp import backends, explanation, probe
from autoexp.files import read_json, read_regular
from autoexp.markers import REFUSED, TAKEN
from autoexp.model import Job
from autoexp.page import boards
from autoexp.registry import Ledger
from autoexp.report import series
from autoexp.view import View

LARGEST_CONFIG_BYTES = 1 << 18
LARGEST_LOG_BYTES = 1 << 26
"""Of a longer log no curve is drawn: reading it takes seconds."""
MOST_POINTS = 400
MOST_ANSWERS = 10


def job_page(seen: View, ledger: Ledger, job: Job, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Gather all that is told of a job, but for its log and its curves; `records` are its own of the journal."""
    said = explanation.explain(seen, ledger, job, records)
    folder = ledger.dir_of(job.id)
    return {
        **said,
        "moves": [move(record) for record in records],
        "text": list(explanation.text(said)),
        "runs": attempts(records),
        "matches": [record["evidence"] for record in records if record["trigger"] == "log_matched"],
        "checkpoints": [saved(ledger, job, iteration) for iteration in job.checkpoints],
        "needs": list(job.spec.needs),
        "config": _text(folder / "job.yaml"),
        "answers": answers(folder),
        "commands": commands(ledger, job, folder),
        "links": boards.links(probe.attempt_dir(folder, job.attempt) / "output.log"),
    }


def move(record: Mapping[str, Any]) -> dict[str, Any]:
    """Say of a move what a person wants to know."""
    kept = {name: record[name] for name in ("at", "attempt", "trigger", "from", "to", "actions")}
    evidence = {key: value for key, value in record["evidence"].items() if key not in ("inode", "ctime_ns", "offset")}
    return {**kept, "evidence": evidence}


def attempts(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the attempts that the journal tells of, each with its times and its ending."""
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        note(found, record)
    return list(found.values())


def note(found: dict[int, dict[str, Any]], record: Mapping[str, Any]) -> None:
    """Take over what a record says of an attempt of its job; `found` has them by number."""
    number, trigger, evidence = record["attempt"], record["trigger"], record["evidence"]
    if not number:
        return
    run = found.setdefault(number, {"attempt": number, "submitted": record["at"]})
    run["last"] = record["at"]
    if trigger == "started":
        run |= {"began": record["at"], "host": evidence.get("host"), "id": evidence.get("scheduler_id")}
    if trigger == "ended":
        run |= {"ended": record["at"], "ending": evidence.get("ending"), "reason": evidence.get("reason")}


def saved(ledger: Ledger, job: Job, iteration: int) -> dict[str, Any]:
    """Name a checkpoint, and the jobs that stand for it."""
    names = (template.child(job.id, iteration) for template in job.templates_for(iteration))
    alone = [(name, ledger.jobs[name]) for name in names if name in ledger.jobs]
    followers = ((name, next_) for _, first in alone for name, next_ in _after(ledger, first))
    return {"iteration": iteration, "jobs": [[name, str(other.state)] for name, other in (*alone, *followers)]}


def _after(ledger: Ledger, job: Job) -> Iterator[tuple[str, Job]]:
    """List the jobs that appeared for a job."""
    for template in job.templates_for(None):
        name = template.child(job.id, job.spec.iteration if template.kind == "checkpoint" else None)
        if name in ledger.jobs:
            yield name, ledger.jobs[name]
            yield from _after(ledger, ledger.jobs[name])


def answers(folder: Path) -> list[dict[str, Any]]:
    """List what came of the newest markers, the newest first."""
    paths = [path for verdict in (TAKEN, REFUSED) for path in (folder / "markers" / verdict).glob("*.json")]
    newest = sorted(paths, key=lambda path: path.name, reverse=True)[:MOST_ANSWERS]
    said = ((path.parent.name, read_json(path)) for path in newest)
    return [{"verdict": verdict, **content} for verdict, content in said if content is not None]


def commands(ledger: Ledger, job: Job, folder: Path) -> list[str]:
    """Spell what does the same by hand."""
    root, who = shlex.quote(str(ledger.study.root)), shlex.quote(f"{ledger.study.name}/{job.id}")
    place = shlex.quote(str(folder))
    log = [f"tail -F {place}/current.log"] if job.attempt else []
    return [
        f"autoexp why {place}",
        f"autoexp events {root} --job {who} --follow",
        *log,
        f"autoexp mark {place} VERB",
        f"bash {place}/run.sh",
        *boards.commands(folder),
    ]


def curves(ledger: Ledger, job: Job) -> dict[str, Any]:
    """Read the losses and speeds that a training's logs tell, thinned out to what a screen can show."""
    folder, backend = ledger.dir_of(job.id), backends.find(job.spec.backend or "command")
    places = [probe.attempt_dir(folder, number) for number in range(1, job.attempt + 1)]
    sizes = [_size(place / "output.log") for place in places]
    if sum(sizes) > LARGEST_LOG_BYTES:
        return {
            "points": [],
            "note": f"the logs are longer than {LARGEST_LOG_BYTES >> 20} MiB: autoexp report draws them",
        }
    read = [series.read_attempt(place, number, backend) for number, place in enumerate(places, start=1)]
    points = series.merged(read)
    step = -(-len(points) // MOST_POINTS) or 1
    thinned = (*points[:-1:step], *points[-1:])
    return {"points": [[point.iteration, point.loss, point.seconds] for point in thinned], "note": ""}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    """Read a text; what cannot be read is said in its place."""
    try:
        return read_regular(path, LARGEST_CONFIG_BYTES).decode(errors="replace")
    except OSError as error:
        return f"# it cannot be read: {error.strerror}"
