"""What the engine knows: the studies of a root, their jobs as they stand, and who waits for whom."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autoexp import batches, clock, conditions, studies
from autoexp.budget import Budget
from autoexp.codec import encode
from autoexp.conditions import Facts, Question
from autoexp.events import CheckpointsGathered
from autoexp.fold import folded
from autoexp.journal import unstamp
from autoexp.model import ACTIVE, Job, JobSpec, Template
from autoexp.standings import Course, Standings
from autoexp.studies import Study

if TYPE_CHECKING:
    from autoexp.plan import Planner


class Key(NamedTuple):
    """One job of one study."""

    study: str
    job: str


MOST_AVOIDED = 8
"""However many nodes are blamed: a program that is broken everywhere must not exclude a whole cluster."""


@dataclass(slots=True)
class Ledger:
    """One study and its jobs."""

    study: Study
    stamp: tuple[int, int] = (0, 0)
    """Which plan.json it was read from: inode and time of change."""
    appeared: tuple[JobSpec, ...] = ()
    """The jobs that appeared since planning, as they were written down."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """Every job that was born, by id."""
    children: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The jobs that appeared, by template."""
    parents: dict[str, str] = field(init=False)
    """What each template stands for."""
    waiters: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Who asks about a job or a template, in the order of their births: first planned, first submitted."""
    _made: dict[str, list[JobSpec]] = field(default_factory=lambda: defaultdict(list))
    """The jobs that appeared, as they were written down, by parent."""
    _by_id: dict[str, Template] = field(init=False)
    _templates: dict[str, list[Template]] = field(default_factory=lambda: defaultdict(list))
    """What stands for each job or template."""
    _avoided: dict[str, float] = field(default_factory=dict)
    """Nodes that endings were blamed on, and until when they are avoided."""
    planner: "Planner | None" = None
    """What plans the jobs that appear; read back from the study's recipe.yaml when it is first needed."""
    root: str = field(init=False)
    """The experiments folder."""
    _dirs: dict[str, Path] = field(default_factory=dict)
    half_done: dict[tuple[str, str, int], dict[int, str]] = field(default_factory=dict)
    """What was done already for events that something keeps from being answered: by job, event and number."""
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.root = str(self.study.root)
        self.budget = Budget(self.study.plan.gpu_hours)
        templates = self.study.plan.templates
        self.parents = {template.id: template.parent for template in templates}
        self._by_id = {template.id: template for template in templates}
        for template in templates:
            self._templates[template.parent].append(template)
        for spec in self.appeared:
            self._made[spec.parent or ""].append(spec)

    def with_children(self, spec: JobSpec) -> JobSpec:
        """Give a job the templates that stand for it by the present plan."""
        children = tuple(self._templates.get(spec.template or spec.id, ()))
        return spec if children == spec.children else replace(spec, children=children)

    def dir_of(self, job: str) -> Path:
        """A job's directory."""
        found = self._dirs.get(job)
        if found is None:
            found = self._dirs[job] = self.study.job_dir(job)
        return found

    def job_for(self, name: str, spec: JobSpec | None) -> Job:
        """Return a job as it stands, or one that is about to be born."""
        if name in self.jobs:
            return self.jobs[name]
        if spec is None:
            raise KeyError(f"nobody knows the job {name} of {self.study.name}")
        return Job(spec=self.with_children(spec))

    def put(self, job: Job) -> None:
        """Take over how a job stands now."""
        known = self.jobs.get(job.id)
        self.jobs[job.id] = job
        if known is None:
            self._index(job.spec)
        self._avoided.update(job.avoided)
        self.budget.note(job)

    def avoided(self, now: float) -> tuple[str, ...]:
        """List the nodes that nothing of this study is to run on; of many, the ones that were blamed last."""
        self._avoided = {node: until for node, until in self._avoided.items() if until > now}
        return tuple(sorted(sorted(self._avoided, key=self._avoided.__getitem__)[-MOST_AVOIDED:]))

    def replay(self, course: Course) -> None:
        """Take over what the journal says of this study.

        A study that was deleted and planned anew has another key, and begins anew.
        """
        specs = (*self.study.retired, *self.study.plan.jobs, *self.appeared)
        known = {spec.id: spec for spec in specs}
        for name, standing in course.of(self.study.key).items():
            if name in known:
                spec = self.with_children(known[name])
                since = unstamp(standing.since)
                self.put(folded(spec, standing.state, standing.attempt, since, standing.fields))

    def _index(self, spec: JobSpec) -> None:
        for condition in filter(None, (spec.start, spec.cancel, spec.finish)):
            for name in conditions.jobs_of(condition):
                self.waiters[name][spec.id] = None
        if spec.template is not None:
            self.children[spec.template] = (*self.children.get(spec.template, ()), spec.id)

    def touched_by(self, job: Job) -> Iterator[str]:
        """List the jobs whose conditions may answer otherwise now that this one has changed."""
        names = [job.id, *([job.spec.template] if job.spec.template else [])]
        while names:
            name = names.pop()
            yield from self.waiters.get(name, {})
            names += [template.id for template in self._templates.get(name, ())]

    def is_written_down(self, spec: JobSpec) -> bool:
        """Say whether an earlier watcher wrote down that this very job appeared, and was killed just then."""
        return any(known.id == spec.id and encode(known) == encode(spec) for known in self.appeared)

    def facts(self, job: Job, progress: Mapping[str, int], files: Mapping[Question, int]) -> Facts:
        """Gather what a job's conditions may know."""
        return Facts(
            job=job,
            jobs=self.jobs,
            children=self.children,
            parents=self.parents,
            progress=progress,
            files=files,
            now=clock.now(),
        )

    def gathered(self, job: Job, at: float) -> Iterator[CheckpointsGathered]:
        """Say which of a job's checkpoints belong together and have no job yet."""
        return batches.gathered(job, self.jobs, self._made.get(job.id, ()), at)

    def appear(self, template: str, parent: str, iteration: int | None, batch: tuple[int, ...] = ()) -> JobSpec:
        """Plan the job that a template brings about, from the recipe as it was planned.

        Raises:
            AutoexpError: the study's recipe.yaml is not the one that was planned, or has no value for the job.
        """
        return self._planned_again().appear(self._template(template), self.jobs[parent].spec, iteration, batch)

    def reduced(self, job: Job) -> JobSpec:
        """Plan a job again, with the values that its endings have led to.

        Raises:
            AutoexpError: the study's recipe.yaml is not the one that was planned, or has no value for the job.
        """
        spec, planner = job.spec, self._planned_again()
        if spec.template is None or spec.parent is None:
            return planner.again(spec, job.reduced)
        template = self._template(spec.template)
        changed = replace(template, point={**template.point, **job.reduced})
        iteration = spec.iteration if template.kind == "checkpoint" else None
        return planner.appear(changed, self.jobs[spec.parent].spec, iteration, spec.iterations)

    def _template(self, name: str) -> Template:
        return self._by_id[name]

    def _planned_again(self) -> "Planner":
        if self.planner is None:
            from autoexp.replanning import planner_of  # noqa: PLC0415 - OmegaConf is slow to load, and rarely needed

            self.planner = planner_of(self.study, (job.spec for job in self.jobs.values()))
        return self.planner


