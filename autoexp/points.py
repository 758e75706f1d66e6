"""Where the stages of a study have jobs: the points of its sweep, and what each stage's own sweep makes of them. Pure.

A stage's own sweep is expanded beside each point of the study, or each job that the stage appears for, and may read
its names: so its filter can leave a stage out where it makes no sense, as a cooldown that would branch off at 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from autoexp.axes import names_beside
from autoexp.blame import SWEEP, Blame
from autoexp.expressions import compile_value
from autoexp.model import JobSpec
from autoexp.places import KeyPath
from autoexp.scope import JobScope
from autoexp.stages import Recipe, Stage
from autoexp.sweep import NoPoints, Point, SweepError, expand, merge, project
from autoexp.world import World

T = TypeVar("T")
Names = Mapping[str, Any]
FILTER = ("filter",)


@dataclass(slots=True)
class Points:
    """The points of one recipe.

    Every method raises RecipeError where a sweep cannot be expanded, or its filter drops everything.
    """

    recipe: Recipe
    world: World
    read: dict[str, str]
    """The environment variables the recipe read so far."""
    _of_study: list[Point] = field(default_factory=list)
    _constant: dict[str, list[Point]] = field(default_factory=dict)
    """The own points of stages whose sweeps read no name."""

    def of(self, stage: Stage) -> Iterator[Point]:
        """Yield the points of a stage that appears for no other: the study's, each with every one of its own."""
        points = self._study()
        if stage.axes is not None:
            with self._errors((*stage.path, "axes")):
                points = list(project(points, stage.axes))
        for point, own in self._beside(stage, ((point, point.axes, point.scope()) for point in points)):
            with self._errors((*stage.path, "sweep")):
                yield merge(point, own)

    def occasions(self, stage: Stage, parents: Iterable[JobSpec]) -> Iterator[tuple[JobSpec, Point]]:
        """Yield each job that a stage appears for, with every one of the stage's own points."""
        for parent, own in self._beside(stage, ((parent, parent.values, parent.point) for parent in parents)):
            with self._errors((*stage.path, "sweep"), parent.values):
                for name in sorted(parent.values.keys() & own.scope().keys()):
                    said = f"{name!r} is an axis of {parent.stage}, which the stage appears for"
                    raise SweepError(said, (), "give it another name here")
            yield parent, own

    def _beside(self, stage: Stage, places: Iterable[tuple[T, Names, Names]]) -> Iterator[tuple[T, Point]]:
        """Expand a stage's own sweep at each place, of these axes and names; a filter may leave some without."""
        count, is_anywhere = 0, False
        for place, axes, names in places:
            count += 1
            with self._errors((*stage.path, "sweep"), axes):
                try:
                    points = self._own(stage, names, axes)
                except NoPoints as error:
                    if error.path == FILTER:
                        continue
                    fix = "loosen it, or move it to the stage's own filter, which may leave the stage out"
                    raise SweepError(str(error), error.path, fix) from error
            is_anywhere = True
            yield from ((place, point) for point in points)
        if count and not is_anywhere:
            said = f"the filter leaves {stage.name} no job at {_counted(count)}"
            with self._errors((*stage.path, "sweep")):
                raise SweepError(said, FILTER, "loosen it; where others are pinned, choose by --where instead")

    def _study(self) -> list[Point]:
        if not self._of_study:
            with self._errors(SWEEP):
                self._of_study = self._expand(self.recipe.sweep, SWEEP, (self.recipe.params,), "the sweep")
        return self._of_study

    def _own(self, stage: Stage, names: Names, axes: Names) -> list[Point]:
        raw = stage.raw.get("sweep") or {}
        if stage.name not in self._constant:
            levels = (names, stage.raw.get("params") or {}, self.recipe.params)
            asker = f"the sweep of the stage {stage.name}{_place(axes)}"
            points = self._expand(raw, (*stage.path, "sweep"), levels, asker, {"stage": stage.name})
            if "${" in repr(raw):
                return points
            self._constant[stage.name] = points
        return self._constant[stage.name]

    def _expand(
        self, sweep: Names, path: KeyPath, levels: tuple[Names, ...], asker: str, built_in: Names | None = None
    ) -> list[Point]:
        blame = Blame(self.recipe.places, path if path == SWEEP else path[:-1], asker)
        known = {"study": self.recipe.study, "machine": self.world.machine.name, **(built_in or {})}

        @cache
        def outside(key: KeyPath) -> tuple[Names, ...]:
            """Return what is known from outside of the sweep, but for what it gives the points itself."""
            hidden = names_beside(sweep, key)
            return tuple({name: each for name, each in level.items() if name not in hidden} for level in levels)

        def evaluate(raw: Any, names: Names, key: KeyPath) -> Any:
            scope = JobScope((names, *outside(key)), known, self.world.variables, self.read)
            with blame.at((*path, *key), scope, raw):
                return compile_value(raw)(scope)

        return expand(sweep, evaluate)

    @contextmanager
    def _errors(self, path: KeyPath, axes: Names | None = None) -> Iterator[None]:
        try:
            yield
        except SweepError as error:
            why = f"the sweep cannot be expanded{_place(axes)}"
            raise self.recipe.places.error((*path, *error.path), str(error), why=why, fix=error.fix) from error


def _place(axes: Names | None) -> str:
    return f" at {dict(axes)}" if axes else ""


def _counted(places: int) -> str:
    return f"any of its {places} points" if places > 1 else "its only point"
