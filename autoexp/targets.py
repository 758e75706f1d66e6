"""What people name on the command line: a root, a study, a job."""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from autoexp import studies
from autoexp.errors import AutoexpError


@dataclass(frozen=True, slots=True)
class Target:
    """A study, or one job of it."""

    root: Path
    study: str
    job: str = ""

    @property
    def dir(self) -> Path:
        """Its directory."""
        folder = self.root / self.study
        return folder / "jobs" / self.job if self.job else folder


def default_root(given: str | None) -> Path:
    """Return the experiments folder: `--root`, else $AUTOEXP_ROOT, else ./experiments."""
    return Path(given or os.environ.get("AUTOEXP_ROOT") or "experiments")


def existing_root(given: Path) -> Path:
    """Check that a root is there to be read.

    Raises:
        AutoexpError: it is not.
    """
    if given.is_dir():
        root = given.resolve()
        for place in (root, *root.parents[:3]):  # a study, its jobs, a job, or what a job has
            if studies.exists(place):
                why = f"it {'is' if place == root else 'lies in'} the study {place.name}, and a root is watched whole"
                raise AutoexpError(f"{given} is no experiments folder", why=why, fix=f"name its root: {place.parent}")
        return root
    why = "it is a file" if given.exists() else "there is no such folder"
    fix = "name the folder that holds the studies, or plan one: autoexp plan RECIPE --root DIR"
    raise AutoexpError(f"{given} is no experiments folder", why=why, fix=fix)


def find(text: str, root: str | None, *, job: bool = True, study: bool = False, is_there: bool = True) -> Target:
    """Find what a person names: a path to a job's or a study's directory, or `<study>[/<job>]` under the root.

    Without `is_there`, a job of a study that is there may have lost its directory; whether it ever was is not asked.

    Raises:
        AutoexpError: there is no such thing, or it is not of the kind asked for.
    """
    place = default_root(root)
    target = _by_path(Path(text), is_there=is_there) or _by_name(text, place, is_there=is_there)
    if target is None:
        near = get_close_matches(text, names(place, jobs=job), n=1)
        raise AutoexpError(
            f"{text!r} names no {_kinds(job=job, study=study)}",
            why=f"it is no such directory, and {place} has nothing of that name",
            fix=f"did you mean {near[0]}?" if near else "list them: autoexp status ROOT",
        )
    if (target.job and not job) or (not target.job and not study):
        what = "a job" if target.job else "a study"
        why = f"a {_kinds(job=job, study=study)} is asked for"
        raise AutoexpError(f"{text!r} names {what}", why=why, fix="name it as <study>/<job>, or by its directory")
    return target


def _kinds(*, job: bool, study: bool) -> str:
    return " or ".join([*(["job"] if job else []), *(["study"] if study else [])])


def names(root: Path, *, jobs: bool) -> list[str]:
    """List what a root has, as people name it."""
    try:
        found = [folder.name for folder in studies.all_in(root)]
        return [
            *found,
            *(f"{study}/{path.name}" for study in found if jobs for path in (root / study / "jobs").iterdir()),
        ]
    except (AutoexpError, OSError):  # then there is nothing to propose
        return []


def _by_path(path: Path, *, is_there: bool) -> Target | None:
    path = path.resolve()
    if path.parent.name == "jobs" and studies.exists(path.parent.parent) and (path.is_dir() or not is_there):
        return Target(path.parent.parent.parent, path.parent.parent.name, path.name)
    return Target(path.parent, path.name) if studies.exists(path) else None


def _by_name(text: str, root: Path, *, is_there: bool) -> Target | None:
    study, _, job = text.partition("/")
    target = Target(root.resolve(), study, job.removeprefix("jobs/"))
    known = bool(study) and studies.exists(target.root / study) and (target.dir.is_dir() or not is_there)
    return target if known else None
