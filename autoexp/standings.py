"""Where every job stands by the journal alone: its lines folded without the plans of the studies they speak of.

A study may be away for a while, or be deleted and planned anew under its old name; only its plan can say which, by
its key. So what each study's moves come to is kept for the key of its last attempt, and beside that for any other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.model import Verb

REQUESTS = frozenset(verb.trigger for verb in Verb)
Obeyed = tuple[tuple[str, str], int, int]
"""A marker that was obeyed: by which study's job, and the marker's inode and time of change."""


@dataclass(slots=True)
class Standing:
    """Where one job stands: what its moves have set, as they spell it."""

    state: str = ""
    attempt: int = 0
    since: str = ""
    """When it came into its state."""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Course:
    """What the moves of one study come to."""

    key: str | None = None
    """The study's own mark in its last token; None before the first."""
    jobs: dict[str, Standing] = field(default_factory=dict)
    """Where its jobs stand, from the last token of another study of its name on."""
    fresh: dict[str, Standing] = field(default_factory=dict)
    """Those of them that were born after the last token: all there is of a study with another key."""

    def of(self, key: str) -> Mapping[str, Standing]:
        """Where the jobs of the study with this key stand."""
        return self.jobs if self.key in (None, key) else self.fresh

    def take(
        self, job: str, attempt: int, source: str | None, target: str, *, at: str, changes: Mapping[str, Any]
    ) -> None:
        """Take a move over. `fold.fold` does the same to a job."""
        token = changes.get("token") if changes else None
        if token is not None:
            self._tell_key(token)
        if source is None:
            self.jobs[job] = standing = Standing()
            if token is None:
                self.fresh[job] = standing
        elif (found := self.jobs.get(job)) is not None:
            standing = found
        else:
            return
        standing.state, standing.attempt = target, attempt
        if source != target:
            standing.since = at
        if changes:
            standing.fields.update(changes)

    def _tell_key(self, token: str) -> None:
        key = token.rpartition(".")[2]
        if self.key not in (None, key):
            self.jobs = self.fresh
        self.key, self.fresh = key, {}


@dataclass(slots=True)
class Standings:
    """What the whole journal comes to."""

    studies: dict[str, Course] = field(default_factory=dict)
    obeyed: set[Obeyed] = field(default_factory=set)

    def of(self, study: str) -> Course:
        """What the moves of a study come to."""
        course = self.studies.get(study)
        if course is None:
            course = self.studies[study] = Course()
        return course

    def count(self) -> int:
        """Count the jobs."""
        return sum(len(course.jobs) for course in self.studies.values())

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one of the journal's records over."""
        if record["trigger"] in REQUESTS:
            evidence = record["evidence"]
            who = (record["study"], record["job"])
            self.obeyed.add((who, evidence.get("inode", 0), evidence.get("ctime_ns", 0)))
        course = self.of(record["study"])
        course.take(
            record["job"], record["attempt"], record["from"], record["to"], at=record["at"], changes=record["set"]
        )


def to_data(standings: Standings) -> dict[str, Any]:
    """Lay standings out for JSON."""
    obeyed: dict[str, dict[str, list[list[int]]]] = {}
    for (study, job), inode, ctime_ns in sorted(standings.obeyed):
        obeyed.setdefault(study, {}).setdefault(job, []).append([inode, ctime_ns])
    return {"studies": {name: _course_data(course) for name, course in standings.studies.items()}, "obeyed": obeyed}


def from_data(data: Mapping[str, Any]) -> Standings:
    """Read standings back."""
    studies = {name: _course(course) for name, course in data["studies"].items()}
    return Standings(studies, set(_obeyed(data["obeyed"])))


def _course_data(course: Course) -> dict[str, Any]:
    jobs = {name: [job.state, job.attempt, job.since, job.fields] for name, job in course.jobs.items()}
    return {"key": course.key, "jobs": jobs, "fresh": list(course.fresh)}


def _course(data: Mapping[str, Any]) -> Course:
    jobs = {name: Standing(*job) for name, job in data["jobs"].items()}
    return Course(data["key"], jobs, {name: jobs[name] for name in data["fresh"]})


def _obeyed(data: Mapping[str, Any]) -> Iterator[Obeyed]:
    for study, jobs in data.items():
        for job, markers in jobs.items():
            yield from (((study, job), inode, ctime_ns) for inode, ctime_ns in markers)
