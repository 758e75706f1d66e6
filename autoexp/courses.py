"""How far a run is to train, and where it saves, as far as its flags say. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from autoexp.branching import branch_point, number, plain
from autoexp.model import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a training's flags say of its course."""

    origin: int
    """The iteration it branches off at, or 0."""
    last: int
    every: int
    extra: frozenset[int] = frozenset()
    """Further iterations at which it saves."""

    def saves(self, after: int) -> Iterator[int]:
        """List the iterations at which it saves from here on."""
        grid = range(after - after % self.every + self.every, self.last + 1, self.every) if self.every else range(0)
        yield from sorted({*grid, *(i for i in self.extra if after < i <= self.last), self.last} - {after})


def course_of(spec: JobSpec) -> Course | None:
    """Read how far a job is to train and where it saves; None if it is no training, or its flags do not say."""
    if spec.output != "checkpoints":
        return None
    said = plain(spec.args)
    last, extra = number(said.get("train_iters")), said.get("save_extra_steps")
    if last is None:
        return None
    numbers = (number(one) for one in (extra if isinstance(extra, list | tuple) else [extra]))
    return Course(
        origin=branch_point(spec) or 0,
        last=int(last),
        every=int(number(said.get("save_interval")) or 0),
        extra=frozenset(int(one) for one in numbers if one is not None),
    )
