"""How long an attempt will take, and what it saves when: as far as the recipe tells, else as assumed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoexp.budget import HOUR_S
from autoexp.courses import Course, course_of
from autoexp.model import EndingClass, Job
from autoexp.status import age

UNTOLD_S = HOUR_S
"""How long a job takes of which nobody says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What an attempt is going to be."""

    lasts_s: float
    ending: EndingClass
    basis: str
    """Why it is thought to last so long."""
    saves: tuple[tuple[float, int], ...] = ()
    """Its checkpoints: seconds from its start, and iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What is assumed beside the recipe; by stage, or for all of them under an empty name."""

    steps_s: Mapping[str, float] = field(default_factory=dict)
    """How long an iteration of a training takes."""
    jobs_s: Mapping[str, float] = field(default_factory=dict)
    """How long all the work of a job takes."""

    def of(self, job: Job, *, all_saves: bool = True) -> Attempt:
        """Say what a job's newest attempt is going to be; without `all_saves` only its last checkpoint is listed."""
        course = course_of(job.spec)
        needed_s, basis = self._total(job, course)
        step_s, begin = 0.0, job.iteration
        if course is not None:
            begin = max(begin, course.origin)
            step_s = needed_s / max(course.last - course.origin, 1)
            needed_s = step_s * max(course.last - begin, 0)
        limit_s = job.spec.resources.walltime_s
        lasts_s = needed_s if limit_s is None else min(needed_s, limit_s)
        saves: tuple[tuple[float, int], ...] = ()
        if course is not None and course.last > begin:
            timed = (((iteration - begin) * step_s, iteration) for iteration in course.saves(begin))
            saves = tuple(save for save in timed if save[0] <= lasts_s + step_s / 2)
        return Attempt(
            lasts_s=lasts_s,
            ending=EndingClass.SUCCESS if lasts_s == needed_s else EndingClass.TIME_LIMIT,
            basis=basis,
            saves=saves if all_saves else saves[-1:],
        )

    def _total(self, job: Job, course: Course | None) -> tuple[float, str]:
        stage, limit_s = job.spec.stage, job.spec.resources.walltime_s
        told_s = self.jobs_s.get(stage, self.jobs_s.get(""))
        if told_s is not None:
            count = max(len(job.spec.iterations), 1)
            return told_s * count, f"{age(told_s)} for all iterations" if course else f"{age(told_s)} each"
        step_s = self.steps_s.get(stage, self.steps_s.get(""))
        if course is not None and course.last <= course.origin:
            return 0.0, f"nothing: it begins at iteration {course.origin}, and ends at {course.last}"
        if course is not None and step_s is not None:
            return step_s * (course.last - course.origin), f"{step_s:g}s an iteration"
        if limit_s is not None:
            return float(limit_s), f"its whole walltime, {age(limit_s)}"
        return UNTOLD_S, f"{age(UNTOLD_S)}, as nobody says: it has no walltime"
