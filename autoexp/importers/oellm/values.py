"""OELLM's values in the words of recipes: escapes, paths and resolvers. Pure.

There a value of a sweep is escaped, so that it is not taken from outside; here nothing is, as values are looked up
when they are needed. What the resolvers get wrong without a word (a text that is no number counts as nothing, a
division by zero is 0) is an error here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.calculation import ExpressionError
from autoexp.expressions import compile_value, literal
from autoexp.importers.oellm.names import BUILT_IN, OF_SIBLING, Names
from autoexp.importers.times import walltime

Tell = Callable[[str], None]
SAVES = "checkpoints"
"""Where jobs save, below their own folder: Megatron-LM's here, and ours."""
RESOLVERS: Mapping[str, str] = {
    "mul": "*", "muli": "int *", "add": "+", "addi": "int +", "sub": "-", "subi": "int -",
    "div": "{0} / {1}", "divi": "int({0}) // int({1})", "cdivi": "ceil({0} / {1})", "sqrt": "sqrt({0})",
    "slice": "({0})[{1}:{2}]", "mul_round_int": "int(round({0} * {1} / {2}) * {2})", "concat": "{0} + {1}",
    "int": "int({0})", "len": "len({0})", "eq": "{0} == {1}", "neq": "{0} != {1}", "lt": "{0} < {1}",
    "gt": "{0} > {1}", "leq": "{0} <= {1}", "geq": "{0} >= {1}", "if": "{1} if {0} else {2}",
    "join": "join({0}, {1})", "split": "split({0}, {1})", "slurmtime": 'str(int({0})) + "s"',
    "pad_iter": '"iter_" + pad(int({0}))', "tmpl": 'replace({0}, "%", str({1}))',
}  # fmt: skip
"""What a resolver's arguments come to; signs stand between all of them."""
TIME = "slurm.sbatch.time"
_RESOLVER = re.compile(r"([a-zA-Z_][\w.]*):(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\+\$\{")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*)(\.[\d_]*)?([eE][+-]?\d+)?")
_CLOCK = re.compile(r"[-_]\$\{oc\.timestring:\s*\}|\$\{oc\.timestring:\s*\}[-_]?")
"""The time of a launch, in a name that had to differ from those of other launches."""
_MAPPED = re.compile(
    r"\$\{oc\.mapeval:\$\{oc\.maptmpl:(?P<quote>['\"])(?P<formula>.*)(?P=quote),(?P<items>\$\{.*\})\}\}"
)
"""A formula for each entry of a list, `%` in it."""
_ITEMS = re.compile(r"\$\{(?:oc\.mapextractkey:(?P<key>[\w.]+),\$\{)?(?P<path>[\w.]+)\}\}?")
_ZFILL = re.compile(r"str\((\$\{[^{}]*\})\)\.zfill\((\d+)\)")
_WORDS = {"null": "None", "none": "None", "true": "True", "false": "False"}


