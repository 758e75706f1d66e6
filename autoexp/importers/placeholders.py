"""AutoExperiment's `{NAME}` and `expr(...)`, in the words of recipes. Pure.

There every text is formatted again and again until it stays the same, errors passed over: what is not defined stays
in the job as it was written. Here it is told.
"""

import re
from collections.abc import Callable, Collection
from itertools import zip_longest

from autoexp.calculation import ExpressionError
from autoexp.expressions import compile_value

Tell = Callable[[str], None]
HOLE = re.compile(
    r"(?P<interpolation>\$\{[^{}]*\})"
    r"|\{\{?(?P<name>[A-Za-z_]\w*)(?P<rest>(?:[!:\[]|\.(?=[A-Za-z_]))(?:[^{}]|\{[^{}]*\})*)?\}\}?"
)
"""A name in braces, with how it is to be formatted, or a part of it; or one of OmegaConf's own."""
_DOUBLED = re.compile(r"\{\{|\}\}")
_ZEROS = re.compile(r":0(\d+)d")
_SPEC = re.compile(r"(?:[^{}'\"$\\]?[<>=^])?[-+ ]?#?0?\d{0,3}[,_]?(?:\.\d{1,2})?[bcdeEfFgGosxX%]?")
_EXPRESSION = re.compile(r"expr\((.*)\)\s*", re.DOTALL)
_QUOTED_HOLE = re.compile(r"(?P<quote>[\"'])(\{[A-Za-z_]\w*(?::[^{}'\"]*)?\})(?P=quote)")
_NAMED = re.compile(r"\$\{calc:'[^']*'\}|(?<!\\)\$\{(\w+)\}")
_BARE = re.compile(r"\$\{calc:'([^']*)'\}")
_SINGLE = re.compile(r"'([^'\"]*)'")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*)(\.\d*)?([eE][+-]?\d+)?")


def native(text: str, known: Collection[str], tell: Tell) -> str:
    """Write a value in our words; names that nobody defines stay text, and are told."""
    if found := _EXPRESSION.fullmatch(text):
        return _calculation(found[1], known, tell)
    return pasted(text, known, tell)


def pasted(text: str, known: Collection[str], tell: Tell) -> str:
    """Write a text with names in it; where all its braces are names or doubled, the doubled ones are single."""
    others = HOLE.split(text)[:: HOLE.groups + 1]
    is_formatted = not any(set("{}") & set(_DOUBLED.sub("", other)) for other in others)
    filled = (_filled(hole, known, tell) for hole in HOLE.finditer(text))
    singled = (_DOUBLED.sub(lambda pair: pair[0][0], other) if is_formatted else other for other in others)
    return "".join(part for pair in zip_longest(singled, filled, fillvalue="") for part in pair)


def pasting(line: str) -> str | list[str]:
    """Let values become part of a line for bash as they did there; in a line of ours each is one quoted word."""
    return ["bash", "-c", line] if "${" in line else line


def in_python(text: str, names: Collection[str]) -> str:
    """Let the values of these names be spelled inside a text as Python does: True, False and None.

    What is calculated, or formatted already, stays as it is.
    """
    return _NAMED.sub(lambda found: f"${{calc:'{_formatted(found[1], '')}'}}" if found[1] in names else found[0], text)


def _filled(hole: re.Match[str], known: Collection[str], tell: Tell) -> str:
    if interpolation := hole["interpolation"]:
        inner = interpolation[2:-1]
        if inner.startswith("oc.env:") or inner in known:
            return interpolation
        last = inner.rpartition(".")[2]
        return f"${{{last}}}" if "." in inner and last in known else f"\\{interpolation}"
    name, rest = hole["name"], hole["rest"] or ""
    if name not in known:
        if is_format(rest):
            tell(f"{hole[0]} is not defined, and stays as it is written")
            return hole[0]
        start, end = hole.span("rest")
        return f"{hole[0][: start - hole.start()]}{pasted(rest, known, tell)}{hole[0][end - hole.start() :]}"
    if not is_format(rest):
        tell(f"{hole[0]} has no words in a recipe, and stays as it is written: ${{calc:'...'}} may say it")
        return hole[0]
    return valued(name, rest)


def is_format(rest: str) -> bool:
    """Say whether what stands behind a name in its braces is a format that recipes have words for, or nothing."""
    return rest[:1] in ("", ":") and _SPEC.fullmatch(rest[1:]) is not None


def valued(name: str, rest: str) -> str:
    """Write a name's value, formatted as is said behind it in its braces."""
    return f"${{calc:'{_formatted(name, rest)}'}}" if rest[1:] else f"${{{name}}}"


def _formatted(name: str, rest: str) -> str:
    """Write how a value is to be spelled, as an expression."""
    if zeros := _ZEROS.fullmatch(rest):
        return f"pad(${{{name}}}, {zeros[1]})"
    return f'format(${{{name}}}, "{rest[1:]}")'


def _calculation(inside: str, known: Collection[str], tell: Tell) -> str:
    text = _SINGLE.sub(r'"\1"', _QUOTED_HOLE.sub(r"\2", inside.strip()))
    said = _BARE.sub(r"\1", pasted(text, known, tell))
    written = f"${{calc:'{said}'}}"
    try:
        compile_value(written)
    except ExpressionError as error:
        tell(f"expr({inside}) cannot be calculated here, and stays text: {error}")
        return f"expr({inside})"
    return written


def holes(value: object) -> set[str]:
    """List the names that a raw value refers to."""
    if isinstance(value, str):
        found = [hole for hole in HOLE.finditer(value) if hole["name"]]
        return {hole["name"] for hole in found}.union(*(holes(hole["rest"]) for hole in found))
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
