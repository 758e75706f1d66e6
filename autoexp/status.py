"""Jobs as rows, for people and for programs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoexp.model import Job, State

ORDER = (
    *(State.FAILED, State.STALLED, State.HELD, State.BACKOFF, State.STOPPING, State.RUNNING, State.GATING),
    *(State.QUEUED, State.SUBMITTING, State.WAITING, State.SKIPPED, State.CANCELLED, State.SUCCEEDED),
)
"""What needs a person first, what is done last."""
COLORS: Mapping[State, str] = {
    **dict.fromkeys((State.FAILED, State.STALLED), "31"),
    **dict.fromkeys((State.HELD, State.BACKOFF, State.STOPPING, State.SKIPPED, State.CANCELLED), "33"),
    **dict.fromkeys((State.RUNNING, State.GATING), "36"),
    State.SUCCEEDED: "32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job's line."""

    job: str
    stage: str
    state: State
    reason: str
    attempt: int
    iteration: int | None
    since: str | None
    """When it came into its state, as the journal spells times; None before its birth."""
    scheduler_id: str | None
    iterations: tuple[int, ...] = ()
    """Those of the batch it stands for."""
    progress: str = ""
    age_s: float | None = None


def row(job: Job, training: Mapping[str, Any], reason: str, now: float, since: str | None) -> Row:
    """Describe a job; `training` is what progress.json says of it."""
    iteration = training.get("iteration") or job.iteration or job.spec.iteration
    return Row(
        job=job.id,
        stage=job.spec.stage,
        state=job.state or State.WAITING,
        reason=reason,
        attempt=job.attempt,
        iteration=iteration,
        since=since,
        scheduler_id=job.scheduler_id,
        iterations=job.spec.iterations,
        progress=progress_of(job, training),
        age_s=None if since is None else max(now - job.since, 0.0),
    )


def progress_of(job: Job, training: Mapping[str, Any]) -> str:
    """Say how far a job has come: its iteration and loss, or its newest checkpoint; or which ones it stands for."""
    if "iteration" in training:
        total, loss = training.get("train_iters"), training.get("loss")
        return f"{training['iteration']}/{total}" + (f" loss {loss:.3f}" if loss is not None else "")
    if job.spec.iterations:
        first, *others = job.spec.iterations
        return f"{1 + len(others)} iterations, {first} to {others[-1]}" if others else f"iteration {first}"
    return f"checkpoint {job.iteration}" if job.checkpoints else ""


def as_json(row: Row) -> dict[str, Any]:
    """The fields that programs rely on."""
    return {
        "job": row.job,
        "stage": row.stage,
        "state": row.state,
        "reason": row.reason,
        "attempt": row.attempt,
        "iteration": row.iteration,
        "since": row.since,
        "scheduler_id": row.scheduler_id,
        **({"iterations": list(row.iterations)} if row.iterations else {}),
    }


def sort(rows: Iterable[Row]) -> list[Row]:
    """Put what needs a person first."""
    return sorted(rows, key=lambda row: (ORDER.index(row.state), row.job))


def lines(rows: Sequence[Row], *, colors: bool) -> list[str]:
    """Lay rows out in columns, one line a job."""
    if not rows:
        return []
    cells = [(row.state, row.job, row.progress, age(row.age_s), row.reason) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    laid_out = []
    for state, *middle, reason in cells:
        padded = (text.ljust(width) for text, width in zip(middle, widths[1:], strict=True))
        laid_out.append("  ".join((_colored(state, widths[0], colors=colors), *padded, reason)).rstrip())
    return laid_out


def _colored(state: State, width: int, *, colors: bool) -> str:
    code = COLORS.get(state)
    text = state.ljust(width)
    return f"\x1b[{code}m{text}\x1b[0m" if colors and code else text


def age(seconds: float | None) -> str:
    """Spell a duration in its two largest units."""
    if seconds is None:
        return ""
    whole = int(seconds)
    units = (("d", whole // 86400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60))
    shown = [f"{count}{unit}" for unit, count in units if count]
    return "".join(shown[:2]) or "0s"


def counts(rows: Iterable[Row]) -> dict[State, int]:
    """Count jobs by state, in the order of `ORDER`."""
    found = [row.state for row in rows]
    return {state: found.count(state) for state in ORDER if state in found}


def summary(rows: Sequence[Row]) -> str:
    """Say in one line how many jobs are in which state."""
    return ", ".join(f"{count} {state}" for state, count in counts(rows).items()) or "no jobs"
