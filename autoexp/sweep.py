"""Sweeps: a mapping of axes becomes a list of points.

A level has `params` (axis: values, or an expression that comes to a list of them), `configs` (axis: named entries, or
a list of whole configurations) and `groups` (further levels). `type` says how they combine: `product` (every
combination; the default), `zip` (first with first, second with second) or `list` (one after the other). `defaults`
lends names to every point of the level, `filter` keeps the points for which it is true, and `require` refuses the
recipe if a kept point fails it.
An entry of `configs` may be a level itself, whose names are its `defaults`. A name that two parts of a level define, or
lend, is a mistake, unless `list_composition` names it: then it is the one's list and the other's, one after the other.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import reduce
from math import prod
from typing import Any

from autoexp.axes import AXES, KEYS, OF_A_LEVEL, is_level
from autoexp.expressions import literal
from autoexp.naming import label

TYPES = ("product", "list", "zip")

MOST_POINTS = 100_000
"""More is a slip: nobody could wait for its plan, nor look at it."""

Path = tuple[str | int, ...]
"""Leads to a key, from the sweep down."""
Evaluate = Callable[[object, Mapping[str, object], Path], Any]
"""Evaluates the raw value at a path with these names in scope, and what is known outside of the sweep behind them."""


class SweepError(Exception):
    """A sweep that cannot be expanded, and the key to blame."""

    def __init__(self, message: str, path: Path, fix: str) -> None:
        super().__init__(message)
        self.path = path
        self.fix = fix


class NoPoints(SweepError):
    """A filter leaves nothing."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: its axes with the values that name it, and every name it defines."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)
    """Axes, entry params and defaults; the latter two are not evaluated yet."""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    composed: frozenset[str] = frozenset()
    """Names whose lists are put one after the other when it is merged."""

    def scope(self) -> dict[str, Any]:
        """All names, a default giving way to everything else."""
        return {**self.defaults, **self.names}


def expand(sweep: Any, evaluate: Evaluate, path: Path = ()) -> list[Point]:
    """List the points of a sweep, the first axis slowest; no axes make one point without any.

    Raises:
        NoPoints: a filter drops everything.
        SweepError: a level has an unknown key or type, an axis without values, a name twice, axes of unequal
            length to zip, or a point that it requires not to have.
    """
    _check(sweep, path)
    kind = sweep.get("type", "product")
    factors = list(_factors(sweep, evaluate, path, apart=kind == "zip"))
    composed = frozenset(sweep.get("list_composition") or ())
    every = _combine(kind, [[replace(point, composed=composed) for point in factor] for factor in factors], path)
    defaults = sweep.get("defaults") or {}
    every = [Point(p.axes, p.names, {**defaults, **p.defaults}) for p in every]
    points = [point for point in every if _holds("filter", point, sweep, evaluate, path)]
    if not points:
        raise NoPoints(f"the filter drops all {len(every)} points", (*path, "filter"), "loosen it")
    for point in points:
        if not _holds("require", point, sweep, evaluate, path):
            said = f"{f'the point {dict(point.axes)}' if point.axes else 'it'} is not what the sweep requires"
            raise SweepError(said, (*path, "require"), "change its values, or drop it by a filter")
    return points


def _check(sweep: Any, path: Path) -> None:
    if not isinstance(sweep, Mapping):
        raise SweepError(f"{sweep!r} is no sweep", path, f"write it with the keys {', '.join(KEYS)}")
    for key, value in sweep.items():
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(KEYS)}"
            raise SweepError(f"a sweep has no {key!r}", (*path, key), fix)
        if key in ("params", "defaults") and not isinstance(value or {}, Mapping):
            raise SweepError(f"{key} is written as NAME: VALUES", (*path, key), "indent the names below it")
        if key == "list_composition" and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
            raise SweepError(f"{value!r} are no names", (*path, key), "write a list of names")
        if key in AXES and value is not None and not value:
            raise SweepError(f"{key} is empty", (*path, key), "give it something to sweep over, or remove it")
        if key in ("groups", "configs") and not isinstance(value or (), Sequence | Mapping):
            raise SweepError(f"{value!r} are no {key}", (*path, key), "write a list")
    if sweep.get("type", "product") not in TYPES:
        raise SweepError(f"{sweep['type']!r} is no type of sweep", (*path, "type"), f"use one of {', '.join(TYPES)}")


