"""When each attempt of a study was submitted, began and ended: what its timeline draws. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from autoexp.journal import unstamp
from autoexp.model import ACTIVE
from autoexp.page.jobs import note
from autoexp.registry import Ledger

Run = tuple[float, float | None, float | None, str]
"""When it was submitted, began and ended, in seconds since the epoch, and how it ended; None if it has not yet."""


def timeline(ledger: Ledger, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the jobs of a study that had attempts, by stage and then as they were first submitted.

    `records` are those of the journal, of other studies too.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in records:
        if record["study"] == ledger.study.name and record["job"] in ledger.jobs:
            note(found.setdefault(record["job"], {}), record)
    rows = [_row(ledger, job, list(runs.values())) for job, runs in found.items() if runs]
    stages = list(dict.fromkeys(job.stage for job in (*ledger.study.plan.jobs, *ledger.study.plan.previews)))
    place = {stage: number for number, stage in enumerate(stages)}
    return sorted(rows, key=lambda row: (place.get(row["stage"], len(place)), row["runs"][0][0], row["job"]))


def _row(ledger: Ledger, name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    job = ledger.jobs[name]
    is_open = [job.state in ACTIVE and run["attempt"] == job.attempt for run in runs]
    drawn = [_run(run, is_open=each) for run, each in zip(runs, is_open, strict=True)]
    return {"job": name, "stage": job.spec.stage, "runs": drawn}


def _run(run: Mapping[str, Any], *, is_open: bool) -> Run:
    """Return an attempt's times; one that was taken back ended when the journal last spoke of it."""
    ended = run.get("ended") or (None if is_open else run["last"])
    began = run.get("began")
    return (
        unstamp(run["submitted"]),
        None if began is None else unstamp(began),
        None if ended is None else unstamp(ended),
        str(run.get("ending") or ("" if is_open else "taken_back")),
    )
