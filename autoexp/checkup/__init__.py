"""Is this installation, and this machine, fit to watch? Checks that change nothing, and never wait for long.

A check is a function in a table: it is told what is being looked at, and yields what it found. To add one, write it,
and put it into the table of its module.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from autoexp.clients import in_background
from autoexp.errors import AutoexpError
from autoexp.machine import Machine

LIMIT_S = 30.0
"""How long one check may take: a file system that hangs is a finding, too."""


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `fix` is empty where there is nothing to be done."""

    grade: Grade
    what: str
    why: str
    fix: str = ""

    def line(self) -> str:
        """Write it for a person."""
        return f"{self.grade:<4}  {self.what}: {self.why}{f'; {self.fix}' if self.fix else ''}"


def ok(what: str, why: str) -> Finding:
    """Say that all is well."""
    return Finding(Grade.OK, what, why)


def warn(what: str, why: str, fix: str) -> Finding:
    """Say that something works, and not as well as it could."""
    return Finding(Grade.WARN, what, why, fix)


def fail(what: str, why: str, fix: str) -> Finding:
    """Say that something does not work."""
    return Finding(Grade.FAIL, what, why, fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is looked at."""

    machine: Machine
    root: Path
    """The experiments folder; it need not be there yet."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question. If a vital one fails, the rest of its table is not asked: it would say the same."""

    name: str
    ask: Callable[[Patient], Iterator[Finding]]
    vital: bool = False


def examine(patient: Patient, tables: Sequence[Sequence[Check]]) -> Iterator[Finding]:
    """Carry out the checks, one after the other."""
    for table in tables:
        for check in table:
            found = carried_out(check, patient)
            yield from found
            if check.vital and any(finding.grade is Grade.FAIL for finding in found):
                break


def carried_out(check: Check, patient: Patient, limit_s: float = LIMIT_S) -> list[Finding]:
    """Carry out one check; that it is refused something, or takes too long, is what it found."""
    coming = in_background(lambda: list(check.ask(patient)))
    try:
        found: list[Finding] = coming.result(timeout=limit_s)
    except TimeoutError:
        return [fail(check.name, f"no answer within {limit_s:g} s", "something hangs: a file system, or a program")]
    except AutoexpError as error:
        return [fail(check.name, f"{error.what}: {error.why}", error.fix)]
    except OSError as error:
        return [fail(check.name, str(error), "see to it, and ask again")]
    return found