def _factors(sweep: Mapping[str, Any], evaluate: Evaluate, path: Path, *, apart: bool) -> Iterator[list[Point]]:
    params = sweep.get("params") or {}
    axes = [_axis(name, values, evaluate, (*path, "params", name)) for name, values in params.items()]
    if axes and not apart:
        yield _product(axes, path)
    else:
        yield from axes
    yield from _configs(sweep.get("configs") or {}, evaluate, (*path, "configs"))
    for number, group in enumerate(sweep.get("groups") or ()):
        yield expand(group, evaluate, (*path, "groups", number))


def _axis(name: str, values: Any, evaluate: Evaluate, path: Path) -> list[Point]:
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not listed:
        raise SweepError(f"the axis {name!r} has no values", path, "give it at least one, or remove it")
    evaluated = [evaluate(value, {}, path) for value in listed]
    if listed is not values and isinstance(evaluated[0], list):  # calculated as a whole: range(1, 9)
        evaluated = evaluated[0]
        if not evaluated:
            raise SweepError(f"the axis {name!r} has no values", path, "let it come to at least one, or remove it")
    return [_point({name: value}) for value in evaluated]


def _point(values: Mapping[str, Any]) -> Point:
    return Point(values, {name: literal(value) for name, value in values.items()})


def _configs(configs: Any, evaluate: Evaluate, path: Path) -> Iterator[list[Point]]:
    if isinstance(configs, Mapping):
        for axis, entries in configs.items():
            named = _entries(axis, entries, (*path, axis))
            yield [point for entry in named for point in _entry(axis, *entry, evaluate)]
        return
    yield [point for number, entry in enumerate(configs) for point in _whole(entry, evaluate, (*path, number))]


def _whole(entry: Any, evaluate: Evaluate, path: Path) -> list[Point]:
    if not isinstance(entry, Mapping):
        raise SweepError(f"{entry!r} is no configuration", path, "write - {NAME: VALUE, ...}, or name the axis")
    if is_level(entry):
        return expand(entry, evaluate, path)
    _check_plain(entry, path)
    return [_point({name: evaluate(value, {}, (*path, name)) for name, value in entry.items()})]


def _check_plain(entry: Mapping[str, Any], path: Path) -> None:
    for key in OF_A_LEVEL:
        if key in entry:
            said = f"{key} makes this entry a level of the sweep, which has no {next(iter(entry.keys() - set(KEYS)))!r}"
            raise SweepError(said, (*path, key), "put the entry's names under defaults:, or call it otherwise")


def _entries(axis: str, entries: Any, path: Path) -> Iterator[tuple[str, Mapping[str, Any], Path]]:
    if not entries:
        raise SweepError(f"the axis {axis!r} has no entries", path, "give it at least one, or remove it")
    listed = entries if isinstance(entries, Sequence) and not isinstance(entries, str) else [entries]
    for number, entry in enumerate(listed):
        named = entry if isinstance(entry, Mapping) else {entry: {}}
        for name, params in named.items():
            if not isinstance(params or {}, Mapping):
                raise SweepError(
                    f"the entry {name!r} of {axis!r} is {params!r}",
                    (*path, number),
                    "write an entry as - NAME: {name: value, ...}, or move plain values to params:",
                )
            yield str(name), params or {}, (*path, number)


def _entry(axis: str, name: str, params: Mapping[str, Any], path: Path, evaluate: Evaluate) -> list[Point]:
    here = Point({axis: name}, {axis: literal(name)})
    if is_level(params):
        inside = expand(params, evaluate, (*path, name))
    else:
        _check_plain(params, (*path, name))
        inside = [Point({}, params)]
    return [_merge(here, point, path) for point in inside]


def _combine(kind: str, factors: list[list[Point]], path: Path) -> list[Point]:
    if kind == "product" or not factors:
        return _product(factors, path)
    if kind == "list":
        return [point for factor in factors for point in factor]
    if len({len(factor) for factor in factors}) > 1:
        counts = ", ".join(f"{_spell(factor)} has {len(factor)}" for factor in factors)
        raise SweepError("axes of unequal length cannot be zipped", path, f"give them equally many values: {counts}")
    return [reduce(lambda a, b: _merge(a, b, path), row) for row in zip(*factors, strict=True)]


def _spell(factor: list[Point]) -> str:
    return "/".join(factor[0].axes) or "a group"