@dataclass(slots=True)
class Registry:
    """All studies of a root."""

    root: Path
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    _unclaimed: dict[str, Course] = field(default_factory=dict)
    """What the journal says of studies that are not, or not yet, here."""

    def job(self, key: Key) -> Job:
        """Return a job as it stands."""
        return self.ledgers[key.study].jobs[key.job]

    def all_jobs(self) -> Iterator[tuple[Key, Job]]:
        """List every job there is."""
        for name, ledger in self.ledgers.items():
            for job in ledger.jobs.values():
                yield Key(name, job.id), job

    def missing(self) -> Iterator[tuple[str, str]]:
        """Name the studies that are not here, though the journal has jobs of theirs that may still run."""
        for name, course in self._unclaimed.items():
            count = sum(standing.state in ACTIVE for standing in course.jobs.values())
            if count and not studies.exists(self.root / name):
                yield name, f"its plan.json is gone, and {count} of its jobs may still run; put it back, or end them"

    def load(self, folder: Path) -> Ledger:
        """Read a study, or read it again after it was planned anew; jobs keep their states.

        Raises:
            AutoexpError: its plan cannot be read.
        """
        stamp = stamp_of(folder)
        study = studies.load(folder)
        ledger = Ledger(study, stamp, tuple(studies.appeared(folder)))
        before = self.ledgers.get(folder.name)
        if before is None or before.study.key != study.key:
            ledger.replay(self._unclaimed.pop(folder.name, Course()))
        else:
            specs = {job.id: job for job in study.plan.jobs}
            for job in before.jobs.values():
                ledger.put(replace(job, spec=ledger.with_children(specs.get(job.id, job.spec))))
        self.ledgers[folder.name] = ledger
        return ledger

    def replay(self, standings: Standings) -> None:
        """Take over what the journal says; that of a study that cannot be read is kept until it can be."""
        courses = dict(standings.studies)
        for name, ledger in self.ledgers.items():
            ledger.replay(courses.pop(name, Course()))
        self._unclaimed = courses


def stamp_of(folder: Path) -> tuple[int, int]:
    """Say which plan.json a study has now; (0, 0) if it has none."""
    try:
        status = (folder / "plan.json").stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_ctime_ns
