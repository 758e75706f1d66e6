"""Carrying out actions: each becomes an effect on the world, and what came of it an outcome event.

Every effect is safe to repeat, because after a crash a new watcher repeats what a job's state still owes.
"""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoexp import clock, executors, hooks, reactions, study_files
from autoexp.actions import Action, AnswerEvent, AppearJob, DropAhead, QueueAhead, StopJob, SubmitJob, WithdrawJob
from autoexp.effects import KEPT
from autoexp.errors import AutoexpError, HookRefused
from autoexp.events import Appeared, Ended, Event, SubmitRefused
from autoexp.executors import Executor
from autoexp.files import draft_of, read_record, sync_directory, write_json
from autoexp.jobfiles import DONE
from autoexp.journal import stamp
from autoexp.model import EndingClass, Job, JobSpec
from autoexp.orders import Order
from autoexp.probe import attempt_dir, claim
from autoexp.registry import Ledger


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action came to: an event for a job, which may be a new one."""

    event: Event
    job: str
    spec: JobSpec | None = None
    """The job that appeared."""


@dataclass(slots=True)
class Executors:
    """The executors in use, one a machine."""

    opened: dict[str, Executor] = field(default_factory=dict)

    def of(self, ledger: Ledger) -> Executor:
        """Return the executor of a study's machine."""
        machine = ledger.study.machine
        if machine.name not in self.opened:
            self.opened[machine.name] = executors.open_executor(machine)
        return self.opened[machine.name]


def order_of(job: Job, ledger: Ledger) -> Order:
    """Describe a job's newest attempt as its executor knows it."""
    folder = ledger.dir_of(job.id)
    names = {
        "AUTOEXP_ROOT": ledger.root,
        "AUTOEXP_STUDY": ledger.study.name,
        "AUTOEXP_JOB": job.id,
        "AUTOEXP_ATTEMPT": str(job.attempt),
        "AUTOEXP_DIR": str(folder),
        "AUTOEXP_TOKEN": job.token or "",
    }
    return Order(
        token=job.token or "",
        attempt=job.attempt,
        job_dir=folder,
        attempt_dir=attempt_dir(folder, job.attempt),
        resources=job.spec.resources,
        environment=names,
        scheduler_id=job.scheduler_id,
        priority=job.spec.priority,
        excluded=ledger.avoided(clock.now()),
        script=f"attempts/{job.attempt:03d}/run.sh" if job.reduced else "run.sh",
    )


def carry_out(action: Action, ledger: Ledger, executor: Executor, at: float) -> Iterator[Outcome]:
    """Do what an action says; yield what came of it. What speaks of an older attempt is left undone."""
    if isinstance(action, AppearJob):
        yield _appear(action, ledger, at)
    elif isinstance(action, AnswerEvent):
        yield from (Outcome(event, action.job) for event in reactions.answer(action, ledger, at))
    elif action.attempt == ledger.jobs[action.job].attempt:
        yield from _carry_out(action, ledger.jobs[action.job], ledger, executor, at)


def _carry_out(
    action: SubmitJob | WithdrawJob | StopJob | QueueAhead | DropAhead,
    job: Job,
    ledger: Ledger,
    executor: Executor,
    at: float,
) -> Iterator[Outcome]:
    match action:
        case SubmitJob():
            if (event := _submit(job, ledger, executor, at)) is not None:
                yield Outcome(event, job.id)
        case WithdrawJob():
            if executor.withdraw(order_of(job, ledger)):
                yield Outcome(_taken_back(job, at), job.id)
        case QueueAhead():
            _queue_ahead(job, ledger, executor, at)
        case DropAhead():
            order = order_of(_numbered(job, action.ahead), ledger)
            executor.withdraw(order)
            executor.forget(order)  # it may have begun just before
        case StopJob():
            machine = ledger.study.machine
            executor.stop(order_of(job, ledger), machine.save_grace_s if action.save else machine.stop_grace_s)


def _appear(action: AppearJob, ledger: Ledger, at: float) -> Outcome:
    batch = action.iterations
    spec = ledger.appear(action.template, action.parent, action.iteration, batch)
    if not ledger.is_written_down(spec):
        study_files.add_appeared(ledger.study, [spec])
    event = Appeared(at=at, parent=action.parent, iteration=action.iteration, iterations=batch)
    return Outcome(event, spec.id, spec)


