"""AutoExperiment's `{NAME}` and `expr(...)`, in the words of recipes. Pure.

There every text is formatted again and again until it stays the same, errors passed over: what is not defined stays
in the job as it was written. Here it is told.
"""

import re
from collections.abc import Callable, Collection

from autoexp.calculation import ExpressionError
from autoexp.expressions import compile_value

Tell = Callable[[str], None]
HOLE = re.compile(r"(?P<interpolation>\$\{[^{}]*\})|\{\{?(?P<name>[A-Za-z_]\w*)(?::0?(?P<width>\d+)d)?\}\}?")
"""A name in braces, perhaps with the width of a number; or one of OmegaConf's own."""
_EXPRESSION = re.compile(r"expr\((.*)\)\s*", re.DOTALL)
_QUOTED_HOLE = re.compile(r"(?P<quote>[\"'])(\{[A-Za-z_]\w*\})(?P=quote)")
_SINGLE = re.compile(r"'([^'\"]*)'")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*)(\.\d*)?([eE][+-]?\d+)?")


def native(text: str, known: Collection[str], tell: Tell) -> str:
    """Write a value in our words; names that nobody defines stay text, and are told."""
    if found := _EXPRESSION.fullmatch(text):
        return _calculation(found[1], known, tell)
    return pasted(text, known, tell)


def pasted(text: str, known: Collection[str], tell: Tell) -> str:
    """Write a text with names in it."""
    return HOLE.sub(lambda hole: _filled(hole, known, tell), text)


def _filled(hole: re.Match[str], known: Collection[str], tell: Tell) -> str:
    if interpolation := hole["interpolation"]:
        inner = interpolation[2:-1]
        if inner.startswith("oc.env:") or inner in known:
            return interpolation
        last = inner.rpartition(".")[2]
        return f"${{{last}}}" if "." in inner and last in known else f"\\{interpolation}"
    if hole["name"] not in known:
        tell(f"{hole[0]} is not defined, and stays as it is written")
        return hole[0]
    if hole["width"]:
        return f"${{calc:'pad(${{{hole['name']}}}, {hole['width']})'}}"
    return f"${{{hole['name']}}}"


def _calculation(inside: str, known: Collection[str], tell: Tell) -> str:
    text = _SINGLE.sub(r'"\1"', _QUOTED_HOLE.sub(r"\2", inside.strip()))
    written = f"${{calc:'{pasted(text, known, tell)}'}}"
    try:
        compile_value(written)
    except ExpressionError as error:
        tell(f"expr({inside}) cannot be calculated here, and stays text: {error}")
        return f"expr({inside})"
    return written


def holes(value: object) -> set[str]:
    """List the names that a raw value refers to."""
    if isinstance(value, str):
        return {hole["name"] for hole in HOLE.finditer(value) if hole["name"]}
    if isinstance(value, dict):
        return set().union(*map(holes, value.values()))
    return set().union(*map(holes, value)) if isinstance(value, list) else set()


def calculated(value: object) -> set[str]:
    """List the names that a raw value calculates with."""
    if isinstance(value, str):
        return holes(value) if _EXPRESSION.fullmatch(value) else set()
    if isinstance(value, dict):
        return set().union(*map(calculated, value.values()))
    return set().union(*map(calculated, value)) if isinstance(value, list) else set()


def number(text: str) -> int | float | str:
    """Read a number that was written as text; anything else stays as it is."""
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return text
    return float(text) if found[2] or found[3] else int(text)
