"""Where a recipe's names get their values, for one job.

A name is looked up in the sweep point, then the stage's params, then the study's, then the built-ins; what it
stands for is evaluated when it is first asked for, and remembered.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.calculation import ExpressionError
from autoexp.expressions import SIBLING, UndefinedName, compile_value

OF_A_CHECKPOINT = ("iteration", "checkpoint")
"""Built-ins that are known only once a checkpoint is there."""
Sibling = Callable[[str], Mapping[str, Any]]


@dataclass(slots=True)
class JobScope:
    """The names one job can use."""

    levels: tuple[Mapping[str, Any], ...]
    """Raw values, nearest first: the point, the stage's params, the study's params."""
    built_in: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    """The environment variables that were asked for, shared by all jobs of a plan."""
    sibling: Sibling | None = None
    failed: str = ""
    """The innermost name whose evaluation failed last."""
    _values: dict[str, Any] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def lookup(self, name: str) -> Any:
        """Return a name's value.

        Raises:
            ExpressionError: it is defined by itself, or has no value.
            UndefinedName: no level has it.
        """
        if name in self._values:
            return self._values[name]
        if name == SIBLING and self.sibling is not None:
            return _Siblings(self.sibling)
        for level in self.levels:
            if name in level:
                self._values[name] = value = self._evaluate(name, level[name])
                return value
        if name in self.built_in:
            return self.built_in[name]
        raise UndefinedName(name, sorted(self.names()))

    def raw(self, name: str) -> Any:
        """Return a name's value as written."""
        return next(level[name] for level in self.levels if name in level)

    def environment(self, name: str) -> str | None:
        """Return an environment variable, and remember that it was read."""
        value = self.variables.get(name)
        if value is not None:
            self.read[name] = value
        return value

    def knows(self, name: str) -> bool:
        """Say whether a name has a value."""
        return any(name in level for level in (*self.levels, self.built_in))

    def names(self) -> Iterator[str]:
        """Every name there is, the nearest first."""
        seen: set[str] = set()
        for level in (*self.levels, self.built_in):
            yield from (name for name in level if name not in seen)
            seen.update(level)

    def _evaluate(self, name: str, raw: Any) -> Any:
        if name in self._open:
            circle = " -> ".join((*self._open[self._open.index(name) :], name))
            raise ExpressionError(
                f"${{{name}}} is defined by itself: {circle}", "let one of them have a value of its own"
            )
        self._open.append(name)
        try:
            return compile_value(raw)(self)
        except ExpressionError:
            self.failed = self.failed or name
            raise
        finally:
            self._open.pop()


class _Siblings(Mapping[str, Any]):
    """`${sibling.<stage>...}`: each stage is looked for when it is asked for."""

    def __init__(self, find: Sibling) -> None:
        self._find = find

    def __getitem__(self, stage: str) -> Mapping[str, Any]:
        return self._find(stage)

    def __contains__(self, stage: object) -> bool:
        return isinstance(stage, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
