"""Which jobs belong together: those that agree on every axis they share."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from autoexp.model import JSON, JobSpec
from autoexp.naming import label

Axes = tuple[str, ...]


@dataclass(slots=True)
class Siblings:
    """Jobs by stage, to be found by the axis values of another job."""

    _jobs: dict[str, dict[Axes, list[JobSpec]]] = field(default_factory=dict)
    _index: dict[tuple[str, Axes, Axes], dict[Axes, list[JobSpec]]] = field(default_factory=dict)

    def add(self, stage: str, jobs: Iterable[JobSpec]) -> None:
        """Make a stage's jobs known."""
        for job in jobs:
            self._jobs.setdefault(stage, {}).setdefault(tuple(job.values), []).append(job)
        self._index.clear()

    def agreeing(self, stage: str, values: Mapping[str, JSON], both: Collection[str] = frozenset()) -> list[JobSpec]:
        """List the stage's jobs that agree with `values` on all shared axes.

        `both` are the axes that both stages have: who lacks one of them agrees only with those that lack it too.
        """
        found: list[JobSpec] = []
        for axes in self._jobs.get(stage, {}):
            if any((axis in axes) != (axis in values) for axis in both):
                continue
            shared = tuple(axis for axis in axes if axis in values)
            found += self._indexed(stage, axes, shared).get(_key(shared, values), [])
        return found

    def _indexed(self, stage: str, axes: Axes, shared: Axes) -> dict[Axes, list[JobSpec]]:
        index = self._index.get((stage, axes, shared))
        if index is None:
            index = self._index[stage, axes, shared] = defaultdict(list)
            for job in self._jobs[stage][axes]:
                index[_key(shared, job.values)].append(job)
        return index


def _key(axes: Axes, values: Mapping[str, JSON]) -> Axes:
    return tuple(label(values[axis]) for axis in axes)