@dataclass(slots=True)
class Values:
    """Translates, and notes which paths are referred to."""

    names: Names
    tell: Tell
    knows: Callable[[str], bool] = lambda _: True
    """Says whether a path has a value, which `oc.select` asks for."""
    look: Callable[[str], Any] = lambda _: None
    """Finds what the sweep as it was written has at a path, `groups.0.configs`."""
    folder: str = SAVES
    """Where jobs saved, below their own folder."""
    read: set[str] = field(default_factory=set)
    """Paths that some value needs."""
    siblings: set[str] = field(default_factory=set)
    """Paths that some value needs of another stage's job."""

    def value(self, raw: Any, path: str = "") -> Any:
        """Translate a value of any shape; `path` is where relative names begin."""
        if isinstance(raw, str):
            if (formulas := self.mapped(raw)) is not None:
                return [self.text(each, path) for each in formulas]
            written = self.text(raw, path)
            return walltime(written) if path == TIME and "${" not in written else written
        if isinstance(raw, Mapping):
            return {key: self.value(item, f"{path}.{key}") for key, item in raw.items()}
        return [self.value(item, path) for item in raw] if isinstance(raw, list) else raw

    def text(self, raw: str, path: str) -> str:
        """Translate a text with interpolations in it."""
        plain = _ESCAPED.sub("${", raw)
        timeless = _CLOCK.sub("", plain)
        if timeless != plain:
            self.tell(f"{path}: the time in {plain!r} is left out: jobs and their folders have names of their own")
        pieces = _pieces(timeless)
        written = "".join(self._interpolation(piece, path) if is_hole else piece for is_hole, piece in pieces)
        return self._saved().sub(r"\1.checkpoints}", written)

    def mapped(self, raw: str) -> list[str] | None:
        """Return a formula for each entry of a list that the sweep has, where a text is made of that."""
        found = _MAPPED.fullmatch(plain := _ESCAPED.sub("${", raw))
        items = _ITEMS.fullmatch(found["items"]) if found else None
        if not found or not items or plain.count("{") != plain.count("}"):
            return None
        listed, key = self.look(items["path"]), items["key"]
        if not isinstance(listed, list):
            return None
        entries = [each.get(key) if isinstance(each, Mapping) else None for each in listed] if key else listed
        if not all(isinstance(each, int | float) for each in entries):
            return None
        return [f"${{oc.eval:'{found['formula'].replace('%', str(each))}'}}" for each in entries]

    def _saved(self) -> re.Pattern[str]:
        return re.compile(
            rf"(\$\{{sibling\.\w+)\.dir\}}"
            rf"(?:/{re.escape(self.folder)}(?![\w.-])|(?=/iter_|/latest_checkpointed_iteration))"
        )

    def _interpolation(self, inside: str, path: str) -> str:
        if found := _RESOLVER.fullmatch(inside.strip()):
            return self._resolver(found[1], found[2], path)
        return self._node(inside.strip(), path)

    def _node(self, name: str, path: str) -> str:
        dots = len(name) - len(name.lstrip("."))
        whole = name.lstrip(".") if not dots else ".".join([*path.split(".")[:-dots], name.lstrip(".")])
        if whole.startswith("sibling."):
            return self._sibling(*whole.removeprefix("sibling.").partition(".")[::2])
        if whole in BUILT_IN:
            return BUILT_IN[whole]
        self.read.add(whole)
        return f"${{{self.names.of(whole)}}}"

    def _sibling(self, stage: str, path: str) -> str:
        known = OF_SIBLING.get(path)
        if known is None:
            self.siblings.add(path)
            return f"${{sibling.{stage}.params.{self.names.of(path)}}}"
        return f"${{sibling.{stage}.{known}" + ("" if "}" in known else "}")

    def _resolver(self, name: str, said: str, path: str) -> str:
        short = name.removeprefix("oc.")
        if short == "env":
            variable, *default = _arguments(said)
            return f"${{oc.env:{','.join([variable, *(self.text(each, path) for each in default)])}}}"
        if short == "select":
            key, *default = _arguments(said)
            instead = self.text(default[0], path).strip("\"'") if default else "null"
            return self._node(key, path) if "." in key and self.knows(key) else instead
        if short == "pad_iter":
            return f"iter_${{calc:'pad(int({self._argument(said, path)}))'}}"
        written = f"${{calc:'{self._calculated(short, said, path)}'}}"
        try:
            compile_value(written)
        except ExpressionError as error:
            self.tell(f"${{{name}:{said}}} has no words in a recipe, and stays text: {error}")
            return str(literal(f"${{{name}:{said}}}"))
        return written

    def _calculated(self, name: str, said: str, path: str) -> str:
        if name == "eval":
            return self._evaluated(said.strip(), path)
        form = RESOLVERS.get(name)
        if form is None:
            return f"{name}()"  # no function's name, and so refused
        arguments = [self._argument(each, path) for each in _arguments(said)]
        if "{" in form:
            needed = form.count("{")
            return form.format(*arguments, *["None"] * needed)
        both = f" {form[-1]} ".join(arguments)
        return f"int({both})" if form.startswith("int") else both

    def _evaluated(self, said: str, path: str) -> str:
        """Write what Python was to evaluate: a text there, values here."""
        if said[:1] in "\"'" and said[-1:] == said[:1]:
            said = said[1:-1]
        said = re.sub(r"([\"'])(\$\{[^{}]*\})\1", r"\2", re.sub(r"\\([()'])", r"\1", said))
        said = _ZFILL.sub(r"pad(int(\1), \2)", said)
        parts = (self._inner(piece, path) if is_hole else piece.replace("'", '"') for is_hole, piece in _pieces(said))
        return "".join(parts)

    def _inner(self, inside: str, path: str) -> str:
        """Write an interpolation inside an expression: a resolver in parentheses, a path as a value."""
        if found := _RESOLVER.fullmatch(inside.strip()):
            short = found[1].removeprefix("oc.")
            if short not in ("env", "select"):
                return f"({self._calculated(short, found[2], path)})"
        return self._interpolation(inside, path)

    def _argument(self, said: str, path: str) -> str:
        """Write a resolver's argument as an expression."""
        said = said.strip()
        if _NUMBER.fullmatch(said) or said.lower() in _WORDS:
            return _WORDS.get(said.lower(), said)
        pieces = list(_pieces(said))
        if len(pieces) == 1 and pieces[0][0]:
            return self._inner(pieces[0][1], path)
        quoted = said[1:-1] if said[:1] in "\"'" and said[-1:] == said[:1] else said
        parts = [self._inner(piece, path) if is_hole else f'"{piece}"' for is_hole, piece in _pieces(quoted)]
        return parts[0] if len(parts) == 1 else f'join("", [{", ".join(parts)}])' if parts else '""'


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """Split a text into what stands in `${...}`, however deep, and what does not."""
    at = 0
    while (start := text.find("${", at)) >= 0:
        end, depth = start + 2, 1
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if start > at:
            yield False, text[at:start]
        yield True, text[start + 2 : end - 1]
        at = end
    if at < len(text):
        yield False, text[at:]


def _arguments(said: str) -> list[str]:
    """Split a resolver's arguments at its own commas."""
    parts, depth, quote = [""], 0, ""
    for sign in said:
        quote = ("" if sign == quote else quote) if quote else (sign if sign in "\"'" else "")
        depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(sign, 0)
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]
