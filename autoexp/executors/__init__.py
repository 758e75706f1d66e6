"""Where attempts run: one module each, found by its name.

To add one, add `autoexp/executors/<name>.py` with a function `open_executor(machine)` that returns an `Executor`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol, cast

from autoexp.errors import AutoexpError
from autoexp.events import Event
from autoexp.files import write_new_whole
from autoexp.model import Machine, Resources

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

    @property
    def submission(self) -> Path:
        """Where it is written down, before it is given to a batch scheduler, that this one may have it."""
        return self.attempt_dir / "submission.json"


class Executor(Protocol):
    """What an executor does. None of it blocks for long, and all of it is safe to repeat."""

    def submit(self, order: Order, at: float) -> Event:
        """Take an attempt: `Submitted`, `SubmitRefused`, or `SubmitLost` if nobody can say."""

    def adopt(self, order: Order, *, began: bool) -> None:
        """Take over an attempt that an earlier watcher submitted; `began` says that it was seen to run."""

    def withdraw(self, order: Order) -> bool:
        """Take a submission back if it has not begun; say whether it is certain that it never will."""

    def stop(self, order: Order, grace_s: float) -> None:
        """End an attempt: politely, and after `grace_s` for good. Asking again does not start the grace anew."""

    def alive(self, order: Order) -> bool | None:
        """Say whether an attempt is queued or running; None is unknown."""

    def forget(self, order: Order) -> None:
        """An attempt is over: free what it occupied."""

    def tend(self) -> list[tuple[str, Event | None]]:
        """Do what is due, such as starting queued attempts; return outcomes by token, None for "look at it now"."""

    def due_in_s(self) -> float | None:
        """Say when `tend` is next worth calling; None if only events can make it so."""


def take_back(order: Order) -> bool:
    """Claim an attempt before run.sh does; say whether that came first, now or before, and False if it cannot be."""
    claim = order.attempt_dir / f"run.{order.token}"
    try:
        write_new_whole(claim, f"{WITHDRAWN}\n".encode())
    except FileExistsError:
        return claim.read_text(encoding="utf-8").strip() == WITHDRAWN
    except FileNotFoundError:  # the attempt's folder is gone, or never was
        return False
    return True


def known() -> list[str]:
    """List the executors there are."""
    return sorted(module.name for module in iter_modules(__path__))


def open_executor(machine: Machine) -> Executor:
    """Make the executor a machine file asks for.

    Raises:
        AutoexpError: there is none of that name; the message lists those there are.
    """
    if machine.executor not in known():
        raise AutoexpError(
            f"unknown executor {machine.executor!r} in machines/{machine.name}.yaml",
            why=f"autoexp/executors/ holds {', '.join(known())}",
            fix=f"correct the machine file, or add autoexp/executors/{machine.executor}.py",
        )
    make = cast("Callable[[Machine], Executor]", import_module(f"{__name__}.{machine.executor}").open_executor)
    return make(machine)
