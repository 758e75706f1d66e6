r"""Recipe values with `${...}` in them: compiled once per stage, evaluated per job.

OmegaConf's own grammar parses them, so quoting and escaping mean here what they mean there; only what a name and
a resolver stand for is ours. Its visitor builds a string as it goes, so while compiling each interpolation answers
with a `_Hole`, whose text is a mark that is found again in the finished string.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar_parser import parse
from omegaconf.grammar_visitor import GrammarVisitor

from autoexp import quantities
from autoexp.calculation import HOLE, ExpressionError, compile_calculation
from autoexp.functions import spelled

SIBLING = "sibling"


class UndefinedName(ExpressionError):
    """A `${name}` that nothing in its scope defines."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"${{{name}}} is not defined")
        self.name = name
        self.known = tuple(known)


class Scope(Protocol):
    """Where names come from while a value is evaluated."""

    def lookup(self, name: str) -> Any:
        """Return a name's value; raise `UndefinedName` without one."""

    def environment(self, name: str) -> str | None:
        """Return an environment variable, None where it is not set."""


Evaluate = Callable[[Scope], Any]


Join = Callable[["list[str | Evaluate]"], Evaluate]


def compile_value(value: object, join: Join | None = None) -> Evaluate:
    """Compile a recipe value of any shape; mappings and lists are compiled inside.

    `join` builds the evaluation of a string from its pieces (text, and what to evaluate in between); without one
    the pieces are put together as text, true and null as YAML has them (OmegaConf: True, None), and a string that is
    one `${...}` keeps its value's type.

    Raises:
        ExpressionError: a string is not in the language.
    """
    if isinstance(value, str):
        return _compile_text(value, join) if "${" in value else _always(value)
    if isinstance(value, Mapping):
        return _mapping({key: compile_value(item, join) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _list([compile_value(item, join) for item in value])
    return _always(value)


def is_constant(value: object) -> bool:
    """Say whether a recipe value, in itself no mapping or list, stands for itself."""
    return "${" not in value if isinstance(value, str) else value is None or isinstance(value, int | float)


def literal(value: Any) -> Any:
    """Write a finished value so that evaluating it gives it back: what looks like `${...}` in it is escaped."""
    if isinstance(value, str):
        return _OPENING.sub(lambda found: f"{found[1]}{found[1]}\\${{", value)
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    return [literal(item) for item in value] if isinstance(value, list | tuple) else value


_OPENING = re.compile(r"(\\*)\$\{")


def _always(value: object) -> Evaluate:
    return lambda _: value


def _mapping(parts: Mapping[Any, Evaluate]) -> Evaluate:
    return lambda scope: {key: part(scope) for key, part in parts.items()}


def _list(items: Sequence[Evaluate]) -> Evaluate:
    return lambda scope: [item(scope) for item in items]


_MARK = re.compile("\x00(\\d+)\x00")


@dataclass(frozen=True, slots=True, repr=False)
class _Hole:
    number: int
    evaluate: Evaluate

    def __str__(self) -> str:
        return f"\x00{self.number}\x00"

    __repr__ = __str__  # inside a list too


@dataclass(slots=True)
class _Compiler:
    """One string's compilation: the interpolations met so far."""

    holes: list[_Hole] = field(default_factory=list)

    def hole(self, evaluate: Evaluate) -> _Hole:
        made = _Hole(len(self.holes), evaluate)
        self.holes.append(made)
        return made

    def node(self, key: Any, _memo: object) -> Any:
        if key.relative_dots:
            raise ExpressionError(f"${{{key.raw}}}: relative names are not used here; write the name itself")
        first, *rest = key.parts
        return self.hole(lambda scope: _walk(scope.lookup(first), first, rest))

    def resolver(self, *, name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> Any:
        if name == "calc":
            return self.hole(self._calc(args, args_str))
        known = {"quantity": self._quantity, "oc.env": self._environment}
        if name not in known:
            said = f"${{{name}:...}} is no resolver here; there are calc, {', '.join(known)}"
            of_a_shell = f"a shell's own is written \\${{{name}:...}}"
            usual = "write ${oc.env:NAME}" if name == "env" else "write what it calculates as ${calc:'...'}"
            raise ExpressionError(said, of_a_shell if name.isupper() else usual)
        return self.hole(known[name](args))

    def _calc(self, args: tuple[Any, ...], shown: tuple[str, ...]) -> Evaluate:
        if len(args) != 1:
            raise ExpressionError("${calc:'...'} takes one expression, in single quotes")
        used: list[_Hole] = []

        def name(mark: re.Match[str]) -> str:
            used.append(self.holes[int(mark[1])])
            return f" {HOLE.format(len(used) - 1)} "

        calculate = compile_calculation(_MARK.sub(name, str(args[0])), shown[0].strip("'"))
        return lambda scope: calculate(_Values(used, scope))

    def _quantity(self, args: tuple[Any, ...]) -> Evaluate:
        if len(args) != 1:
            raise ExpressionError("${quantity:...} takes one quantity, such as 100M, 4GiB or 12h")
        quantity = self._argument(args[0])

        def read(scope: Scope) -> int | float:
            try:
                return quantities.parse(str(quantity(scope)))
            except ValueError as error:
                raise ExpressionError(str(error)) from error

        return read

    def _environment(self, args: tuple[Any, ...]) -> Evaluate:
        if not 1 <= len(args) <= 2:  # noqa: PLR2004 - a name and perhaps a default
            raise ExpressionError("${oc.env:NAME,default} takes a name and perhaps a default")
        name, *default = map(self._argument, args)

        def read(scope: Scope) -> Any:
            variable = str(name(scope))
            value = scope.environment(variable)
            if value is None and not default:
                fix = f"set it, or give a default: ${{oc.env:{variable},DEFAULT}}"
                raise ExpressionError(f"${{oc.env:{variable}}}: the environment has no {variable}", fix)
            fallback = default[0](scope) if value is None else value
            return None if fallback is None else spelled(fallback)  # a variable is text, set or not

        return read

    def _argument(self, value: Any) -> Evaluate:
        if isinstance(value, _Hole):
            return value.evaluate
        if isinstance(value, Mapping):
            return _mapping({key: self._argument(item) for key, item in value.items()})
        if isinstance(value, list):
            return _list([self._argument(item) for item in value])
        return _joined(self.pieces(value)) if isinstance(value, str) else _always(value)

    def pieces(self, text: str) -> "list[str | Evaluate]":
        found: list[str | Evaluate] = []
        for index, part in enumerate(_MARK.split(text)):
            if index % 2:
                found.append(self.holes[int(part)].evaluate)
            elif part:
                found.append(part)
        return found


class _Values(Sequence[Any]):
    """The values of an expression's holes, each looked up when the expression asks for it."""

    def __init__(self, holes: Sequence[_Hole], scope: Scope) -> None:
        self._holes = holes
        self._scope = scope

    def __len__(self) -> int:
        return len(self._holes)

    def __getitem__(self, number: Any) -> Any:
        return self._holes[number].evaluate(self._scope)


@cache
def _compile_text(text: str, join: Join | None) -> Evaluate:
    """Compile a string once, however many jobs share it."""
    if "\x00" in text:  # what a hole is marked by
        raise ExpressionError(f"{text!r}: no text holds a NUL")
    compiler = _Compiler()
    visitor = GrammarVisitor(compiler.node, compiler.resolver, memo=None)
    try:
        result = visitor.visit(parse(text))
    except GrammarParseError as error:
        raise ExpressionError(f"{text!r} cannot be read: {error}") from error
    except OmegaConfBaseException as error:
        raise ExpressionError(f"{text!r}: a name is written out, it is not made of another value") from error
    if join is None and isinstance(result, _Hole):
        return result.evaluate
    return (join or _joined)(compiler.pieces(str(result)))


def _joined(pieces: "list[str | Evaluate]") -> Evaluate:
    return lambda scope: "".join(piece if isinstance(piece, str) else spelled(piece(scope)) for piece in pieces)


def _walk(value: Any, name: str, path: Sequence[str]) -> Any:
    for key in path:
        name = f"{name}.{key}"
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            known = list(value) if isinstance(value, Mapping) else []
            raise UndefinedName(name, known)
    return value
