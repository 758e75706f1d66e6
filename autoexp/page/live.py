"""What the page shows of all jobs, kept up to date; every change has a version, so that only what is new is sent."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from autoexp import clock, conditions, outlook, selection, status
from autoexp.errors import AutoexpError
from autoexp.following import Following
from autoexp.model import Job, State
from autoexp.registry import Key, Ledger, Registry
from autoexp.rows import is_shown, row_of
from autoexp.view import View

T = TypeVar("T")
ASKED_S = 1.0
"""How often jobs are asked about whose reason changes by itself, at most."""
AGAIN_S = 2.0
"""How long a root that cannot be read is left alone."""
SHARE = 50
"""Asking them takes at most one part in so many of our time."""
RECKONED_S = 5.0
"""How often it is reckoned when studies will be done, at most."""


@dataclass(slots=True)
class Live:
    """One root. It may be asked by several threads."""

    root: Path
    var: str | None = None
    may_mark: bool = False
    version: int = 0
    _lock: RLock = field(default_factory=RLock)
    _following: Following | None = None
    _head: dict[str, Any] = field(default_factory=dict)
    _rows: dict[Key, tuple[int, dict[str, Any] | None]] = field(default_factory=dict)
    """Every job's line with the version it came with; None once it is gone."""
    _restless: set[Key] = field(default_factory=set)
    """Jobs whose reason changes though nothing happens to them."""
    _done_at: dict[str, float | None] = field(default_factory=dict)
    """When each study will be done, by its pace."""
    _is_new: bool = True
    """Nothing of the root was taken over yet."""
    _ask_at: float = 0.0
    _again_at: float = 0.0
    _reckon_at: float = 0.0

    def look(self) -> int:
        """Take over what has changed, and return the version there is now; if nothing can be read, say why."""
        with self._lock:
            if time.monotonic() < self._again_at:
                return self.version
            try:
                self._look()
            except (AutoexpError, OSError) as error:
                self._following, self._again_at = None, time.monotonic() + AGAIN_S  # all of it is read then
                self._tell({**head_without(self.root), **self._head, "error": str(error)})
            return self.version

    def since(self, version: int) -> dict[str, Any]:
        """Return what is newer than a version: the head, and the lines that have changed or gone."""
        with self._lock:
            newer = {key: row for key, (at, row) in self._rows.items() if at > version}
            gone = [[*key] for key, row in newer.items() if row is None]
            rows = [row for row in newer.values() if row is not None]
            return {**self._head, "version": self.version, "now": time.time(), "rows": rows, "gone": gone}

    def view(self) -> View:
        """Return the root as it was last seen.

        Raises:
            AutoexpError: it cannot be read.
        """
        with self._lock:
            return self._followed().view

    def undisturbed(self, ask: Callable[[], T]) -> T:
        """Ask something while nothing changes what is known."""
        with self._lock:
            return ask()

    def chosen(self, text: str) -> list[list[str]]:
        """Name the jobs that an expression chooses, as `--where` does.

        Raises:
            AutoexpError: it makes no sense.
        """
        with self._lock:
            jobs, choice = dict(self._followed().view.registry.all_jobs()), selection.read(text)
            choice.check(jobs.values())
            return [[*key] for key, job in jobs.items() if choice.chooses(job)]

    def _followed(self) -> Following:
        if self._following is None:
            self._following, self._is_new = Following(self.root, self.var), True
        return self._following

    def _look(self) -> None:
        following = self._followed()
        changed = None if self._is_new else following.look()
        keys = {key for key, _ in following.view.registry.all_jobs()} if changed is None else changed
        now = time.monotonic()
        if is_due := now >= self._ask_at:
            keys |= self._restless
        known = self.version
        self._take(following.view, keys, is_whole=changed is None)
        self._is_new = False
        if is_due:
            self._ask_at = time.monotonic() + max(ASKED_S, SHARE * (time.monotonic() - now))
        if self.version > known and now >= self._reckon_at:
            self._reckon_at = now + RECKONED_S
            self._reckon()
        self._tell(head(following.view, may_mark=self.may_mark, done_at=self._done_at))

    def _take(self, seen: View, keys: Iterable[Key], *, is_whole: bool) -> None:
        """Compare the lines of jobs with what they were."""
        version = self.version + 1
        found = {key: line(seen, seen.registry.ledgers[key.study], seen.registry.job(key)) for key in keys}
        lost = [key for key in self._rows if key not in found] if is_whole else []
        for key, row in (*found.items(), *((key, None) for key in lost)):
            if row != self._rows.get(key, (0, None))[1]:
                self._rows[key] = (version, row)
                self.version = version
            if row is not None and is_restless(seen.registry.job(key)):
                self._restless.add(key)
            else:
                self._restless.discard(key)

    def _reckon(self) -> None:
        """Say anew when each study will be done."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for key, (_, row) in self._rows.items():
            if row is not None:
                rows.setdefault(key.study, []).append(row)
        self._done_at = {study: outlook.done_at(each, clock.now()) for study, each in rows.items()}

    def _tell(self, told: dict[str, Any]) -> None:
        if told != self._head:
            self._head = told
            self.version += 1


def is_restless(job: Job) -> bool:
    """Say whether a job's reason may change though nothing happens to it: it waits for a time, or for a file."""
    is_waiting = job.state is State.WAITING and conditions.changes_by_itself(job.spec.start)
    return is_waiting or job.state is State.BACKOFF


