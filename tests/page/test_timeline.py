from collections.abc import Callable
from typing import Any

from autoexp.journal import unstamp
from autoexp.model import Job, JobSpec, State
from autoexp.page.timeline import timeline
from autoexp.registry import Ledger
from tests.page.test_jobs import record


def of(job: str, *told: dict[str, Any], study: str = "") -> list[dict[str, Any]]:
    return [{**each, "study": study, "job": job} for each in told]


def drawn(ledger: Ledger, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return timeline(ledger, [{**each, "study": each["study"] or ledger.study.name} for each in records])


def at(second: int) -> float:
    return unstamp(f"2026-11-20T21:40:{second:02d}.000000Z")


def test_each_attempt_has_when_it_was_submitted_began_and_ended(
    make_spec: Callable[..., JobSpec], make_ledger: Callable[..., Ledger]
) -> None:
    ledger = make_ledger(Job(spec=make_spec("a"), state=State.RUNNING, attempt=2))
    records = of(
        "a",
        record("planned", 0, 0),
        record("conditions_met", 1, 1),
        record("started", 1, 2),
        record("ended", 1, 3, ending="time_limit"),
        record("backoff_elapsed", 2, 4),
    )

    (row,) = drawn(ledger, records)

    assert row["job"] == "a"
    assert row["runs"] == [(at(1), at(2), at(3), "time_limit"), (at(4), None, None, "")]


def test_an_attempt_that_was_taken_back_ended_when_the_journal_last_spoke_of_it(
    make_spec: Callable[..., JobSpec], make_ledger: Callable[..., Ledger]
) -> None:
    ledger = make_ledger(Job(spec=make_spec("a"), state=State.CANCELLED, attempt=1))

    (row,) = drawn(ledger, of("a", record("conditions_met", 1, 1), record("requested", 1, 5)))

    assert row["runs"] == [(at(1), None, at(5), "taken_back")]


def test_jobs_stand_by_stage_and_then_as_they_were_submitted_and_only_those_that_were(
    make_spec: Callable[..., JobSpec], make_ledger: Callable[..., Ledger]
) -> None:
    over = {"state": State.SUCCEEDED, "attempt": 1}
    jobs = [Job(spec=make_spec(name), **over) for name in ("b", "a", "never")]  # type: ignore[arg-type]
    ledger = make_ledger(*jobs)
    records = [
        *of("a", record("conditions_met", 1, 2)),
        *of("b", record("conditions_met", 1, 1)),
        *of("never", record("planned", 0, 0)),
        *of("a", record("conditions_met", 1, 0), study="another"),
        *of("gone", record("conditions_met", 1, 0)),
    ]

    assert [row["job"] for row in drawn(ledger, records)] == ["b", "a"]
