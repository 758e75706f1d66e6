"""Which key of a recipe is to blame, when evaluating it for a job goes wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from autoexp.calculation import ExpressionError
from autoexp.conditions import ConditionError
from autoexp.errors import AutoexpError, RecipeError
from autoexp.expressions import SIBLING, UndefinedName, compile_value
from autoexp.places import KeyPath, Places
from autoexp.policies import PolicyError
from autoexp.scope import OF_A_CHECKPOINT, JobScope

SWEEP: KeyPath = ("sweep",)
OF_A_RECIPE = ("params", "sweep", "stages")


@dataclass(frozen=True, slots=True)
class Blame:
    """The recipe's places, as seen from one job of one stage, or from a sweep."""

    places: Places
    stage: KeyPath
    asker: str
    """For whom values are evaluated: `the job X`, `the sweep`."""

    def at(self, path: KeyPath, scope: JobScope | None = None, raw: Any = None) -> "_Watched":
        """Turn what goes wrong inside into a RecipeError at `path`, or at what `path` takes its value from."""
        return _Watched(self, path, scope, raw)

    def told(self, error: BaseException | None, path: KeyPath, scope: JobScope | None, raw: Any) -> RecipeError | None:
        """Make the error that says where it went wrong; None if it says so itself, or is none of a recipe's."""
        match error:
            case ExpressionError():
                return self.located(error, path, scope, raw)
            case PolicyError():
                why = f"it is read {self._for_whom()}"
                return self.places.error((*path, *error.path), str(error), why=why, fix=error.fix)
            case ConditionError():
                return self.places.error(path, str(error), why=f"{error.why} {self._for_whom()}", fix=error.fix)
            case AutoexpError() if not isinstance(error, RecipeError):
                return self.places.error(path, error.what, why=error.why, fix=error.fix)
            case _:
                return None

    def located(self, error: ExpressionError, path: KeyPath, scope: JobScope | None, raw: Any) -> RecipeError:
        """Make the error for a value that could not be evaluated."""
        where = path
        if scope is not None:
            where = self._definition(scope.failed) if scope.failed else _deepest(path, raw, scope)
        if isinstance(error, UndefinedName):
            last = error.name.rpartition(".")[2]
            near = get_close_matches(last, error.known, n=1)
            near = near or [name for name in error.known if name.lower() == last.lower()]
            if self.stage == SWEEP and self.places.find(SWEEP, error.name) != SWEEP:
                why = "the sweep is what gives its axes their values: these cannot be made of each other"
                return self.places.error(where, str(error), why=why, fix="calculate it under params:, for each job")
            is_others = error.name.startswith(f"{SIBLING}.")
            why = f"{'that job has no such value' if is_others else 'no axis, param or built-in has that name'}"
            why = f"{why} {self._for_whom()}"
            return self.places.error(where, str(error), why=why, fix=self._definable(error, near))
        return self.places.error(where, str(error), why=f"it is evaluated {self._for_whom()}", fix=error.fix)

    def _definable(self, error: UndefinedName, near: Sequence[str]) -> str:
        """Say how a name comes to be defined: by what has it already, or nearly, or anew."""
        if error.name in OF_A_CHECKPOINT:
            return "it is known to a stage with each: {checkpoint: STAGE}, of which a job appears for each"
        if error.name in OF_A_RECIPE:
            return f"names stand for themselves, wherever they are defined: ${{NAME}}, not ${{{error.name}.NAME}}"
        if (found := self.places.find(SWEEP, error.name)) != SWEEP:
            if (*self.stage, "axes") in self.places.written:
                return f"let the stage have the axis that brings it, {_axis_of(found)}"
            return f"only some points of the sweep have it: lend it to the others by defaults: {{{error.name}: ...}}"
        if error.name.isupper() and not near:
            return f"of the shell that runs the job: \\${{{error.name}}}; of where one plans: ${{oc.env:{error.name}}}"
        other = f", or use {_some(error.known)}" if error.known else ""
        return f"did you mean {near[0]}?" if near else f"define it under params:{other}"

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


@dataclass(slots=True)
class _Watched:
    """A part of planning whose errors are a recipe's; written out, since each value of each job passes here."""

    blame: Blame
    path: KeyPath
    scope: JobScope | None
    raw: Any

    def __enter__(self) -> None:
        if self.scope is not None:
            self.scope.failed = ""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and (told := self.blame.told(error, self.path, self.scope, self.raw)) is not None:
            raise told from error


def _axis_of(path: KeyPath) -> str:
    """Name the axis that a key of a sweep belongs to."""
    marks = [number for number, part in enumerate(path[:-1]) if part in ("params", "configs")]
    axis = path[marks[-1] + 1] if marks else path[-1]
    return str(path[-1] if isinstance(axis, int) else axis)


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
