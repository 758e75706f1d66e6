"""Shell scripts with recipe values in them: each value becomes exactly one word, whatever it contains.

That promise holds only where the shell reads plain words, so a value anywhere else (inside quotes, a comment,
backticks, arithmetic, a here-document) is refused when the recipe is planned. `_Reader` follows bash's grammar just
far enough to know; where it cannot follow, it refuses.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoexp.calculation import ExpressionError
from autoexp.expressions import Evaluate, Scope

SCRIPT, ARITHMETIC, LOST = "script", "arithmetic", "lost"
_WORDS = {SCRIPT, "$(", "("}
"""Where the shell reads plain words, as long as nothing else is open further out."""
_REFUSED = {
    **dict.fromkeys(("'", '"', "$'"), "quotes"),
    "`": "backticks",
    "#": "a comment",
    "${": "another expansion",
    "$[": "arithmetic",
    ARITHMETIC: "arithmetic",
    LOST: "a construct that autoexp cannot follow",
}
_CLOSES = {")": ("$(", "(", ARITHMETIC), "}": ("${",), "]": ("$[",), '"': ('"',)}
_SIGN = re.compile(r"\\.|\$\(\(|\(\(|\$[({'\[]|<<<|<<|\bcase\b|.", re.DOTALL)
_BEFORE_A_WORD = " \t\n;&|()<>"


def quoted_pieces(pieces: "list[str | Evaluate]") -> Evaluate:
    """Join a script's text with its values, each value quoted for the shell.

    Raises:
        ExpressionError: a value stands where quoting cannot protect it.
    """
    reader = _Reader()
    for piece in pieces:
        if isinstance(piece, str):
            reader.read(piece)
        else:
            reader.meet_value()
    if reader.has_here_document and len(pieces) > 1:
        raise ExpressionError("a script with a here-document takes no ${...}", "pass the value by env: and use $NAME")

    def script(scope: Scope) -> str:
        return "".join(piece if isinstance(piece, str) else shlex.quote(word(piece(scope))) for piece in pieces)

    return script


def word(value: object) -> str:
    """Spell a value as one word of a command line: booleans as YAML does.

    Raises:
        ExpressionError: it is no single word.
    """
    if value is None:
        raise ExpressionError("null is no word of a command", "quote it if it is text, or leave it out")
    if isinstance(value, Mapping):
        fix = f"name one of its values: {', '.join(map(str, value))}"
        raise ExpressionError(f"{dict(value)!r:.60}... is no word of a command", fix)
    if isinstance(value, list | tuple):
        raise ExpressionError(
            f"{value!r} is no word of a command", "write its items one by one, or ${calc:'join(\" \", ${...})'}"
        )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\0" in text:
        raise ExpressionError("a word of a command holds a NUL byte", "programs cannot be given one; remove it")
    return text


@dataclass(slots=True)
class _Reader:
    """Reads a script piece by piece, and knows what is open."""

    open: list[str] = field(default_factory=lambda: [SCRIPT])
    """What has begun and not ended yet, the innermost last."""
    before: str = "\n"
    """The sign right before."""
    has_here_document: bool = False

    def meet_value(self) -> None:
        """Take note of a value; refuse it where it would not be one word."""
        refused = [sign for sign in self.open if sign in _REFUSED]
        if refused:
            inside = _REFUSED[LOST if LOST in refused else refused[-1]]
            raise ExpressionError(
                f"${{...}} stands inside {inside}", "leave it outside: each value is one quoted word already"
            )
        if self.before in {"$", "\\"}:
            said = f"${{...}} stands right behind a {self.before}, which would change its quotes"
            raise ExpressionError(said, f"remove the {self.before}")
        self.before = "value"

    def read(self, text: str) -> None:
        """Read a piece of the script."""
        at = 0
        while at < len(text):
            raw = self.open[-1] in {"'", "#"}  # nothing is special there but the end
            found = None if raw else _SIGN.match(text, at)
            sign = found[0] if found else text[at]
            self._take(sign)
            self.before = sign
            at += len(sign)

    def _take(self, sign: str) -> None:
        inside = self.open[-1]
        if inside in {"'", "$'", "#"}:
            if sign == {"#": "\n"}.get(inside, "'"):
                self.open.pop()
        elif sign == "`":
            self._backtick()
        elif sign in _CLOSES and inside in _CLOSES[sign]:
            self.open.pop()
        elif inside == '"':
            self._open_within_quotes(sign)
        elif inside in {ARITHMETIC, "$["}:
            self._open_within_arithmetic(sign)
        else:
            self._open_among_words(sign, inside)

    def _backtick(self) -> None:
        """Begin a command, or end the one that is open, whatever was left open in it."""
        if "`" in self.open:
            del self.open[self.open.index("`") :]
        else:
            self.open.append("`")

    def _open_within_quotes(self, sign: str) -> None:
        if sign == "$((":
            self.open += [ARITHMETIC, ARITHMETIC]  # each parenthesis is closed by one
        elif sign in {"$(", "${", "$["}:
            self.open.append(sign)

    def _open_within_arithmetic(self, sign: str) -> None:
        if sign in {"$((", "(("}:
            self.open += [ARITHMETIC, ARITHMETIC]
        elif sign == "(":
            self.open.append(ARITHMETIC)
        elif sign in {"$(", "${", "$["}:
            self.open.append(sign)
        elif sign in {"'", "$'", '"'}:
            self.open.append(LOST)

    def _open_among_words(self, sign: str, inside: str) -> None:
        if sign in {"$((", "(("}:
            self.open += [ARITHMETIC, ARITHMETIC]
        elif sign in {"$(", "(", "${", "$[", "$'", "'", '"'}:
            quoted_expansion = inside == "${" and '"' in self.open and sign in {"'", "$'"}
            self.open.append(LOST if quoted_expansion else sign)
        elif sign == "<<":
            self.has_here_document = True
        elif sign == "case" and inside in {"$(", "("}:
            self.open.append(LOST)  # its patterns end in a parenthesis that closes nothing
        elif sign == "#" and inside in {*_WORDS, "`"} and self.before[-1] in _BEFORE_A_WORD:
            self.open.append("#")
