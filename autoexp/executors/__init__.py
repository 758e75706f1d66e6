"""Where attempts run: one module each, found by its name.

To add one, add `autoexp/executors/<name>.py` with two functions: `open_executor(machine)` returns an `Executor`, and
`directives(machine, resources)` the comment lines that run.sh begins with, none where nobody reads them.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol, cast

from autoexp.endings import Said
from autoexp.errors import AutoexpError
from autoexp.events import Event
from autoexp.machine import Machine
from autoexp.model import Resources
from autoexp.orders import Order


class Executor(Protocol):
    """What an executor does. None of it blocks for long, and all of it is safe to repeat."""

    def submit(self, order: Order, at: float) -> Event | None:
        """Take an attempt: `Submitted`, `SubmitRefused`, or `SubmitLost` if nobody can say; None: `tend` will tell."""

    def adopt(self, order: Order, *, began: bool) -> None:
        """Take over an attempt that an earlier watcher submitted; `began` says that it was seen to run."""

    def withdraw(self, order: Order) -> bool:
        """Take a submission back if it has not begun; say whether it is certain that it never will."""

    def stop(self, order: Order, grace_s: float) -> None:
        """End an attempt: politely, and after `grace_s` for good. Asking again does not start the grace anew."""

    def alive(self, order: Order) -> bool | None:
        """Say whether an attempt is queued or running; None is unknown."""

    def said(self, order: Order) -> Said | None:
        """Say what a batch scheduler says of an attempt; None from an executor that has none."""

    def unseen(self, order: Order) -> str | None:
        """Say why nobody here will ever know whether an attempt lives, and what to do; None if somebody will."""

    def await_word(self, order: Order) -> None:
        """Find out soon why an attempt ended: only the scheduler can tell."""

    def trouble(self) -> str | None:
        """Say what keeps the executor from knowing or doing its part; None if nothing does."""

    def forget(self, order: Order) -> None:
        """An attempt is over: free what it occupied."""

    def tend(self, check: Callable[[], None] = ...) -> list[tuple[str, Event | None]]:
        """Do what is due, such as starting queued attempts; return outcomes by token, None for "look at it now".

        `check` is called before each effect; it raises if somebody else watches by now.
        """

    def settling(self) -> bool:
        """Say whether something is under way that `tend` will soon tell the outcome of: a client, a second answer."""

    def due_in_s(self) -> float | None:
        """Say when `tend` is next worth calling; None if only events can make it so."""


@cache
def known() -> tuple[str, ...]:
    """List the executors there are."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def check(machine: Machine) -> None:
    """Make sure that there is the executor a machine file asks for.

    Raises:
        AutoexpError: there is none of that name; the message lists those there are.
    """
    _module(machine)


def open_executor(machine: Machine) -> Executor:
    """Make the executor a machine file asks for.

    Raises:
        AutoexpError: there is none of that name; the message lists those there are.
    """
    make = cast("Callable[[Machine], Executor]", _module(machine).open_executor)
    return make(machine)


def directives(machine: Machine, resources: Resources) -> tuple[str, ...]:
    """Write the lines that run.sh begins with, for the scheduler to read.

    Raises:
        AutoexpError: there is no such executor, or it cannot express a value.
    """
    write = cast("Callable[[Machine, Resources], tuple[str, ...]]", _module(machine).directives)
    return write(machine, resources)


def _module(machine: Machine) -> ModuleType:
    if machine.executor not in known():
        raise AutoexpError(
            f"unknown executor {machine.executor!r} in machines/{machine.name}.yaml",
            why=f"autoexp/executors/ holds {', '.join(known())}",
            fix=f"correct the machine file, or add autoexp/executors/{machine.executor}.py",
        )
    return _imported(machine.executor)


@cache
def _imported(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
