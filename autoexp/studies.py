"""A study on disk: its plan, and the directories of its jobs."""

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoexp import __version__
from autoexp.codec import decode, encode
from autoexp.errors import AutoexpError
from autoexp.files import write_atomically
from autoexp.jobfiles import job_yaml, run_script
from autoexp.model import JSON, JobSpec, Machine, Template
from autoexp.outline import Plan, attach

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What plan.json says, and where it stands."""

    dir: Path
    plan: Plan
    machine: Machine
    key: str
    recipe_sha256: str = ""
    provenance: Mapping[str, JSON] | None = None

    @property
    def name(self) -> str:
        """Its name, which is its directory's."""
        return self.plan.study

    @property
    def root(self) -> Path:
        """The experiments folder."""
        return self.dir.parent

    def job_dir(self, job: str) -> Path:
        """A job's directory."""
        return self.dir / "jobs" / job


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What planning again changed."""

    added: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Jobs that the recipe changed, and that stay as they were because they have run."""

    def __bool__(self) -> bool:
        return bool(self.added or self.retired or self.changed)


def new_key() -> str:
    """Draw a study's own random mark."""
    return secrets.token_hex(4)


def load(folder: Path) -> Study:
    """Read a study's plan.json.

    Raises:
        AutoexpError: it is missing, damaged, or of another version.
    """
    path = folder / "plan.json"
    try:
        data = json.loads(path.read_bytes())
        version = data.get("v")
        if version != VERSION:
            raise ValueError(f"it is of version {version}; this autoexp reads {VERSION}")
        return _decode(folder, data)
    except FileNotFoundError as error:
        raise AutoexpError(
            f"{folder} is no study", why="it has no plan.json", fix="plan one: autoexp plan RECIPE"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AutoexpError(
            f"{path} cannot be read", why=str(error), fix=f"plan again: autoexp plan {folder / 'recipe.yaml'}"
        ) from error


def _decode(folder: Path, data: Mapping[str, Any]) -> Study:
    templates = decode(tuple[Template, ...], data["templates"])
    jobs = decode(tuple[JobSpec, ...], data["jobs"])
    plan = Plan(
        study=data["study"],
        jobs=tuple(attach(jobs, templates)),
        templates=templates,
        previews=decode(tuple[JobSpec, ...], data["previews"]),
        environment=data["environment"],
        warnings=tuple(data["warnings"]),
    )
    return Study(
        dir=folder,
        plan=plan,
        machine=decode(Machine, data["machine"]),
        key=data["key"],
        recipe_sha256=data["recipe_sha256"],
        provenance=data["provenance"],
    )


def exists(folder: Path) -> bool:
    """Say whether a directory is a study."""
    return (folder / "plan.json").is_file()


def all_in(root: Path) -> Iterator[Path]:
    """List the studies in a root, by name."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    yield from (root / name for name in names if exists(root / name))


def appeared(folder: Path) -> Iterator[JobSpec]:
    """Read the jobs that have appeared since planning, as far as their lines are whole."""
    try:
        lines = (folder / "appeared.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:
        yield decode(JobSpec, json.loads(line))


def compare(old: Study | None, plan: Plan, folder: Path) -> Difference:
    """Say what a new plan changes of an old one."""
    before = {job.id: job for job in old.plan.jobs} if old else {}
    after = {job.id: job for job in plan.jobs}
    differing = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    kept = {name for name in differing if _has_run(folder, name)}
    return Difference(
        added=tuple(name for name in after if name not in before),
        retired=tuple(name for name in before if name not in after),
        changed=tuple(sorted(set(differing) - kept)),
        kept=tuple(sorted(kept)),
    )


def write(study: Study, recipe_text: str, old: Study | None) -> Difference:
    """Write a study's directory; what has not changed is not touched, and plan.json comes last.

    Raises:
        AutoexpError: the directory cannot be written.
    """
    difference = compare(old, study.plan, study.dir)
    if old is not None and not difference and old.plan == study.plan and old.machine == study.machine:
        return difference
    before = {job.id: job for job in old.plan.jobs} if old else {}
    jobs = tuple(before[job.id] if job.id in difference.kept else job for job in study.plan.jobs)
    try:
        (study.dir / "markers").mkdir(parents=True, exist_ok=True)
        touched = set(difference.added) | set(difference.changed)
        for job in jobs:
            if job.id in touched or (old is not None and old.machine != study.machine):
                write_job(study, job)
        write_atomically(study.dir / "recipe.yaml", recipe_text)
        write_atomically(study.dir / "plan.json", _encode(study, jobs))
    except OSError as error:
        raise AutoexpError(
            f"the study cannot be written to {study.dir}",
            why=str(error),
            fix="choose a folder you may write to: --root DIR",
        ) from error
    return difference


def write_job(study: Study, job: JobSpec) -> None:
    """Write a job's directory."""
    folder = study.job_dir(job.id)
    (folder / "markers").mkdir(parents=True, exist_ok=True)
    root = str(study.root)
    write_atomically(folder / "job.yaml", job_yaml(job, root), durable=False)
    bin_folder = str(Path(study.machine.python).parent) if study.machine.python else ""
    write_atomically(folder / "run.sh", run_script(job, root, bin_folder), durable=False)


def add_appeared(study: Study, jobs: Iterable[JobSpec]) -> None:
    """Write the directories of jobs that appeared, and remember them durably; called before the journal does."""
    lines = []
    for job in jobs:
        write_job(study, job)
        lines.append(json.dumps(encode(job), separators=(",", ":")))
    with (study.dir / "appeared.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def mend(study: Study) -> None:
    """Drop what a crash left behind the last complete line; for the one writer only."""
    path = study.dir / "appeared.jsonl"
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)


def _encode(study: Study, jobs: tuple[JobSpec, ...]) -> str:
    plan = study.plan
    head = {
        "v": VERSION,
        "study": study.name,
        "key": study.key,
        "machine": encode(study.machine),
        "recipe_sha256": study.recipe_sha256,
        "environment": dict(plan.environment),
        "provenance": study.provenance,
        "warnings": list(plan.warnings),
    }
    lists = {
        "jobs": [encode(replace(job, children=())) for job in jobs],
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
