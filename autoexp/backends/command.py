"""Any program: no log grammar, and exit code 0 means that it did its work."""

from collections.abc import Mapping
from typing import Any

from autoexp.backends import Launch, flags
from autoexp.errors import AutoexpError
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

HINTS = ()
REPORT = None


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Start the program with `args` as its flags.

    Raises:
        AutoexpError: the recipe names no program.
    """
    if launch.program is None:
        raise AutoexpError(
            "backend command starts a program, and there is none",
            why="the recipe gives no param called program",
            fix="add params: {program: PATH}, or write the stage with command: instead",
        )
    return (launch.program, *flags(args))


def read(facts: LogFacts, line: str) -> LogFacts:  # noqa: ARG001 - a program we know nothing of says nothing
    """Take nothing from a line."""
    return facts


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:  # noqa: ARG001 - the exit code is all there is
    """Trust the exit code."""
    return Verdict(holds=True, reason="exit code 0")
