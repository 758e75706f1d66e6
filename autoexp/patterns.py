"""Regular expressions of a recipe, against lines that nobody vouches for: one line takes so long, and no longer.

`(a+)+$` needs 2^n steps for a line of n letters that does not match. A signal interrupts Python's own engine.
"""

import re
import signal
import threading
from functools import lru_cache
from types import FrameType

LIMIT_S = 1.0
"""Processor time that one line may take."""
LONGEST_QUOTE = 60

compiled = lru_cache(maxsize=256)(re.compile)
_given_up: dict[str, str] = {}
_is_limited = False


class TooSlow(Exception):
    """A regular expression takes too long for a line, or did before: it is looked for no more by this process."""


def search(regex: str, line: str) -> "re.Match[str] | None":
    """Look for a regular expression in a line.

    Raises:
        TooSlow: it takes more than `LIMIT_S` of processor time, or did so once.
    """
    if regex in _given_up:
        raise TooSlow(regex)
    if threading.current_thread() is not threading.main_thread():  # only there can a signal be heard
        return compiled(regex).search(line)
    try:
        return _within_limit(compiled(regex), line)
    except TooSlow:
        _given_up[regex] = line[:LONGEST_QUOTE]
        raise


def problem(regex: str) -> str | None:
    """Say what is the matter with a regular expression that is looked for no more."""
    if regex not in _given_up:
        return None
    said = f"{regex!r} took more than {LIMIT_S:g} s for one line, {_given_up[regex]!r}, and is looked for no more"
    return f"{said}; write it without a repeat within a repeat"


def _within_limit(regex: "re.Pattern[str]", line: str) -> "re.Match[str] | None":
    global _is_limited  # noqa: PLW0603 - a signal's handler has no other way to know
    if signal.getsignal(signal.SIGVTALRM) is not _interrupt:
        signal.signal(signal.SIGVTALRM, _interrupt)
    _is_limited = True
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        return regex.search(line)
    finally:
        _is_limited = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End a search; one that was over just before is left alone."""
    if _is_limited:
        raise TooSlow
