"""Which key of a recipe is to blame, when evaluating it for a job goes wrong."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from autoexp.calculation import ExpressionError
from autoexp.conditions import ConditionError
from autoexp.errors import AutoexpError, RecipeError
from autoexp.expressions import UndefinedName, compile_value
from autoexp.places import KeyPath, Places
from autoexp.policies import PolicyError
from autoexp.scope import JobScope


@dataclass(frozen=True, slots=True)
class Blame:
    """The recipe's places, as seen from one job of one stage, or from a sweep."""

    places: Places
    stage: KeyPath
    asker: str
    """For whom values are evaluated: `the job X`, `the sweep`."""

    @contextmanager
    def at(self, path: KeyPath, scope: JobScope | None = None, raw: Any = None) -> Iterator[None]:
        """Turn what goes wrong inside into a RecipeError at `path`, or at what `path` takes its value from."""
        if scope is not None:
            scope.failed = ""
        try:
            yield
        except ExpressionError as error:
            raise self.located(error, path, scope, raw) from error
        except PolicyError as error:
            why = f"it is read {self._for_whom()}"
            raise self.places.error((*path, *error.path), str(error), why=why, fix=error.fix) from error
        except ConditionError as error:
            raise self.places.error(path, str(error), why=f"{error.why} {self._for_whom()}", fix=error.fix) from error
        except RecipeError:
            raise
        except AutoexpError as error:
            raise self.places.error(path, error.what, why=error.why, fix=error.fix) from error

    def located(self, error: ExpressionError, path: KeyPath, scope: JobScope | None, raw: Any) -> RecipeError:
        """Make the error for a value that could not be evaluated."""
        where = path
        if scope is not None:
            where = self._definition(scope.failed) if scope.failed else _deepest(path, raw, scope)
        if isinstance(error, UndefinedName):
            near = get_close_matches(error.name.rpartition(".")[2], error.known, n=1)
            return self.places.error(
                where,
                str(error),
                why=f"no axis, param or built-in has that name {self._for_whom()}",
                fix=f"did you mean {near[0]}?" if near else f"define it under params:, or use {_some(error.known)}",
            )
        return self.places.error(where, str(error), why=f"it is evaluated {self._for_whom()}", fix=error.fix)

    def _definition(self, name: str) -> KeyPath:
        """Find where a name that failed is defined: in the stage, in its sweep, or for the whole study."""
        own = (*self.stage, "params", name)
        if own in self.places.written:
            return own
        for prefix in ((*self.stage, "sweep"), ("sweep",)):
            found = self.places.find(prefix, name)
            if found != prefix:
                return found
        return ("params", name)

    def _for_whom(self) -> str:
        return f"for {self.asker}"


def _deepest(path: KeyPath, raw: Any, scope: JobScope) -> KeyPath:
    """Follow a value that fails down to the part that fails."""
    if isinstance(raw, Mapping):
        parts = list(raw.items())
    else:
        parts = list(enumerate(raw)) if isinstance(raw, list | tuple) else []
    for key, part in parts:
        try:
            compile_value(part)(scope)
        except ExpressionError:
            return _deepest((*path, key), part, scope)
    return path


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return f"one of {shown}{', ...' if len(names) > 12 else ''}"  # noqa: PLR2004 - enough to see the idea
