"""Rows of a view: every job's line, with the reason it has, or the reason its start conditions give."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from autoexp.asking import verdict
from autoexp.journal import stamp
from autoexp.model import Job, State
from autoexp.registry import Ledger
from autoexp.status import Row, row, sort
from autoexp.view import View

if TYPE_CHECKING:
    from autoexp.selection import Selection


def rows(view: View, study: str, where: "Selection | None" = None) -> list[Row]:
    """List a study's jobs, or those of a choice, what needs a person first.

    Raises:
        AutoexpError: the choice makes no sense for these jobs.
    """
    ledger = view.registry.ledgers[study]
    return sort(_rows(view, ledger, [job for job in ledger.jobs.values() if where is None or where.chooses(job)]))


def _rows(view: View, ledger: Ledger, jobs: Iterable[Job]) -> Iterator[Row]:
    return (row_of(view, ledger, job) for job in jobs if is_shown(job))


def is_shown(job: Job) -> bool:
    """Say whether a job has a line: one that the recipe dropped has none once it is gone."""
    return not (job.retired and job.state is State.CANCELLED)


def row_of(view: View, ledger: Ledger, job: Job) -> Row:
    """Make one job's line."""
    training = view.training(ledger.study.name, job.id)
    since = stamp(job.since) if job.since else None
    return row(job, training, reason(view, ledger, job), time.time(), since)


def reason(view: View, ledger: Ledger, job: Job) -> str:
    """Say why a job is in its state."""
    if job.state is State.WAITING:
        asked = verdict(job.spec.start, ledger, job, view.iterations(ledger.study.name))
        return (ledger.budget.shortage(job) if asked.holds else "") or asked.reason
    if job.state is State.BACKOFF and (short := ledger.budget.shortage(job)):
        return f"{job.reason}; {short}"
    if job.state is State.BACKOFF and job.wake_at is not None:
        return f"{job.reason}; next attempt in {max(job.wake_at - time.time(), 0):.0f}s"
    wish = f"{job.pending} was asked" if job.pending else ""
    training = view.training(ledger.study.name, job.id)
    said = training.get("scheduler") if job.state is State.QUEUED or training.get("waits") else None
    return "; ".join(dict.fromkeys(filter(None, (wish, said or job.reason))))
