"""What a run of the study comes to, without what legitimately differs: times, process ids, drafts of the killed."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp import cli
from autoexp.commands.status import as_json
from autoexp.orders import WITHDRAWN
from autoexp.view import view
from tests.crashes.effects import tame
from tests.crashes.stage import Stage

KEPT = {
    "intent.json": ("token", "job", "attempt"),
    "submission.json": ("token",),
    "started.json": ("token",),
    "exit.json": ("token", "code", "signal", "asked"),
    "lease.json": ("held",),
}
"""What is compared of files that also tell times and process ids."""
_OF_THE_SHELL = re.compile(r"run\.sh: line \d+: |^mv: |^slurmstepd-")
_OF_SLURM = re.compile(r"slurmstepd-\S+ error: .*")
_DRAFT = re.compile(r"\.[^/]*\.tmp$")


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that two runs of the same study agree on."""

    jobs: dict[str, Any]
    """Each job as `autoexp status` shows it."""
    files: dict[str, str]
    """Each file below the root, with what it holds."""
    runs: Counter[str]
    """How often each attempt's program ran."""
    starts: Counter[str]
    """How often each attempt began and ended, and each job appeared, by the journal."""
    drafts: list[str]
    """What killed watchers were about to write."""
    breaks: list[str]
    """Where the journal does not add up."""


def take(stage: Stage) -> Picture:
    """Look at what a run came to."""
    seen = view(stage.root)
    rows = as_json(seen)["studies"][0]["jobs"]
    told = ("state", "reason", "attempt", "iteration")
    once = ("appeared", "started", "ended", "planned")
    files = {name: text.replace(stage.key, "KEY") for name, text in _files(stage.root)}
    return Picture(
        jobs={row["job"]: [row[name] for name in told] for row in _tamed(rows)},
        files={name: text for name, text in files.items() if not _DRAFT.search(name)},
        drafts=[name for name in files if _DRAFT.search(name)],
        runs=Counter(token.replace(stage.key, "KEY") for token in stage.ran()),
        starts=Counter(f"{r['job']}.{r['attempt']}.{r['trigger']}" for r in seen.records() if r["trigger"] in once),
        breaks=_breaks(stage.root),
    )


def _tamed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Take out of the reasons what Slurm wrote into a log: ids and times."""
    return ({**row, "reason": _OF_SLURM.sub("slurmstepd", row["reason"])} for row in rows)


def faults(stage: Stage, reference: Picture, killed: int) -> Iterator[str]:
    """List what is wrong with a run that is to have come to the same as the reference."""
    picture = take(stage)
    for what in ("jobs", "files", "runs", "starts"):
        mine, other = getattr(picture, what), getattr(reference, what)
        for name in sorted(mine.keys() | other.keys()):
            if mine.get(name) != other.get(name):
                yield f"{what}: {name} is {mine.get(name)!r}, not {other.get(name)!r}"
    if again := {token: count for token, count in picture.runs.items() if count != 1}:
        yield f"started again: {again}"
    if len(picture.drafts) > killed:
        yield f"{len(picture.drafts)} drafts are left of {killed} killed watchers: {picture.drafts}"
    yield from _markers(stage)
    yield from picture.breaks


def moves(stage: Stage) -> list[str]:
    """Spell the journal, for whoever wants to know what went wrong."""
    return [
        f"{r['at']} {r['job']}.{r['attempt']} {r['trigger']}: {r['from']} -> {r['to']} {r['evidence']}"
        for r in view(stage.root).records()
    ]


def _breaks(root: Path) -> list[str]:
    """Ask `autoexp replay --check`."""
    said = io.StringIO()
    with redirect_stdout(said):
        status = cli.main(["replay", str(root), "--check", "--json"])
    found = json.loads(said.getvalue())
    return [str(what) for what in (*found["breaks"], *found["differences"])] + [said.getvalue()] * status


def _markers(stage: Stage) -> Iterator[str]:
    """Each marker that was dropped has one answer, and is gone itself."""
    answers = [path for kind in ("taken", "refused") for path in stage.root.rglob(f"markers/{kind}/*.json")]
    left = [path for path in stage.root.rglob("markers/*") if path.is_file()]
    if len(answers) != stage.markers or left:
        yield f"{stage.markers} markers were dropped: {len(answers)} answers, unanswered: {left}"


def _files(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.rglob("*")):
        name = tame(str(path.relative_to(root)))
        if path.is_symlink():
            yield name, f"-> {path.readlink()}"
        elif path.name == "output.log" and _is_taken_back(path.parent):
            continue  # the scheduler makes one if it starts the job just before that is ended
        elif path.is_file():
            yield name, _content(path)
        else:
            yield name, "a folder"


def _is_taken_back(attempt: Path) -> bool:
    return any(claim.read_text().strip() == WITHDRAWN for claim in attempt.glob("run.*"))


def _content(path: Path) -> str:
    text = path.read_text(errors="replace")
    if path.name == "appeared.jsonl":
        return "".join(sorted(text.splitlines(keepends=True)))
    if path.name.startswith("run."):
        return "a process id" if text.strip().isdecimal() else text
    if path.name in KEPT:
        record = json.loads(text)
        return json.dumps({key: record.get(key) for key in KEPT[path.name]})
    if path.suffix == ".json" and path.parent.name in ("taken", "refused"):
        said = json.loads(text)  # one that was journaled before a crash is answered with a note
        return json.dumps([said["marker"], said.get("refused")])
    if path.name == "output.log":  # run.sh is killed by whoever ends all that an attempt left behind
        return "".join(line for line in text.splitlines(keepends=True) if not _OF_THE_SHELL.search(line))
    return text
