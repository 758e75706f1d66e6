"""Markers on their way: collected from disk, turned into requests, and answered once it is known what came of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp import markers
from autoexp.events import Event, Requested
from autoexp.lifecycle import Decision
from autoexp.markers import Marker
from autoexp.model import OVER, Verb
from autoexp.registry import Key, Ledger
from autoexp.standings import Obeyed


@dataclass(slots=True)
class Letter:
    """A marker whose answer is being made up."""

    marker: Marker
    for_study: bool
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Mailroom:
    """The markers that were collected and not answered yet, and those that the journal says were obeyed."""

    obeyed: set[Obeyed] = field(default_factory=set)
    problems: dict[str, str | None] = field(default_factory=dict)
    """Folders whose markers could not be answered, and why; None once they could be."""
    _open: dict[Path, Letter] = field(default_factory=dict)
    _asking: defaultdict[tuple[int | None, int | None], list[Letter]] = field(default_factory=lambda: defaultdict(list))
    """The open ones by their identity, which hard links of a marker share."""

    def collect(self, ledger: Ledger, key: Key, now: float, new: Iterable[str] = ()) -> Iterator[tuple[Key, Event]]:
        """Read the markers of a job, or (without a job's name) of a study for each of its jobs.

        `new` are jobs whose birth is on its way. What the recipe dropped and is over is none of the study's jobs.
        """
        folder = ledger.dir_of(key.job) if key.job else ledger.study.dir
        for marker in markers.scan(folder / "markers"):
            if marker.path in self._open or markers.finish(marker):
                continue
            self._open[marker.path] = letter = Letter(marker, for_study=not key.job)
            self._asking[marker.identity].append(letter)
            names = [key.job] if key.job else [*_jobs_of(ledger), *new]
            for name in names if marker.verb is not None else ():
                who = Key(key.study, name)
                if (who, *marker.identity) in self.obeyed:
                    letter.taken[name] = {"note": "obeyed before"}
                    continue
                yield who, Requested(at=now, verb=_verb(marker), reason=marker.reason, **_identity(marker))

    def decided(self, key: Key, event: Event, decision: Decision) -> None:
        """Note what came of a request."""
        if not isinstance(event, Requested):
            return
        if decision.transition is not None:
            self.obeyed.add((key, event.inode, event.ctime_ns))
        for letter in self._asking.get((event.inode, event.ctime_ns), ()):
            if decision.transition is None:
                letter.refused[key.job] = decision.refusal or "it changes nothing"
            else:
                move = decision.transition
                letter.taken[key.job] = {"from": move.source, "to": move.target, "attempt": move.attempt}

    def answer(self, at: float) -> Iterator[Path]:
        """Answer every marker that was collected, one at a time: its requests have been journaled, or refused."""
        letters, self._open = list(self._open.values()), {}
        self._asking.clear()
        for letter in letters:
            yield letter.marker.path
            folder = str(letter.marker.path.parent)
            try:
                markers.answer(letter.marker, *_answer(letter), at)
            except OSError as error:
                self.problems[folder] = f"its markers cannot be answered: {error}"
            else:
                self.problems.update({folder: None} if folder in self.problems else {})


def _jobs_of(ledger: Ledger) -> Iterator[str]:
    return (job.id for job in ledger.jobs.values() if not (job.retired and job.state in OVER))


def _answer(letter: Letter) -> tuple[str, dict[str, Any]]:
    """Choose the folder and the content of an answer."""
    marker = letter.marker
    if marker.problem:
        return markers.REFUSED, _refusal(marker.problem)
    if letter.for_study:
        verdict = markers.TAKEN if letter.taken else markers.REFUSED
        return verdict, {"verb": marker.verb, "taken": letter.taken, "refused": letter.refused}
    if letter.taken:
        return markers.TAKEN, {"verb": marker.verb, **next(iter(letter.taken.values()))}
    return markers.REFUSED, _refusal("; ".join(letter.refused.values()))


def _verb(marker: Marker) -> Verb:
    if marker.verb is None:
        raise ValueError(f"{marker.path} has no verb")
    return marker.verb


def _identity(marker: Marker) -> dict[str, Any]:
    return {"inode": marker.inode, "ctime_ns": marker.ctime_ns}


def _refusal(reason: str) -> dict[str, Any]:
    return {"refused": reason, "verbs": [str(verb) for verb in Verb]}
