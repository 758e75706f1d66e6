"""The language inside `${calc:'...'}`: arithmetic over values, compiled once, evaluated many times.

A closed set of syntax is allowed, each node has one compiler, and nothing of Python's is reachable: no names but
the holes that stand for `${x}`, no attributes, no calls but `FUNCTIONS`.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoexp.functions import FUNCTIONS

Holes = Sequence[Any]
"""The values of the `${x}` in an expression, in the order of their numbers."""
Calculation = Callable[[Holes], Any]

HOLE = "__hole_{}__"
"""How hole number n is spelled inside the expression's text."""

LONGEST_NUMBER_BITS = 4096


class ExpressionError(Exception):
    """A value that cannot be read, or has no value for this job."""

    def __init__(self, message: str, fix: str = "correct the value") -> None:
        super().__init__(message)
        self.fix = fix


def divide(left: Any, right: Any) -> Any:
    """Divide; two integers that divide evenly stay an integer."""
    if isinstance(left, int) and isinstance(right, int) and right and left % right == 0:
        return left // right
    return left / right


def power(base: Any, exponent: Any) -> Any:
    """Raise to a power, within reason.

    Raises:
        OverflowError: an integer result would have more than `LONGEST_NUMBER_BITS` bits.
        ValueError: the result would be no real number.
    """
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent > 0
    if whole and abs(base).bit_length() * exponent > LONGEST_NUMBER_BITS:
        raise OverflowError(f"{base} ** {exponent} is too large a number")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"{base} ** {exponent} is no real number")  # noqa: TRY004 - the values are to blame, not their types
    return result


def numeric(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Keep an operator to numbers: in Python `*` repeats text and lists, and `%` formats text."""

    def apply_to_numbers(left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError(f"{left!r} {symbol} {right!r}: only numbers go with {symbol}")
        return apply(left, right)

    return apply_to_numbers


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: numeric("*", operator.mul),
    ast.Div: divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: numeric("%", operator.mod),
    ast.Pow: power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}


def compile_calculation(text: str, shown: str) -> Calculation:
    """Compile an expression whose holes are spelled by `HOLE`; messages show it as `shown`.

    Raises:
        ExpressionError: it is no expression, or uses what is not allowed. Calling the result raises it too,
            where the values at hand have no result (a division by zero, text where a number belongs).
    """
    try:
        compiled = _compile(ast.parse(text.strip(), mode="eval").body)
    except ExpressionError as error:
        raise ExpressionError(f"{shown}: {error}", error.fix) from error
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        problem = error.args[0] if error.args else "it is nested too deeply"
        raise ExpressionError(f"{shown} is no expression: {problem}", _instead(shown)) from error

    def calculate(holes: Holes) -> Any:
        try:
            return compiled(holes)
        except (ArithmeticError, AttributeError, TypeError, ValueError, LookupError) as error:
            raise ExpressionError(f"{shown} has no value: {error}") from error

    return calculate


def _instead(text: str) -> str:
    """Say what other languages' signs are here."""
    signs = {r"(?<![=<>!])=(?!=)": "==", "&&": "and", r"\|\|": "or", r"!(?!=)": "not", r"\?": "x if c else y"}
    meant = [here for sign, here in signs.items() if re.search(sign, text)]
    return f"write {', '.join(meant)}" if meant else "correct the value"


def _compile(node: ast.expr) -> Calculation:
    compiler = _COMPILERS.get(type(node))
    if compiler is None:
        raise ExpressionError(f"{type(node).__name__.lower()} is not allowed in an expression")
    return compiler(node)


def _constant(node: ast.Constant) -> Calculation:
    value = node.value
    if isinstance(value, str) and HOLE.split("{", maxsplit=1)[0] in value:
        raise ExpressionError("a value stands by itself: write ${x}, not ${x} inside quotes")
    if not isinstance(value, bool | int | float | str | None):
        raise ExpressionError(f"{value!r} is not allowed in an expression")
    return lambda _: value


def _name(node: ast.Name) -> Calculation:
    prefix, _, suffix = HOLE.partition("{}")
    digits = node.id.removeprefix(prefix).removesuffix(suffix)
    if not digits.isdecimal():
        said = f"the name {node.id!r} stands for nothing; a value is written ${{{node.id}}}"
        raise ExpressionError(said, f"write ${{{node.id}}}, or a text in double quotes")
    number = int(digits)
    return lambda holes: holes[number]


def _binary(node: ast.BinOp) -> Calculation:
    apply = _operator(_BINARY, node.op)
    left, right = _compile(node.left), _compile(node.right)
    return lambda holes: apply(left(holes), right(holes))


def _unary(node: ast.UnaryOp) -> Calculation:
    apply, operand = _operator(_UNARY, node.op), _compile(node.operand)
    return lambda holes: apply(operand(holes))


def _boolean(node: ast.BoolOp) -> Calculation:
    *parts, last = (_compile(value) for value in node.values)
    decisive = isinstance(node.op, ast.Or)

    def decide(holes: Holes) -> Any:
        for part in parts:
            value = part(holes)
            if bool(value) is decisive:
                return value
        return last(holes)

    return decide


def _compare(node: ast.Compare) -> Calculation:
    operands = [_compile(operand) for operand in (node.left, *node.comparators)]
    applies = [_operator(_COMPARE, op) for op in node.ops]

    def compare(holes: Holes) -> bool:
        left = operands[0](holes)
        for apply, operand in zip(applies, operands[1:], strict=True):
            right = operand(holes)
            if not apply(left, right):
                return False
            left = right
        return True

    return compare


def _choice(node: ast.IfExp) -> Calculation:
    test, then, otherwise = _compile(node.test), _compile(node.body), _compile(node.orelse)
    return lambda holes: then(holes) if test(holes) else otherwise(holes)


def _list(node: ast.List | ast.Tuple) -> Calculation:
    items = [_compile(item) for item in node.elts]
    return lambda holes: [item(holes) for item in items]


def _call(node: ast.Call) -> Calculation:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    function = FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(f"{name!r} is no function here; there are {', '.join(FUNCTIONS)}")
    arguments = [_compile(argument) for argument in node.args]
    named = {keyword.arg: _compile(keyword.value) for keyword in node.keywords}
    if None in named:
        raise ExpressionError("** is not allowed in an expression")

    def call(holes: Holes) -> Any:
        words = {str(key): argument(holes) for key, argument in named.items()}
        return function(*(argument(holes) for argument in arguments), **words)

    return call


def _item(node: ast.Subscript) -> Calculation:
    """Take one of a list or of a text, or some side by side."""
    whole = _compile(node.value)
    if isinstance(node.slice, ast.Slice):
        lower, upper, step = (
            (lambda _: None) if part is None else _compile(part)
            for part in (node.slice.lower, node.slice.upper, node.slice.step)
        )
        return lambda holes: whole(holes)[slice(lower(holes), upper(holes), step(holes))]
    index = _compile(node.slice)
    return lambda holes: whole(holes)[index(holes)]


def _operator(table: Mapping[Any, Callable[..., Any]], node: ast.AST) -> Callable[..., Any]:
    found = table.get(type(node))
    if found is None:
        raise ExpressionError(f"the operator {type(node).__name__.lower()} is not allowed in an expression")
    return found


_COMPILERS: Mapping[type[ast.expr], Callable[[Any], Calculation]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Call: _call,
    ast.Subscript: _item,
}