def _product(factors: list[list[Point]], path: Path) -> list[Point]:
    if (count := prod(map(len, factors))) > MOST_POINTS:
        fix = "filter earlier, by groups, or make several studies of it"
        raise SweepError(f"this sweep has {count:,} points; a study takes {MOST_POINTS:,}", path, fix)
    points = [Point()]
    for factor in factors:
        points = [_merge(point, other, path) for point in points for other in factor]
    return points


def _merge(one: Point, other: Point, path: Path = ()) -> Point:
    composed = one.composed | other.composed
    axes = _joined(one.axes, other.axes, composed, path)
    names = _joined(one.names, other.names, composed, path)
    defaults = _joined(one.defaults, other.defaults, composed, path)
    crossing = {*(one.defaults.keys() & other.names.keys()), *(other.defaults.keys() & one.names.keys())}
    for lent in sorted(crossing):
        if lent not in composed:
            said = f"{lent!r} is among the defaults of one part of a level, and another part defines it"
            raise SweepError(said, path, "lend it by the defaults of the level that has both parts, or remove one")
        names[lent] = _one_after_the_other(lent, one.scope()[lent], other.scope()[lent], path)
    return Point(axes, names, defaults, composed)


def _joined(ours: Mapping[str, Any], theirs: Mapping[str, Any], composed: frozenset[str], path: Path) -> dict[str, Any]:
    """Put names beside each other; of those that both define, only lists to compose."""
    both = {**ours, **theirs}
    if len(both) == len(ours) + len(theirs):
        return both
    for name in sorted(ours.keys() & theirs.keys()):
        if name not in composed:
            said = f"the name {name!r} is defined twice on one level"
            raise SweepError(said, path, "rename or remove one of them")
        both[name] = _one_after_the_other(name, ours[name], theirs[name], path)
    return both


def _one_after_the_other(name: str, ours: Any, theirs: Any, path: Path) -> list[Any]:
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        said = f"{name!r} is {ours!r} and {theirs!r}"
        raise SweepError(said, (*path, "list_composition"), "only lists are put one after the other")
    return [*ours, *theirs]


def merge(study: Point, own: Point) -> Point:
    """Put a stage's own point beside the study's; what the stage defines stands over what the study's sweep lends.

    Raises:
        SweepError: both define a name.
    """
    for name in sorted((study.names.keys() & own.names.keys()) - study.composed - own.composed):
        said = f"{name!r} is defined by the study's sweep, and again by the stage's"
        raise SweepError(said, (), "give it another name here, or leave the study's out: axes: [those that stay]")
    if not study.defaults.keys().isdisjoint(own.names):
        lent = {name: value for name, value in study.defaults.items() if name not in own.names}
        study = replace(study, defaults=lent)
    return _merge(study, own)


def project(points: Iterable[Point], kept: Collection[str]) -> Iterator[Point]:
    """Leave only these axes: a point for each of their combinations, with the names that are the same for all others.

    Raises:
        SweepError: no point has one of them.
    """
    groups: dict[frozenset[tuple[str, str]], list[Point]] = {}
    every: set[str] = set()
    for point in points:
        every |= point.axes.keys()
        named = frozenset((name, label(value)) for name, value in point.axes.items() if name in kept)
        groups.setdefault(named, []).append(point)
    for name in kept:
        if name not in every:
            raise SweepError(f"the sweep has no axis {name}", (), f"its axes are {', '.join(sorted(every)) or 'none'}")
    for group in groups.values():
        axes = {name: value for name, value in group[0].axes.items() if name in kept}
        yield Point(axes, _shared([p.names for p in group], every - set(kept)), _shared([p.defaults for p in group]))


def _shared(several: Sequence[Mapping[str, Any]], without: Collection[str] = ()) -> dict[str, Any]:
    """Keep the names that have one value throughout."""
    first, *others = several
    return {
        name: value
        for name, value in first.items()
        if name not in without and all(name in other and other[name] == value for other in others)
    }


def _holds(key: str, point: Point, sweep: Mapping[str, Any], evaluate: Evaluate, path: Path) -> bool:
    if key not in sweep:
        return True
    answer = evaluate(sweep[key], point.scope(), (*path, key))
    if not isinstance(answer, bool):
        fix = (
            "write it as ${calc:'...'}, such as ${calc:'${lr} < 0.1'}"
            if isinstance(answer, str)
            else "write a comparison"
        )
        raise SweepError(f"the {key}'s value is {answer!r}, not true or false", (*path, key), fix)
    return answer
