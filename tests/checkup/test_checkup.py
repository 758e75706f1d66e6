import time
from collections.abc import Callable, Iterator
from pathlib import Path

from autoexp.checkup import Check, Finding, Patient, carried_out, examine, fail, ok, warn
from autoexp.errors import AutoexpError
from autoexp.machine import Machine

PATIENT = Patient(machine=Machine(name="m"), root=Path("/nowhere"))


def check(name: str, *findings: Finding, vital: bool = False) -> Check:
    return Check(name, lambda _: iter(findings), vital=vital)


def raising(error: Exception) -> Callable[[Patient], Iterator[Finding]]:
    def ask(_: Patient) -> Iterator[Finding]:
        yield ok("before", "seen")
        raise error

    return ask


def test_a_line_has_its_grade_what_why_and_the_fix_if_there_is_one() -> None:
    assert ok("root", "/e").line() == "ok    root: /e"
    assert warn("cron", "no line", "add one").line() == "warn  cron: no line; add one"
    assert fail("var", "read-only", "choose another").line() == "FAIL  var: read-only; choose another"


def test_after_a_vital_check_failed_the_rest_of_its_table_is_not_asked() -> None:
    tables = (
        (check("a", fail("a", "", ""), vital=True), check("b", ok("b", ""))),
        (check("c", warn("c", "", ""), vital=True), check("d", fail("d", "", "")), check("e", ok("e", ""))),
    )

    assert [finding.what for finding in examine(PATIENT, tables)] == ["a", "c", "d", "e"]


def test_what_a_check_is_refused_is_what_it_found() -> None:
    wrong = AutoexpError("it is broken", why="it fell", fix="mend it")

    assert carried_out(Check("x", raising(wrong)), PATIENT) == [fail("x", "it is broken: it fell", "mend it")]
    assert carried_out(Check("x", raising(PermissionError(13, "no", "/e"))), PATIENT) == [
        fail("x", "[Errno 13] no: '/e'", "see to it, and ask again")
    ]


def test_a_check_that_hangs_is_left_to_itself_and_fails() -> None:
    def hang(_: Patient) -> Iterator[Finding]:
        time.sleep(3600)
        yield ok("never", "")

    (found,) = carried_out(Check("disk", hang), PATIENT, limit_s=0.1)

    assert found.line().startswith("FAIL  disk: no answer within 0.1 s")
