"""Writing a study's directory: plan.json, the recipe's text, its jobs' run.sh and job.yaml, and who has appeared."""

import hashlib
import json
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import starmap
from pathlib import Path

from autoexp import __version__, studies
from autoexp.codec import encode
from autoexp.errors import AutoexpError
from autoexp.executors import directives
from autoexp.files import is_gone, read_json, read_regular, sync_directory, sync_file_system, write_atomically
from autoexp.jobfiles import job_yaml, run_script
from autoexp.machine import Machine
from autoexp.model import JSON, JobSpec
from autoexp.outline import Plan
from autoexp.spread import spread
from autoexp.studies import VERSION, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What planning again changed."""

    added: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Jobs whose work the recipe changed, and that stay as they were because they have run."""
    recipe: bool = False
    """The recipe or the machine is another one: what appears from now on follows it."""

    def __bool__(self) -> bool:
        return bool(self.added or self.retired or self.changed or self.recipe)


def key_for(folder: Path) -> str:
    """Draw a new study's own mark, or find the one of its attempts: then only its plan.json was lost."""
    for intent in folder.glob("jobs/*/attempts/*/intent.json"):
        token = (read_json(intent) or {}).get("token")
        if isinstance(token, str):
            return token.rpartition(".")[2]
    return secrets.token_hex(4)


def compare(old: Study | None, new: Study) -> Difference:
    """Say what a new plan changes of an old one; what appears for a job is no part of the job."""
    planned = {job.id for job in old.plan.jobs} if old else set()
    before, after = _by_id(_known(old)), _by_id(new.plan.jobs)
    differing = _differing(before, after)
    kept = {name for name in differing if _has_run(new.dir, name)}
    return Difference(
        added=tuple(name for name in after if name not in planned),
        retired=tuple(name for name in before if name in planned and name not in after),
        changed=tuple(sorted((differing & planned) - kept)),
        kept=tuple(sorted(name for name in kept if _differ(_work(before[name]), _work(after[name])))),
        recipe=old is not None and any(starmap(_differ, zip(_rest(old), _rest(new), strict=True))),
    )


def _differ(one: object, other: object) -> bool:
    """Compare as plan.json has them: what it cannot tell apart, such as a list and a tuple, is no change."""
    return one != other and json.dumps(encode(one)) != json.dumps(encode(other))


def _differing(before: Mapping[str, JobSpec], after: Mapping[str, JobSpec]) -> set[str]:
    return {name for name in before.keys() & after.keys() if _differ(before[name], after[name])}


def _work(job: JobSpec) -> JobSpec:
    """Leave out the names that a job only knows; what it reads of them stands in the rest."""
    return replace(job, params={}, point={})


def _known(old: Study | None) -> tuple[JobSpec, ...]:
    return (*old.retired, *old.plan.jobs) if old else ()


def _by_id(jobs: Iterable[JobSpec]) -> dict[str, JobSpec]:
    return {job.id: replace(job, children=()) if job.children else job for job in jobs}


def write(study: Study, recipe_text: str, old: Study | None) -> Difference:
    """Write a study's directory; what has not changed is not touched, and plan.json comes last.

    Raises:
        AutoexpError: the directory cannot be written.
    """
    difference = compare(old, study)
    if old is not None and not difference:
        return difference
    before = _by_id(_known(old))
    stay = {name for name in _differing(before, _by_id(study.plan.jobs)) if _has_run(study.dir, name)}
    jobs = tuple(before[job.id] if job.id in stay else job for job in study.plan.jobs)
    planned = {job.id for job in jobs}
    written = replace(
        study,
        plan=replace(study.plan, jobs=jobs),
        retired=tuple(job for name, job in before.items() if name not in planned),
    )
    try:
        (study.dir / "markers").mkdir(parents=True, exist_ok=True)
        touched = {*difference.added, *difference.changed}
        moved = old is not None and old.machine != study.machine
        spread(partial(write_job, study, durable=False), [job for job in jobs if moved or job.id in touched])
        write_atomically(study.dir / "recipe.yaml", recipe_text)
        sync_file_system(study.dir)  # all jobs at once, before plan.json speaks of them
        write_atomically(study.dir / "plan.json", _encode(written))
    except OSError as error:
        raise AutoexpError(
            f"the study cannot be written to {study.dir}",
            why=str(error),
            fix="make room, or choose a folder that you may write to: --root DIR",
        ) from error
    return difference


def _rest(study: Study) -> tuple[Plan, Machine, str]:
    """Return what a plan says besides its jobs."""
    return replace(study.plan, jobs=()), study.machine, study.recipe_sha256


