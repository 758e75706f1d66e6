"""A study on disk: its plan, and the jobs that have appeared since. `study_files` writes what is read here."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp.codec import decode
from autoexp.errors import AutoexpError
from autoexp.files import is_copy, read_json, read_regular
from autoexp.machine import Machine
from autoexp.model import JSON, JobSpec, Template
from autoexp.outline import Plan, attach

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What plan.json says, and where it stands."""

    dir: Path
    plan: Plan
    machine: Machine
    key: str
    retired: tuple[JobSpec, ...] = ()
    """Jobs that an earlier plan had: the journal still speaks of them, and some may run."""
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

    @property
    def jobs_dir(self) -> Path:
        """Where its jobs have their directories."""
        return self.dir / "jobs"

    def job_dir(self, job: str) -> Path:
        """A job's directory."""
        return self.dir.joinpath("jobs", job)


def load(folder: Path) -> Study:
    """Read a study's plan.json.

    Raises:
        AutoexpError: it is missing, damaged, or of another version.
    """
    path = folder / "plan.json"
    try:
        data = json.loads(read_regular(path))
        version = data.get("v")
        if version != VERSION:
            raise ValueError(f"it is of version {version}; this autoexp reads {VERSION}")
        study = decoded(folder, data)
    except FileNotFoundError as error:
        raise AutoexpError(
            f"{folder} is no study", why="it has no plan.json", fix="plan one: autoexp plan RECIPE"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        again = f"autoexp plan {shlex.quote(str(folder / 'recipe.yaml'))} --root {shlex.quote(str(folder.parent))}"
        raise AutoexpError(
            f"{path} cannot be read", why=str(error), fix=f"move it away, then plan again: {again}"
        ) from error
    _check_place(study, data.get("dir"))
    return study


def _check_place(study: Study, home: object) -> None:
    """Refuse a study whose jobs would be taken for another one's: their processes and batch jobs have one name.

    Raises:
        AutoexpError: it was renamed, or is a copy of one that is still there.
    """
    folder = study.dir
    if folder.name != study.name:
        raise AutoexpError(
            f"{folder} is the study {study.name} under another name",
            why="its jobs are known by that one",
            fix=f"call it {study.name} again, or move it out of {folder.parent}",
        )
    if is_copy(folder, home, "plan.json") and _key_in(Path(str(home))) == study.key:
        raise AutoexpError(
            f"{folder} is a copy of {home}",
            why="what is done here would reach the jobs there",
            fix=f"move it out of {folder.parent}, or delete it",
        )


def _key_in(folder: Path) -> object:
    return (read_json(folder / "plan.json") or {}).get("key")


def decoded(folder: Path, data: Mapping[str, Any]) -> Study:
    """Make a study of what its plan.json says."""
    templates = decode(tuple[Template, ...], data["templates"])
    jobs = decode(tuple[JobSpec, ...], data["jobs"])
    plan = Plan(
        study=data["study"],
        jobs=tuple(attach(jobs, templates)),
        templates=templates,
        previews=decode(tuple[JobSpec, ...], data["previews"]),
        environment=data["environment"],
        gpu_hours=data["gpu_hours"],
        warnings=tuple(data["warnings"]),
    )
    return Study(
        dir=folder,
        plan=plan,
        machine=decode(Machine, data["machine"]),
        key=data["key"],
        retired=decode(tuple[JobSpec, ...], data.get("retired", ())),
        recipe_sha256=data["recipe_sha256"],
        provenance=data["provenance"],
    )


def exists(folder: Path) -> bool:
    """Say whether a directory is a study."""
    return os.path.isfile(folder / "plan.json")  # noqa: PTH113 - Path's own raises where we may not look


def folders_in(root: Path) -> list[Path]:
    """List the directories of a root that are studies, or may become some, by name."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    return [root / name for name in names if os.path.isdir(root / name)]  # noqa: PTH112 - as in `exists`


def all_in(root: Path) -> list[Path]:
    """List the studies in a root, by name.

    Raises:
        AutoexpError: the root cannot be read.
    """
    try:
        return [folder for folder in folders_in(root) if exists(folder)]
    except OSError as error:
        raise AutoexpError(f"{root} cannot be read", why=str(error), fix="see to its permissions") from error


def appeared(folder: Path) -> Iterator[JobSpec]:
    """Read the jobs that have appeared since planning, as far as their lines are whole.

    Raises:
        AutoexpError: a line is damaged.
    """
    yield from (job for job, _ in appeared_after(folder, 0))


def appeared_after(folder: Path, place: int) -> Iterator[tuple[JobSpec, int]]:
    """Read those whose lines stand behind a place in appeared.jsonl, each with the place behind its own.

    Raises:
        AutoexpError: a line is damaged.
    """
    path = folder / "appeared.jsonl"
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return
    before = data.count(b"\n", 0, place)
    for number, line in enumerate(data[place:].split(b"\n")[:-1], start=before + 1):
        place += len(line) + 1
        try:
            yield decode(JobSpec, json.loads(line)), place
        except (ValueError, TypeError) as error:
            raise AutoexpError(
                f"{path}:{number}: the line is damaged", why=str(error), fix="delete the line: its job appears again"
            ) from error