def _submit(job: Job, ledger: Ledger, executor: Executor, at: float) -> Event | None:
    """Write the intent, prepare, and give the attempt to its executor, which may tell later what came of it."""
    order = order_of(job, ledger)
    try:
        _intend(job, order, at)
        if order.submission.exists() or claim(order.attempt_dir, order.token):  # prepared, and in use by now
            _point_current_log(order)
            return executor.submit(order, at)
        _start_over(job, order)
        for call in job.spec.prepare:
            hooks.prepare(call, order.job_dir)
        if job.reduced:
            study_files.write_scripts(ledger.study, ledger.reduced(job), order.attempt_dir)
        _point_current_log(order)
    except HookRefused as refusal:
        return _refused(job, refusal, at, temporary=refusal.temporary)
    except AutoexpError as error:
        return _refused(job, error, at, temporary=False)
    except OSError as error:
        problem = AutoexpError("its directory cannot be written", why=str(error), fix="see to the file system")
        return _refused(job, problem, at, temporary=True)
    return executor.submit(order, at)


def _numbered(job: Job, attempt: int) -> Job:
    """Return a job as it would stand with another attempt."""
    token = f"{job.id}.{attempt}.{job.spec.key}"
    return replace(job, attempt=attempt, token=token, scheduler_id=None)


def _queue_ahead(job: Job, ledger: Ledger, executor: Executor, at: float) -> None:
    """Submit the next attempt behind the current one; if that cannot be, it is submitted in its turn."""
    following = _numbered(job, job.attempt + 1)
    order = order_of(following, ledger)
    names = {**order.environment, "AUTOEXP_AFTER": str(job.attempt)}
    order = replace(order, environment=names, after=job.scheduler_id or "")
    if not order.after:
        return
    fits = ledger.budget.grant_ahead(job)
    if not order.submission.exists():
        if not fits:
            return
        _intend(following, order, at, after=job.attempt)
        if job.reduced:
            study_files.write_scripts(ledger.study, ledger.reduced(job), order.attempt_dir)
    executor.submit(order, at)


def _start_over(job: Job, order: Order) -> None:
    """Forget what a batch had done before a restart; what the attempt itself has done meanwhile counts."""
    for mark in (order.job_dir / DONE).glob("iter_*") if job.afresh == job.attempt else ():
        if mark.read_bytes().strip() != str(job.attempt).encode():
            mark.unlink()


def _refused(job: Job, error: AutoexpError, at: float, *, temporary: bool) -> SubmitRefused:
    reason = f"{error.what}: {error.why}"
    return SubmitRefused(at=at, attempt=job.attempt, reason=reason, fix=error.fix, temporary=temporary)


def _taken_back(job: Job, at: float) -> Ended:
    reason = "taken back before it began"
    return Ended(at=at, attempt=job.attempt, ending=EndingClass.CANCELLED, reason=reason)


def _intend(job: Job, order: Order, at: float, after: int = 0) -> None:
    """Write intent.json before anything is submitted; an attempt that somebody else began is never overwritten.

    `after` is the attempt that it waits for. What else is kept there is for `readback`.
    """
    path = order.attempt_dir / "intent.json"
    if not (order.job_dir / "run.sh").exists():
        raise FileNotFoundError(f"{order.job_dir / 'run.sh'} is gone")
    order.attempt_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        mine = {"job": job.id, "attempt": job.attempt, "at": stamp(at), "pid": os.getpid()}
        kept = {name: value for name in KEPT if (value := getattr(job, name)) or name == "spent"}
        write_json(path, {"v": 1, "token": job.token, **mine, **({"after": after} if after else {}), "kept": kept})
        for folder in (order.attempt_dir.parent, order.job_dir):
            sync_directory(folder)
    known = (read_record(path, {"token": str}) or {}).get("token")
    if known != job.token:
        retry = f"autoexp mark {shlex.quote(str(order.job_dir))} retry"
        raise AutoexpError(
            f"attempt {job.attempt} already exists on disk",
            why=f"{path} is of {known or 'an unreadable intent'}, which the journal does not know",
            fix=f"look into {order.attempt_dir}; move it away, then: {retry}",
        )


def _point_current_log(order: Order) -> None:
    """Let current.log name the newest attempt's log."""
    link = order.job_dir / "current.log"
    draft = draft_of(link)
    draft.unlink(missing_ok=True)
    draft.symlink_to(Path("attempts") / order.attempt_dir.name / "output.log")
    draft.replace(link)
