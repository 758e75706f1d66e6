"""Where the stages of a study have jobs: the points of its sweep, and what each stage's own sweep makes of them. Pure.

A stage's own sweep is expanded beside each point of the study, or each job that the stage appears for, and may read
its names: so its filter can leave a stage out where it makes no sense, as a cooldown that would branch off at 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
        return self._beside(stage, ((parent, parent.values, parent.point) for parent in parents))

    def _beside(self, stage: Stage, places: Iterable[tuple[T, Names, Names]]) -> Iterator[tuple[T, Point]]:
        """Expand a stage's own sweep at each place, of these axes and names; a filter may leave some without."""
        is_anywhere, dropped = False, None
        for place, axes, names in places:
            with self._errors((*stage.path, "sweep"), axes):
                try:
                    points = self._own(stage, names)
                except NoPoints as error:
                    if error.path != FILTER:
                        raise
                    dropped = error
                    continue
            is_anywhere = True
            yield from ((place, point) for point in points)
        if dropped is not None and not is_anywhere:
            with self._errors((*stage.path, "sweep")):
                raise dropped

    def _study(self) -> list[Point]:
        if not self._of_study:
            with self._errors(SWEEP):
                self._of_study = self._expand(self.recipe.sweep, SWEEP, (self.recipe.params,))
        return self._of_study

    def _own(self, stage: Stage, names: Names) -> list[Point]:
        raw = stage.raw.get("sweep") or {}
        if stage.name not in self._constant:
            levels = (names, stage.raw.get("params") or {}, self.recipe.params)
            points = self._expand(raw, (*stage.path, "sweep"), levels)
            if "${" in repr(raw):
                return points
            self._constant[stage.name] = points
        return self._constant[stage.name]

    def _expand(self, sweep: Mapping[str, Any], path: KeyPath, levels: tuple[Names, ...]) -> list[Point]:
        blame = Blame(self.recipe.places, path if path == SWEEP else path[:-1], "the sweep")

        def evaluate(raw: Any, names: Names, key: KeyPath) -> Any:
            scope = JobScope(levels=(names, *levels), variables=self.world.variables, read=self.read)
            with blame.at((*path, *key), scope, raw):
                return compile_value(raw)(scope)

        return expand(sweep, evaluate)

    @contextmanager
    def _errors(self, path: KeyPath, axes: Names | None = None) -> Iterator[None]:
        try:
            yield
        except SweepError as error:
            why = f"the sweep cannot be expanded{f' at {dict(axes)}' if axes else ''}"
            raise self.recipe.places.error((*path, *error.path), str(error), why=why, fix=error.fix) from error
