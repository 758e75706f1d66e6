"""Planning: a recipe becomes jobs. Pure: what it knows of the world stands in `World`.

Stages are built when they are first needed, in their turn or because another stage refers to them; a stage that
comes to need itself that way is an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from autoexp import lint, saves
from autoexp.axes import axes_of, names_in
from autoexp.batches import for_iteration, joined, unlike
from autoexp.blame import Blame
from autoexp.build import Builder, NoSibling
from autoexp.calculation import ExpressionError
from autoexp.model import JobSpec, Template
from autoexp.naming import job_id
from autoexp.outline import Plan, attach
from autoexp.points import Points
from autoexp.scope import OF_A_CHECKPOINT
from autoexp.selection import Selection
from autoexp.siblings import Siblings
from autoexp.stages import Each, Recipe, Stage
from autoexp.sweep import Point
from autoexp.world import World

SAME_VALUES = "sweep over the same values in both stages, by the same filter"


@dataclass(slots=True)
class Planner:
    """One recipe's planning: all at once by `plan`, and later each job that appears by `appear`."""

    recipe: Recipe
    world: World
    read: dict[str, str] = field(default_factory=dict)
    _jobs: dict[str, list[JobSpec]] = field(default_factory=dict)
    _templates: dict[str, list[Template]] = field(default_factory=dict)
    _children: dict[str, tuple[Template, ...]] = field(default_factory=dict)
    """What stands for each job or template; gathered once all is planned."""
    _previews: dict[str, JobSpec] = field(default_factory=dict)
    _siblings: Siblings = field(default_factory=Siblings)
    _trials: dict[str, JobSpec] = field(default_factory=dict)
    """What each template's first job would be."""
    _ids: dict[str, JobSpec] = field(default_factory=dict)
    _points: Points = field(init=False)
    _axes: dict[str, frozenset[str]] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _elsewhere: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._points = Points(self.recipe, self.world, self.read)
        self._elsewhere = names_of(self.recipe)

    def plan(self, where: Selection | None = None) -> Plan:
        """Plan every stage, or of all jobs only the chosen ones and what they need.

        Raises:
            RecipeError: the recipe cannot be planned; it names file, line, key and job.
        """
        for stage in self.recipe.stages:
            self._build(stage)
        jobs = [job for stage in self.recipe.stages for job in self._jobs[stage]]
        templates = [template for stage in self.recipe.stages for template in self._templates[stage]]
        made = Plan(
            study=self.recipe.study,
            jobs=tuple(attach(saves.with_saves(jobs, self.world.root), templates)),
            templates=tuple(templates),
            previews=tuple(self._previews[template.id] for template in templates),
            environment=dict(self.read),
            gpu_hours=self.recipe.gpu_hours,
        )
        whole = made
        if where is not None:
            made = where.restrict(made)
        made = replace(made, first=tuple(self._trials[template.id] for template in made.templates))
        return replace(made, warnings=tuple(lint.warnings(self.recipe, made, self.world, whole)))

    def know(self, jobs: Iterable[JobSpec], plan: Plan) -> None:
        """Take over an earlier plan, so that jobs can appear for it."""
        for job in (*jobs, *plan.previews):
            self._siblings.add(job.stage, [job])
        for template, preview in zip(plan.templates, plan.previews, strict=True):
            self._templates.setdefault(template.stage, []).append(template)
            self._previews[template.id] = preview
        self._jobs.update({stage: [] for stage in self.recipe.stages})

    def appear(
        self, template: Template, parent: JobSpec, iteration: int | None, batch: tuple[int, ...] = ()
    ) -> JobSpec:
        """Build the job that a template brings about for `parent`, a job, and a checkpoint of it or a batch of them.

        Raises:
            RecipeError: the recipe has no value for it.
        """
        stage = self.recipe.stages[template.stage]
        spec = self._child(stage, Point(template.axes, template.point), parent, iteration, batch)
        return replace(saves.saving(spec, ()), template=template.id, children=self._children_of(template.id))

    def _children_of(self, template: str) -> tuple[Template, ...]:
        if not self._children:
            for child in (child for group in self._templates.values() for child in group):
                self._children[child.parent] = (*self._children.get(child.parent, ()), child)
        return self._children.get(template, ())

    def again(self, spec: JobSpec, names: Mapping[str, Any]) -> JobSpec:
        """Build a planned job that no template brings about once more, with other values for some names.

        Raises:
            RecipeError: the recipe has no value for it.
        """
        point = Point(spec.values, {**spec.point, **names})
        built = self._builder(self.recipe.stages[spec.stage], point).build()
        return replace(saves.saving(built, saves.steps_of(spec)), children=spec.children)

    def sibling(self, stage: str, asker: Builder) -> JobSpec:
        """Find the one job of a stage that agrees with the asker on all shared axes."""
        if asker.parent is not None and asker.parent.stage == stage:
            return asker.parent
        self._need(stage)
        found = self._agreeing(stage, asker)
        if len(found) != 1:
            names = ", ".join(job.id for job in found[:4]) or "none"
            said = f"${{sibling.{stage}}} is the one job of it that agrees on all shared axes; there is {names}"
            several = f"let both stages have the same axes, or wait for all of them: needs: {stage}"
            raise NoSibling(said, several if found else SAME_VALUES)
        if found[0].id in self._previews:
            said = f"${{sibling.{stage}}} is one job, and those of {stage} only appear later"
            raise NoSibling(said, f"let this stage appear for them too: each: {{job: {stage}}}")
        return found[0]

    def members(self, stage: str, asker: Builder) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """List the jobs and templates of a stage that agree with the asker on all shared axes."""
        self._need(stage)
        found = [job.id for job in self._agreeing(stage, asker)]
        if not found:
            said = f"no job of stage {stage} agrees with it on all shared axes"
            raise NoSibling(said, SAME_VALUES)
        return tuple(j for j in found if j not in self._previews), tuple(j for j in found if j in self._previews)

    def _agreeing(self, stage: str, asker: Builder) -> list[JobSpec]:
        both = self._axes_of(stage) & self._axes_of(asker.stage.name)
        return self._siblings.agreeing(stage, asker.values, both)

    def _axes_of(self, name: str) -> frozenset[str]:
        """Name the axes that jobs of a stage have, or some of them: its own, and the study's.

        What only a parent adds is left out: jobs that appear for its siblings are not to have it.
        """
        if name not in self._axes:
            own = axes_of(self.recipe.stages[name].raw.get("sweep"), ())
            self._axes[name] = self._study_axes(name).union(axis.name for axis in own)
        return self._axes[name]

    def _study_axes(self, name: str) -> frozenset[str]:
        stage = self.recipe.stages[name]
        if stage.each is not None:
            return frozenset.intersection(*map(self._study_axes, stage.each.stages))
        every = (axis.name for axis in axes_of(self.recipe.sweep, ("sweep",)))
        return frozenset(every if stage.axes is None else stage.axes)

    def _need(self, stage: str) -> None:
        if stage not in self.recipe.stages:
            near = get_close_matches(stage, self.recipe.stages, n=1)
            fix = f"did you mean {near[0]}?" if near else "correct the name"
            raise ExpressionError(f"there is no stage {stage!r}; the stages are {', '.join(self.recipe.stages)}", fix)
        if stage in self._open:
            circle = " -> ".join((*self._open[self._open.index(stage) :], stage))
            raise NoSibling(f"stages wait for each other: {circle}", "remove one of the references")
        self._build(stage)

    def _build(self, name: str) -> None:
        if name in self._jobs:
            return
        self._open.append(name)
        stage = self.recipe.stages[name]
        jobs: list[JobSpec] = []
        templates: list[Template] = []
        if stage.each is None:
            jobs = [self._builder(stage, point).build() for point in self._points.of(stage)]
        else:
            occasions = self._points.occasions(stage, self._parents(stage, stage.each))
            templates = [self._foresee(stage, stage.each, *occasion) for occasion in occasions]
        made = [*jobs, *(self._previews[template.id] for template in templates)]
        self._check_unique(stage, made)
        self._siblings.add(name, made)
        self._jobs[name], self._templates[name] = jobs, templates
        self._open.pop()

    def _parents(self, stage: Stage, each: Each) -> Iterator[JobSpec]:
        """List what an each stage stands for: every job, or preview, of the stages that it names."""
        for name in each.stages:
            with Blame(self.recipe.places, stage.path, f"the stage {stage.name}").at((*stage.path, "each")):
                self._need(name)
            yield from (*self._jobs[name], *(self._previews[template.id] for template in self._templates[name]))

    def _foresee(self, stage: Stage, each: Each, parent: JobSpec, point: Point) -> Template:
        """Make a template, and try it out on the first checkpoint it wants, so that mistakes are found now."""
        first = -(-each.first // each.every) * each.every
        tried_parent = self._trials.get(parent.id, parent)
        batch = tuple(first + number * each.every for number in range(min(each.batch or 0, 2)))
        template = Template(
            id=job_id(stage.name, point.axes, parent.id),
            stage=stage.name,
            parent=parent.id,
            kind=each.kind,
            first=each.first,
            every=each.every,
            batch=each.batch,
            axes=point.axes,
            point=point.scope(),
        )
        tried = first if each.kind == "checkpoint" else None
        self._trials[template.id] = self._child(stage, point, tried_parent, tried, batch)
        self._previews[template.id] = self._builder(stage, point, parent).preview()
        return template

    def _child(
        self, stage: Stage, point: Point, parent: JobSpec, iteration: int | None, batch: tuple[int, ...]
    ) -> JobSpec:
        """Build what stands for a job, or a checkpoint of it, or for all of a batch, its own or its parent's."""
        occasions: list[tuple[JobSpec, int | None]]
        if iteration is not None:
            occasions = [(parent, checkpoint) for checkpoint in batch or (iteration,)]
        else:
            batch = parent.iterations
            occasions = [(for_iteration(parent, one), None) for one in batch] or [(parent, None)]
        specs = [self._builder(stage, point, *occasion, batch).build() for occasion in occasions]
        key = unlike(specs)
        if key is not None:
            raise self.recipe.places.error(
                (*stage.path, key),
                f"{key} differs from one iteration of a batch to the next",
                why=f"{specs[0].id} is one job for all of them, and has one {key}",
                fix="leave what belongs to one iteration out of it, such as ${iteration} and ${checkpoint}",
            )
        return joined(specs) if batch else specs[0]

    def _builder(
        self,
        stage: Stage,
        point: Point,
        parent: JobSpec | None = None,
        checkpoint: int | None = None,
        batch: tuple[int, ...] = (),
    ) -> Builder:
        return Builder(
            recipe=self.recipe,
            world=self.world,
            family=self,
            stage=stage,
            point=point,
            parent=parent,
            checkpoint=checkpoint,
            batch=batch,
            elsewhere=self._elsewhere,
            read=self.read,
        )

    def _check_unique(self, stage: Stage, made: Iterable[JobSpec]) -> None:
        for job in made:
            twin = self._ids.setdefault(job.id, job)
            if twin is not job:
                odd = any(isinstance(value, bool) for value in job.values.values())
                alike = ": YAML reads yes, no, on and off as true and false; quote words" if odd else ""
                spelled = alike if twin.values == job.values else ": in ids _ stands for most signs"
                raise self.recipe.places.error(
                    stage.path,
                    f"two jobs have the id {job.id}",
                    why=f"one is {dict(twin.values)}, the other {dict(job.values)}{spelled}",
                    fix="remove the duplicate, or give the sweep an axis, or named entries, that tell them apart",
                )


def names_of(recipe: Recipe) -> frozenset[str]:
    """List the names that some stage or sweep of a recipe defines."""
    stages = ((stage.raw.get("params"), stage.raw.get("sweep")) for stage in recipe.stages.values())
    return frozenset(name for raw in (recipe.sweep, *stages) for name in names_in(raw)) | {*OF_A_CHECKPOINT}