def write_job(study: Study, job: JobSpec, *, durable: bool = True) -> None:
    """Write a job's directory."""
    folder = study.job_dir(job.id)
    is_new = _make(folder)
    (folder / "markers").mkdir(exist_ok=True)
    in_place = partial(Path.write_text, encoding="utf-8")  # nobody reads what no plan.json speaks of yet
    write = in_place if is_new and not durable else partial(write_atomically, durable=durable)
    write_scripts(study, job, folder, write)


def _make(folder: Path) -> bool:
    """Make a folder; say whether there was none."""
    try:
        folder.mkdir()
    except FileNotFoundError:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def write_scripts(
    study: Study, job: JobSpec, folder: Path, write: Callable[[Path, str], object] = write_atomically
) -> None:
    """Write a job's job.yaml and run.sh into a folder: its own, or that of an attempt that differs from the plan."""
    root = str(study.root)
    write(folder / "job.yaml", job_yaml(job, root))
    bin_folder = str(Path(study.machine.python).parent) if study.machine.python else ""
    lines = directives(study.machine, job.resources)
    script = run_script(job, root, bin_folder, lines, study.machine.setup)
    write(folder / "run.sh", script)


_HEAD_BYTES = 1 << 16
_HOME = re.compile(rb'"dir":("(?:[^"\\]|\\.)*")')


def relocate(folder: Path) -> None:
    """Let a study that was moved with its root name its new place: its plan, what has appeared, and its jobs' scripts.

    Only the one who watches, or plans, does so; killed in between, it is done again, for plan.json comes last.

    Raises:
        AutoexpError: one of the two places has a name that scripts would have to quote.
        OSError: the study cannot be written.
    """
    path = folder / "plan.json"
    said = _HOME.search(read_regular(path, _HEAD_BYTES))
    home = Path(json.loads(said[1])) if said else folder
    if home == folder or not is_gone(home / "plan.json"):
        return
    old, new = str(home.parent), str(folder.parent)
    if any(shlex.quote(place) != place for place in (old, new)):
        raise AutoexpError(
            f"{folder} was moved from {home}",
            why="its jobs' scripts name that place, and its name, or the new one, has characters that a shell reads",
            fix=f"move it back, or: ln -s {shlex.quote(new)} {shlex.quote(old)}",
        )
    place = re.compile(rf"{re.escape(old)}(?![\w.-])")
    mend(folder)
    if (appeared := folder / "appeared.jsonl").exists():
        write_atomically(appeared, place.sub(new, appeared.read_text(encoding="utf-8")))
    text = place.sub(new, read_regular(path).decode())
    study = studies.decoded(folder, json.loads(text))
    for job in (*study.plan.jobs, *studies.appeared(folder)):
        write_job(study, job, durable=False)
    sync_file_system(folder)
    write_atomically(path, text)


def add_appeared(study: Study, jobs: Iterable[JobSpec]) -> None:
    """Write the directories of jobs that appeared, and remember them durably; called before the journal does."""
    lines = []
    for job in jobs:
        write_job(study, job)
        lines.append(json.dumps(encode(job), separators=(",", ":")))
    sync_directory(study.jobs_dir)
    mend(study.dir)
    with (study.dir / "appeared.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    sync_directory(study.dir)


def mend(folder: Path) -> None:
    """Drop what a crash, or a full disk, left behind the last complete line; for the one writer only."""
    try:
        file = (folder / "appeared.jsonl").open("rb+")
    except FileNotFoundError:
        return
    with file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if end == 0 or file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _encode(study: Study) -> str:
    plan = study.plan
    head = {
        "v": VERSION,
        "study": study.name,
        "key": study.key,
        "dir": str(study.dir.absolute()),
        "machine": encode(study.machine),
        "recipe_sha256": study.recipe_sha256,
        "environment": dict(plan.environment),
        "gpu_hours": plan.gpu_hours,
        "provenance": study.provenance,
        "warnings": list(plan.warnings),
    }
    lists = {
        "jobs": [encode(replace(job, children=())) for job in plan.jobs],
        "retired": [encode(job) for job in study.retired],
        "templates": [encode(template) for template in plan.templates],
        "previews": [encode(preview) for preview in plan.previews],
    }
    return json.dumps({**head, **lists}, separators=(",", ":")) + "\n"


def _has_run(folder: Path, job: str) -> bool:
    return any((folder / "jobs" / job / "attempts").glob("[0-9]*"))


def sha256_of(text: str) -> str:
    """Fingerprint a recipe."""
    return hashlib.sha256(text.encode()).hexdigest()


def provenance(recipe: Path) -> dict[str, JSON]:
    """Say what a plan was made with: the recipe's file, its code revision, and our version."""
    return {"recipe": str(recipe.resolve()), "revision": _revision(recipe.resolve().parent), "autoexp": __version__}


def _revision(folder: Path) -> str | None:
    """Ask git for the commit of a folder, with a + if something is not committed."""
    command = ("git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - our argv
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
