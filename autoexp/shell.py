"""Shell scripts with recipe values in them: each value becomes exactly one word, whatever it contains.

That promise holds only where the shell reads plain words, so a value anywhere else (inside quotes, a comment,
backticks, arithmetic, a here-document) is refused when the recipe is planned.
"""

import re
import shlex

from autoexp.calculation import ExpressionError
from autoexp.expressions import Evaluate, Scope

_TOKEN = re.compile(r"\\.|\$'|\$\(\(|\)\)|['\"`\n]|(?:(?<=\s)|^)#|<<<|<<", re.DOTALL | re.MULTILINE)
_OPENS = {"'": "quotes", '"': "quotes", "$'": "quotes", "`": "backticks", "$((": "arithmetic", "#": "a comment"}
_CLOSES = {"'": "'", '"': '"', "$'": "'", "`": "`", "$((": "))", "#": "\n"}


def quoted_pieces(pieces: "list[str | Evaluate]") -> Evaluate:
    """Join a script's text with its values, each value quoted for the shell.

    Raises:
        ExpressionError: a value stands where quoting cannot protect it.
    """
    _check(pieces)

    def script(scope: Scope) -> str:
        return "".join(piece if isinstance(piece, str) else shlex.quote(str(piece(scope))) for piece in pieces)

    return script


def _check(pieces: "list[str | Evaluate]") -> None:
    inside: str | None = None
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    if "<<" in _TOKEN.findall(text) and len(pieces) > 1:
        raise ExpressionError("a script with a here-document takes no ${...}: pass the value by env: and use $NAME")
    for piece in pieces:
        if isinstance(piece, str):
            inside = _scan(piece, inside)
        elif inside is not None:
            raise ExpressionError(
                f"${{...}} stands inside {_OPENS[inside]}: leave it outside, each value is one quoted word already"
            )


def _scan(text: str, inside: str | None) -> str | None:
    """Say what is open at the end of a piece: the token that opened it."""
    for token in _TOKEN.findall(text):
        if inside is None:
            inside = token if token in _OPENS else None
        elif token == _CLOSES[inside]:
            inside = None
    return inside
