"""A recipe's values, evaluated for one job; what goes wrong is told at the key where it is written. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.blame import Blame
from autoexp.expressions import compile_value, is_constant
from autoexp.places import KeyPath
from autoexp.scope import JobScope
from autoexp.shell import quoted_pieces, word

COMPOSED = ("all", "any", "not")
"""Conditions that are made of others."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a job's names make of the values that its stage was written with.

    Every method raises RecipeError where a value cannot be evaluated.
    """

    scope: JobScope
    blame: Blame

    def value(self, path: KeyPath, raw: Any) -> Any:
        """Evaluate what is written at a key, of any shape."""
        if is_constant(raw):
            return raw
        with self.blame.at(path, self.scope, raw):
            return compile_value(raw)(self.scope)

    def word(self, path: KeyPath, raw: Any) -> str:
        """Evaluate a value to one word, as a program is given it."""
        value = self.value(path, raw)
        with self.blame.at(path, self.scope):
            return word(value)

    def words(self, path: KeyPath, raw: list[Any] | tuple[Any, ...]) -> Iterator[str]:
        """Evaluate an argv, each element by itself."""
        return (self.word((*path, number), each) for number, each in enumerate(raw))

    def script(self, path: KeyPath, text: str) -> str:
        """Evaluate what a shell is to run: each `${...}` in it is one quoted word."""
        with self.blame.at(path, self.scope):
            return str(compile_value(text, quoted_pieces)(self.scope))

    def conditions(self, path: KeyPath, raw: Any) -> Any:
        """Evaluate conditions, as they are written; the line of a command is evaluated as a script."""
        if isinstance(raw, list | tuple):
            return [self.conditions((*path, number), each) for number, each in enumerate(raw)]
        if not isinstance(raw, Mapping):
            return self.value(path, raw)
        return {name: self._condition((*path, name), name, each) for name, each in raw.items()}

    def _condition(self, path: KeyPath, name: str, raw: Any) -> Any:
        if name in COMPOSED:
            return self.conditions(path, raw)
        if name != "command_succeeds" or not isinstance(raw, Mapping) or raw.get("command") is None:
            return self.value(path, raw)
        others = {key: value for key, value in raw.items() if key != "command"}
        return {**self.value(path, others), "command": self._program((*path, "command"), raw["command"])}

    def _program(self, path: KeyPath, command: Any) -> Any:
        if isinstance(command, list | tuple):
            return list(self.words(path, command))
        return self.script(path, command) if isinstance(command, str) else self.value(path, command)
