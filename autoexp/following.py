"""A view that is kept up to date: only what the journal and a few small files have said since is read.

A root that has changed otherwise (a study planned, moved or gone, another journal) is read anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp import lease, studies
from autoexp.fold import fold
from autoexp.history import History
from autoexp.journal import to_transition
from autoexp.model import Job, JobSpec, State
from autoexp.recall import folder_of
from autoexp.registry import Key, Ledger, stamp_of
from autoexp.segments import segment_files
from autoexp.view import View, view, watcher_of

Stamp = tuple[int, ...]
"""What of a file's status changes with its contents; empty without one."""
IDLE = (State.WAITING, State.BACKOFF)


@dataclass(slots=True)
class Following:
    """A root as it stands, read when this is made.

    Raises:
        AutoexpError: its journal is damaged.
    """

    root: Path
    var: str | None = None
    view: View = field(init=False)
    _plans: Mapping[Path, Stamp] = field(init=False)
    _journal: Mapping[Path, Stamp] = field(init=False)
    _told: tuple[object, ...] = field(init=False)
    _appeared: dict[str, int] = field(init=False)
    """How much of a study's appeared.jsonl was read since, in bytes."""
    _specs: dict[Key, JobSpec] = field(init=False)
    """Jobs that have appeared since, and are not born yet."""

    def __post_init__(self) -> None:
        self._anew()

    def look(self) -> set[Key] | None:
        """Take over what has changed; return the jobs that may look different now, None if all may.

        Raises:
            AutoexpError: the journal is damaged, or the root cannot be read.
        """
        if self._plans != _plans(self.root) or self.view.var != lease.var_of(self.root, self.var):
            self._anew()
            return None
        changed: set[Key] = set()
        journal = _segments(self.view.var)
        if journal != self._journal:
            history = History(folder_of(self.view.var), self.view.place)
            if self.view.place is None or not history.fits():
                self._anew()
                return None
            for record in history.records():
                if (key := self._take(record)) is not None:
                    changed.add(key)
            self.view.place, self._journal = history.mark or self.view.place, journal
        told = _told(self.view)
        if told != self._told:
            changed |= self._look_up()
            self._told = told
        return {key for one in changed for key in self._affected(one)}

    def _anew(self) -> None:
        """Read all of it; what comes meanwhile is read at the next look, for how things stood is noted before."""
        self._plans, self._journal = _plans(self.root), _segments(lease.var_of(self.root, self.var))
        self.view = view(self.root, self.var)
        self._told = _told(self.view)
        self._appeared, self._specs = {}, {}

    def _take(self, record: Mapping[str, Any]) -> Key | None:
        """Take a move over; None if it is of no job here."""
        ledger = self.view.registry.ledgers.get(record["study"])
        move = to_transition(record)
        known = self._job(ledger, move.job, born=move.source is None) if ledger else None
        if ledger is None or known is None:
            return None
        ledger.put(fold(known, move))
        return Key(move.study, move.job)

    def _job(self, ledger: Ledger, name: str, *, born: bool) -> Job | None:
        if (job := ledger.jobs.get(name)) is not None:
            return Job(spec=job.spec) if born else job
        spec = self._spec(ledger, name)
        return None if spec is None else Job(spec=ledger.with_children(spec))

    def _spec(self, ledger: Ledger, name: str) -> JobSpec | None:
        """Find a job that was not there when the root was read."""
        key = Key(ledger.study.name, name)
        if key not in self._specs:
            folder, read = ledger.study.dir, self._appeared.get(key.study, 0)
            for spec, end in studies.appeared_after(folder, read):
                if spec.id not in ledger.jobs:
                    self._specs[Key(key.study, spec.id)] = spec
                self._appeared[key.study] = end
        return self._specs.pop(key, None)

    def _look_up(self) -> set[Key]:
        """Read the small files again; return the running jobs that are told of otherwise."""
        before = self.view.progress.get("jobs", {})
        self.view.look_up()
        after = self.view.progress.get("jobs", {})
        names = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        keys = (Key(*name.split("/", 1)) for name in names if "/" in name)
        ledgers = self.view.registry.ledgers
        return {key for key in keys if key.study in ledgers and key.job in ledgers[key.study].jobs}

    def _affected(self, key: Key) -> Iterator[Key]:
        """Name a job, and those whose reasons speak of it or of the budget they share."""
        ledger = self.view.registry.ledgers[key.study]
        yield key
        yield from (Key(key.study, name) for name in ledger.touched_by(ledger.jobs[key.job]))
        if ledger.budget.limit is not None:
            yield from (Key(key.study, job.id) for job in ledger.jobs.values() if job.state in IDLE)


def _plans(root: Path) -> dict[Path, Stamp]:
    return {folder: stamp_of(folder) for folder in studies.folders_in(root)}


def _segments(var: Path) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in segment_files(folder_of(var)).values()}


def _told(seen: View) -> tuple[object, ...]:
    """Say which progress.json there is, and who watches."""
    watched, silence = watcher_of(seen.root)
    who = (watched["pid"], watched["host"], watched["since"]) if watched else None
    return _stamp(seen.var / "progress.json"), who, silence


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