def line(seen: View, ledger: Ledger, job: Job) -> dict[str, Any] | None:
    """Say of a job what `status` does, and how much of its training is done; None if it has no line."""
    if not is_shown(job):
        return None
    row, training = row_of(seen, ledger, job), seen.training(ledger.study.name, job.id)
    said = {"study": ledger.study.name, **status.as_json(row), "progress": row.progress}
    ending = {"ending": str(job.ending)} if job.ending is not None else {}
    return {**said, **ending, **course(training)}


def course(training: Mapping[str, Any]) -> dict[str, Any]:
    """Say how much of a training is done, and how long the rest takes at its present speed."""
    done, total, pace = (training.get(name) for name in ("iteration", "train_iters", "seconds_per_iteration"))
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return {}
    left = {"left_s": round((total - done) * pace)} if isinstance(pace, int | float) and done <= total else {}
    return {"share": round(min(done / total, 1.0), 3), **left}


def head(seen: View, *, may_mark: bool, done_at: Mapping[str, float | None] | None = None) -> dict[str, Any]:
    """Say what is not of one job: who watches, what cannot be done, the studies, what they cost, when they are done."""
    watcher = {key: seen.watcher[key] for key in ("pid", "host", "since")} if seen.watcher else None
    return {
        "root": str(seen.root),
        "watcher": watcher,
        "observer": seen.progress.get("observer", ""),
        "problems": seen.problems,
        "may_mark": may_mark,
        "error": "",
        "order": [str(state) for state in status.ORDER],
        "studies": [study_head(ledger, (done_at or {}).get(ledger.study.name)) for ledger in seen.ledgers()],
    }


def head_without(root: Path) -> dict[str, Any]:
    """Say as much of a root that was never read as a page needs."""
    return head(View(root, root, Registry(root), None, {}), may_mark=False)


def study_head(ledger: Ledger, done_at: float | None) -> dict[str, Any]:
    """Say what is of a whole study; `done_at` is when it will be done, in seconds since the epoch."""
    stages = dict.fromkeys(job.stage for job in (*ledger.study.plan.jobs, *ledger.study.plan.previews))
    budget = ledger.budget
    told = budget.told() if budget.limit is not None else ""
    reckoned = None if done_at is None else round(done_at)
    return {
        "study": ledger.study.name,
        "stages": list(stages),
        "gpu_hours": budget.as_json(),
        "budget": told,
        "done_at": reckoned,
    }
