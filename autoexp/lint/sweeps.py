"""Slips of a sweep: axes that nothing reads, params that nobody sees, jobs that all do the same. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from autoexp.axes import Axis, axes_of
from autoexp.lint.finding import Finding
from autoexp.outline import Plan
from autoexp.places import COMMAND_LINE
from autoexp.stages import Recipe, Stage

_NAME = re.compile(r"\$\{\s*([A-Za-z_]\w*)")


def of_sweeps(recipe: Recipe, whole: Plan) -> Iterator[Finding]:
    """Find them; `whole` is the plan of all jobs."""
    yield from _unused(recipe)
    yield from _hidden(recipe, whole)
    yield from _same_work(recipe)


def _unused(recipe: Recipe) -> Iterator[Finding]:
    """Find the axes that no stage has, or that nothing reads where they are: by their names or what entries bring."""
    stages = recipe.stages.values()
    own = {stage.name: [*axes_of(stage.raw.get("sweep"), (*stage.path, "sweep"))] for stage in stages}
    for axis in axes_of(recipe.sweep, ("sweep",)):
        theirs = [stage for stage in stages if axis.name not in {each.name for each in own[stage.name]}]
        if any(stage.axes is None or axis.name in stage.axes for stage in stages if stage.each is None):
            yield from _unread_axis(recipe, axis, theirs)
        else:
            fix = "name it in the axes: of one, or remove it"
            yield Finding("unused-axis", f"no stage has the axis {axis.name}", fix, axis.path)
    for name, axes in own.items():
        family = [stage for stage in stages if _descends(stage.name, name, recipe)]
        for axis in axes:
            yield from _unread_axis(recipe, axis, family)


def _descends(stage: str, first: str, recipe: Recipe) -> bool:
    """Say whether a stage is the first one, or appears for its jobs, or for what appears for them."""
    each = recipe.stages[stage].each
    return stage == first or (each is not None and any(_descends(one, first, recipe) for one in each.stages))


def _unread_axis(recipe: Recipe, axis: Axis, stages: Iterable[Stage]) -> Iterator[Finding]:
    """Find out whether an axis makes several jobs of which none reads it, in the stages that have it."""
    sweeps = [_without_choice((recipe.sweep, *(stage.raw.get("sweep") for stage in stages)))]
    bodies = [{key: value for key, value in stage.raw.items() if key != "sweep"} for stage in stages]
    read = set(names_read((recipe.params, sweeps, bodies)))
    is_one = all(value == axis.values[0] for value in axis.values)
    if not is_one and read.isdisjoint((axis.name, *axis.brings, *axis.beside)) and not _is_asked_for(recipe, axis):
        fix = "use it, or remove it: its jobs do the same work several times"
        yield Finding("unused-axis", f"nothing reads the axis {axis.name}", fix, axis.path)


def _is_asked_for(recipe: Recipe, axis: Axis) -> bool:
    """Say whether some stage reads an axis as a sibling's."""
    asked = re.compile(rf"sibling\.[^.}}]+\.params\.({'|'.join(map(re.escape, (axis.name, *axis.brings)))})\b")
    return asked.search(str([stage.raw for stage in recipe.stages.values()])) is not None


def _hidden(recipe: Recipe, whole: Plan) -> Iterator[Finding]:
    """Find params that the sweep stands over for all of a stage's jobs, or those of the study: nobody reads them.

    Of the study's only those are told that the command line sets: that was to change something.
    """
    found: dict[str, set[str]] = {}
    for job in (*whole.jobs, *whole.previews):
        found[job.stage] = found.get(job.stage, {*job.point}) & job.point.keys()
    for stage in recipe.stages.values():
        read = {*names_read(stage.raw.get("sweep") or {})}  # its filter, or its axes, are made of it
        for name in sorted(found.get(stage.name, set()) & (stage.raw.get("params") or {}).keys() - read):
            what = f"the sweep's {name} stands over this param, which nothing ever reads"
            yield Finding("hidden-param", what, "rename it, or remove it", (*stage.path, "params", name))
    everywhere = set.intersection(*found.values()) if found else set()
    for name in sorted(everywhere & recipe.params.keys() - set(names_read(_without_choice(recipe.sweep)))):
        if recipe.places.written.get(("params", name), "").startswith(COMMAND_LINE):
            axes = [axis.name for axis in axes_of(recipe.sweep, ("sweep",)) if name in axis.brings]
            fix = f"pin {axes[0]}, or change its entries" if axes else "change it there"
            what = f"the sweep's {name} stands over this param in all jobs, and setting it changes nothing"
            yield Finding("hidden-param", what, fix, ("params", name))


def _same_work(recipe: Recipe) -> Iterator[Finding]:
    """Find stages that wait for nothing and read nothing of an axis which others read: its jobs are all the same."""
    defined = [*recipe.params.items(), *_definitions(recipe.sweep)]
    reads = {stage.name: _closure(stage.raw, defined) for stage in recipe.stages.values()}
    every = set().union(*reads.values())
    axes = [axis for axis in axes_of(recipe.sweep, ("sweep",)) if len(axis.values) > 1]
    for stage in recipe.stages.values():
        read = reads[stage.name]
        if any(stage.raw.get(key) for key in ("each", "needs", "start")) or not read.isdisjoint(("sibling", "job")):
            continue
        for axis in (axis for axis in axes if not every.isdisjoint((axis.name, *axis.brings))):
            names = (axis.name, *axis.brings, *axis.beside)
            if (stage.axes is None or axis.name in stage.axes) and read.isdisjoint(names):
                what = f"nothing in {stage.name} reads the axis {axis.name}: its jobs do the same work several times"
                fix = "name the axes that it needs, such as axes: []"
                yield Finding("same-work", what, fix, stage.path)


def _definitions(raw: Any) -> Iterator[tuple[str, Any]]:
    """List all keys of a sweep, at any depth, with their values: what it may define."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield str(key), value
            yield from _definitions(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from _definitions(value)


def _closure(raw: Any, defined: Sequence[tuple[str, Any]]) -> set[str]:
    """List the names that a value refers to, through those that the study and its sweep define as well."""
    meant: dict[str, set[str]] = {}
    for name, value in defined:
        meant.setdefault(name, set()).update(names_read(value))
    read: set[str] = set()
    new = {*names_read(raw)}
    while new:
        read |= new
        new = {each for name in new for each in meant.get(name, ())} - read
    return read


def _without_choice(raw: Any) -> Any:
    """Leave out what only chooses among points: it makes no job another one."""
    if isinstance(raw, Mapping):
        return {key: _without_choice(value) for key, value in raw.items() if key not in ("filter", "require")}
    return [_without_choice(value) for value in raw] if isinstance(raw, list | tuple) else raw


def names_read(raw: Any) -> Iterator[str]:
    """Yield the names that a value of any shape refers to, as far as its text shows; a resolver's is among them."""
    if isinstance(raw, str):
        yield from _NAME.findall(raw)
    elif isinstance(raw, Mapping):
        for value in raw.values():
            yield from names_read(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from names_read(value)
