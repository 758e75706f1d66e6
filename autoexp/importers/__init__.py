"""Importers: the experiments of other tools become recipes of ours. One package a dialect, found by its name.

To add one, add `autoexp/importers/<name>/` with a `read` as `Dialect` has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from autoexp.errors import AutoexpError


@dataclass(frozen=True, slots=True)
class Imported:
    """A recipe, and what its owner should know."""

    recipe: Mapping[str, Any]
    warnings: tuple[Mapping[str, str], ...] = ()
    """What was left out, or mended: a code, a message, and where it stands in the original."""


class Dialect(Protocol):
    """What a dialect's package offers."""

    def read(self, file: Path) -> Imported:
        """Read an experiment, and whatever it refers to."""


def known() -> list[str]:
    """List the dialects there are."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


@cache
def find(name: str) -> Dialect:
    """Return a dialect by name.

    Raises:
        AutoexpError: there is none; the message lists those there are.
    """
    if name not in known():
        fix = f"correct the name, or add autoexp/importers/{name}/"
        raise AutoexpError(f"unknown dialect {name!r}", why=f"there are {', '.join(known())}", fix=fix)
    return cast(Dialect, import_module(f"{__name__}.{name}"))
