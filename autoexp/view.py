"""A root as others may read it at any time: the studies' plans, the journal folded over them, and who watches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp import clock, lease, studies
from autoexp.errors import AutoexpError
from autoexp.files import read_json
from autoexp.history import History
from autoexp.journal import Mark, naming, unstamp
from autoexp.model import Job, State
from autoexp.recall import folder_of, recall, undisturbed
from autoexp.registry import Ledger, Registry
from autoexp.standings import Standings


@dataclass(slots=True)
class View:
    """What can be known of a root without being its watcher."""

    root: Path
    var: Path
    registry: Registry
    watcher: Mapping[str, Any] | None
    progress: Mapping[str, Any]
    until: float | None = None
    """What came later is left out."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Studies that cannot be read, and why."""
    place: Mark | None = None
    """Up to where the journal was read; None if it was not read on from snapshot.json."""
    _reached: dict[str, dict[str, int]] = field(default_factory=dict)
    """What `iterations` found, for it is asked for each job."""

    @property
    def problems(self) -> dict[str, str]:
        """What cannot be read, and what the watcher, or the last one, could not do."""
        return {**self.progress.get("problems", {}), **self.unreadable}

    def records(self, study: str = "", job: str = "") -> Iterator[dict[str, Any]]:
        """Read the journal's records, or a study's, or one job's."""
        for record in _records(self.var, self.until, naming(study, job)):
            if not study or (record["study"] == study and (not job or record["job"] == job)):
                yield record

    def ledgers(self) -> list[Ledger]:
        """The studies, by name."""
        return [self.registry.ledgers[name] for name in sorted(self.registry.ledgers)]

    def training(self, study: str, job: str) -> Mapping[str, Any]:
        """How far a job's running attempt has come."""
        told = self.progress.get("jobs", {}).get(f"{study}/{job}")
        return told if isinstance(told, Mapping) else {}

    def look_up(self) -> None:
        """Read who watches, and what progress.json says."""
        self.watcher, silence = watcher_of(self.root)
        self.unreadable.pop("watcher", None)
        if silence is not None:
            self.unreadable["watcher"] = silence
        self._reached = {}
        told = read_json(self.var / "progress.json") or {}
        self.progress = told if self.watcher else {"problems": told.get("problems", {})}

    def iterations(self, study: str) -> dict[str, int]:
        """The iteration each running job of a study has reached."""
        if study not in self._reached:
            names = (name.partition("/") for name in self.progress.get("jobs", {}))
            reached = {job: self.training(study, job).get("iteration") for of, _, job in names if of == study}
            known = {name: iteration for name, iteration in reached.items() if isinstance(iteration, int)}
            self._reached[study] = known
        return self._reached[study]


def view(root: Path, var: str | None = None, *, until: float | None = None, whole: bool = False) -> View:
    """Read a root; planned jobs that no watcher has met yet are waiting.

    `until` leaves out what came later; `whole` reads all of the journal, whatever snapshot.json says.

    Raises:
        AutoexpError: the journal is damaged.
    """
    runtime = lease.var_of(root, var)
    registry, unreadable, place = Registry(root), dict[str, str](), None
    with undisturbed():
        if whole or until is not None:
            standings = _standings(runtime, until)
        else:
            recalled = recall(runtime)
            standings, place = recalled.standings, recalled.history.mark
        for folder in studies.all_in(root):  # after the journal: what it speaks of is there by now
            try:
                registry.load(folder)
            except (AutoexpError, OSError) as error:
                unreadable[folder.name] = str(error)
        registry.replay(standings)
    unreadable |= dict(registry.missing())
    for ledger in registry.ledgers.values():
        unmet = [spec for spec in ledger.study.plan.jobs if until is None and spec.id not in ledger.jobs]
        for spec in unmet:
            ledger.put(Job(spec=spec, state=State.WAITING))
        ran = sum((ledger.dir_of(spec.id) / "attempts").is_dir() for spec in unmet)
        if ran:
            what = f"{ran} of its jobs have run, and the journal does not know of it: they are shown as waiting"
            unreadable[ledger.study.name] = f"{what}; the next watcher finds that again on disk"
    seen = View(root, runtime, registry, None, {}, until, unreadable, place)
    seen.look_up()
    return seen


def watcher_of(root: Path) -> tuple[Mapping[str, Any] | None, str | None]:
    """Say who watches a root, and what is wrong with that."""
    watched = lease.holder(root)
    return watched, lease.silence(root, watched, clock.now()) if watched else None


def _records(var: Path, until: float | None, containing: bytes = b"") -> Iterator[dict[str, Any]]:
    for record in History(folder_of(var)).records(containing):
        if until is None or unstamp(record["at"]) <= until:
            yield record


def _standings(var: Path, until: float | None) -> Standings:
    standings = Standings()
    for record in _records(var, until):
        standings.take(record)
    return standings
