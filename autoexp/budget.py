"""A study's budget of GPU hours: what its attempts have used, and what those under way may still use. Pure."""

from dataclasses import dataclass, field

from autoexp.model import ACTIVE, Job, Resources, State

HOUR_S = 3600.0
CRUMB = 1e-6
"""GPU hours that sums of tenths may be off by, and more."""


def gpus_of(resources: Resources) -> int:
    """Count the GPUs that an attempt occupies on all its nodes."""
    return resources.nodes * resources.gpus_per_node


@dataclass(slots=True)
class Budget:
    """What a study may use, and where it stands; all in GPU hours."""

    limit: float | None
    """None without a budget."""
    used: float = 0.0
    """By attempts that have ended."""
    promised: float = 0.0
    """To attempts that are queued or run: their whole time limit."""
    _shares: dict[str, tuple[float, float]] = field(default_factory=dict)
    _ahead: set[str] = field(default_factory=set)
    """Jobs with another attempt queued behind the present one."""

    def note(self, job: Job) -> None:
        """Take over how a job stands now."""
        if not job.ahead:
            self._ahead.discard(job.id)
        self._set(job, most(job) * ((job.state in ACTIVE) + (job.id in self._ahead)))

    def _set(self, job: Job, promised: float) -> None:
        before = self._shares.get(job.id, (0.0, 0.0))
        self._shares[job.id] = after = (job.gpu_seconds / HOUR_S, promised)
        self.used, self.promised = self.used + after[0] - before[0], self.promised + after[1] - before[1]

    def grant(self, job: Job) -> bool:
        """Promise a job another attempt, if that does not go beyond the budget."""
        if self.shortage(job):
            return False
        self._set(job, most(job))  # until `note` is told what became of it
        return True

    def grant_ahead(self, job: Job) -> bool:
        """Promise a job that runs the attempt behind the present one, too, if that does not go beyond the budget."""
        if job.id not in self._ahead and self.shortage(job):
            return False
        self._ahead.add(job.id)
        self.note(job)
        return True

    def shortage(self, job: Job) -> str:
        """Say why another attempt of a job would go beyond the budget; nothing if it would not."""
        is_promised = job.id in self._ahead and job.state is State.BACKOFF
        if self.limit is None or is_promised or not gpus_of(job.spec.resources):
            return ""
        wanted = most(job)
        if self.used < self.limit and self.used + self.promised + wanted <= self.limit + CRUMB:
            return ""
        return f"the study's budget is too small: {self.told()}; this attempt may take {in_words(wanted)}"

    def told(self) -> str:
        """Say where it stands."""
        under_way = f", and what is under way may take {in_words(self.promised)}" if self.promised > 0 else ""
        return f"of {in_words(self.limit or 0)} GPU hours {in_words(self.used)} are used{under_way}"

    def as_json(self) -> dict[str, float | None]:
        """Say the same for programs, in GPU hours."""
        return {"budget": self.limit, "used": round(self.used, 3), "promised": round(max(self.promised, 0.0), 3)}


def most(job: Job) -> float:
    """Say how much an attempt may use; without a time limit that is not known."""
    return gpus_of(job.spec.resources) * (job.spec.resources.walltime_s or 0) / HOUR_S


def in_words(hours: float) -> str:
    """Write GPU hours as people read them: 0.25, 9.5, 21,480."""
    return f"{hours:,.0f}" if hours >= 1000 else f"{hours:.4g}"  # noqa: PLR2004 - from there on, thousands
