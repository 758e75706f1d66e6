"""The architectures of Hugging Face that a checkpoint may become: one module each, found by its file's name.

To add one, add a module with the functions of `Architecture`, and its test.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.traits import Traits
from autoexp.errors import AutoexpError


class Architecture(Protocol):
    """What is different from one architecture to another."""

    NAMES: tuple[str, ...]
    """The schemes its tensors may be named by, the usual one first; empty if there is one only."""

    @staticmethod
    def misfit(traits: Traits) -> str | None:
        """Say why a model is none of this kind; None if it is one."""

    @staticmethod
    def config(traits: Traits) -> Mapping[str, Any]:
        """Return what config.json says of it."""

    @staticmethod
    def outputs(traits: Traits, inventory: Inventory, names: str) -> Iterator[Output]:
        """Yield every tensor."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The architecture of a result, and why it is that."""

    name: str
    architecture: Architecture
    why: str


_IN_ORDER = ("llama", "mistral", "mixtral", "qwen2", "qwen3", "opensci", "gpt2", "gpt_neox")
"""Who of several that fit is taken: the first."""


def known() -> list[str]:
    """List the architectures there are, in the order in which they are tried."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return [*(name for name in _IN_ORDER if name in found), *sorted(found - {*_IN_ORDER})]


def find(name: str) -> Architecture:
    """Return an architecture by its name.

    Raises:
        AutoexpError: there is none of this name.
    """
    if name not in known():
        raise AutoexpError(f"unknown architecture {name!r}", why=f"there are {', '.join(known())}", fix="choose one")
    return cast(Architecture, import_module(f"{__name__}.{name}"))


def choose(traits: Traits, asked: str | None = None) -> Choice:
    """Choose the architecture that a model is of.

    Raises:
        AutoexpError: it is of none, or not of the one that was asked for.
    """
    misfits = {name: find(name).misfit(traits) for name in ([asked] if asked else known())}
    fitting = [name for name, misfit in misfits.items() if misfit is None]
    if not fitting:
        reasons = "; ".join(f"{name}: {misfit}" for name, misfit in misfits.items())
        raise AutoexpError(
            "the checkpoint is of no architecture that is known" if not asked else f"the checkpoint is no {asked}",
            why=reasons,
            fix="leave the choice to us, without --arch" if asked else "convert it with another tool",
        )
    others = [name for name in fitting[1:] if name != fitting[0]]
    equals = f"; {', '.join(others)} would do too (--arch)" if others else ""
    why = f"{'asked for' if asked else 'the first of those that fit'}{equals}"
    return Choice(fitting[0], find(fitting[0]), why)
