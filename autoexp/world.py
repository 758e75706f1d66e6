"""What planning knows of the world besides the recipe, and where a study's things stand in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.machine import Machine
from autoexp.model import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class HookInfo:
    """A hook module as it was found."""

    name: str
    path: str
    output: str = ""
    """The sub-folder of a job's directory that it writes to, when it runs as a job."""
    planned: tuple[str, ...] = ()
    """What a gate wants to be told of the job and its machine: `ranks`, `hosts`, `threshold`."""
    takes: tuple[str, ...] = ()
    """The keys that a recipe may give it; nobody knows them if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside the recipe that a plan depends on."""

    machine: Machine
    root: str
    """The experiments folder, absolute."""
    hooks: Callable[[str], HookInfo]
    """Finds a hook by name; raises AutoexpError if there is none."""
    exists: Callable[[str], bool] = lambda _: True
    """Says whether a file or folder is there."""
    source: Callable[[str], str] = lambda _: ""
    """Returns what a program's source says, with that of the modules beside it; nothing if it cannot be read."""
    misspelled: Callable[[str], str] = lambda _: ""
    """Says why bash cannot read a script; nothing if it can, or if nobody can tell."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment, for `${oc.env:...}`."""
    key: str = ""
    """The study's own random mark."""


def job_dir(root: str, study: str, job: str) -> str:
    """Return a job's directory."""
    return f"{root}/{study}/jobs/{job}"


def checkpoint_name(iteration: int) -> str:
    """Name a checkpoint's folder, as Megatron-LM does."""
    return f"iter_{iteration:07d}"


def home_of(job: str, iteration: int | None) -> str:
    """Return where a job works: in its directory, or in a folder there for each iteration of a batch."""
    return job if iteration is None else f"{job}/{checkpoint_name(iteration)}"


def result_of(job: JobSpec, root: str) -> Mapping[str, Any]:
    """List what `${sibling.<stage>.<path>}` can refer to."""
    home = home_of(job_dir(root, job.study, job.id), job.iteration if job.iterations else None)
    return {
        "job": job.id,
        "stage": job.stage,
        "study": job.study,
        "dir": home,
        "output": f"{home}/{job.output}".rstrip("/"),
        "checkpoints": f"{home}/checkpoints",
        "values": job.values,
        "params": job.params,
        "args": job.args,
        **({} if job.iteration is None else {"iteration": job.iteration}),
    }
