"""One attempt as an executor knows it, and who may run it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoexp.files import read_regular, write_new_whole
from autoexp.machine import Machine
from autoexp.model import Resources

INHERITED = ("PATH", "HOME", "USER", "LANG", "TMPDIR")
"""What an attempt sees of our own environment, besides what the machine file names."""
WITHDRAWN = "withdrawn"
"""What stands in the claim of an attempt that was taken back: whoever starts it later finds it claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt as an executor knows it."""

    token: str
    attempt: int
    job_dir: Path
    attempt_dir: Path
    resources: Resources = field(default_factory=Resources)
    environment: Mapping[str, str] = field(default_factory=dict)
    """The AUTOEXP_ variables."""
    scheduler_id: str | None = None
    """What a batch scheduler called it when it took it."""
    priority: int = 0
    excluded: tuple[str, ...] = ()
    """Hosts that it must not run on."""
    after: str = ""
    """The scheduler's id of the job that must be over before it begins."""
    script: str = "run.sh"
    """What it runs, relative to `job_dir`."""

    @property
    def submission(self) -> Path:
        """Where it is written down, before it is given to a batch scheduler, that this one may have it."""
        return self.attempt_dir / "submission.json"


def unchecked() -> None:
    """Ask nobody whether an executor may go on."""


def take_back(order: Order) -> bool:
    """Claim an attempt before run.sh does; say whether that came first, now or before, and False if it cannot be."""
    claim = order.attempt_dir / f"run.{order.token}"
    try:
        write_new_whole(claim, f"{WITHDRAWN}\n".encode())
    except FileExistsError:
        return read_regular(claim, len(WITHDRAWN) + 1).strip() == WITHDRAWN.encode()
    except FileNotFoundError:  # the attempt's folder is gone, or never was
        return False
    return True


def environment_of(order: Order, machine: Machine) -> dict[str, str]:
    """Return what an attempt sees of our own environment, and the variables that are its own."""
    names = (*INHERITED, *machine.environment)
    return {**{name: os.environ[name] for name in names if name in os.environ}, **order.environment}
