"""Sweeps: a mapping of axes becomes a list of points.

A level has `params` (axis: values), `configs` (axis: named entries, or a list of whole configurations) and
`groups` (further levels). `type` says how they combine: `product` (every combination; the default), `zip` (first
with first, second with second) or `list` (one after the other). `defaults` lends names to every point of the
level, and `filter` keeps the points for which it is true.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from typing import Any

KEYS = ("type", "params", "configs", "groups", "defaults", "filter")
TYPES = ("product", "list", "zip")

Evaluate = Callable[[object, Mapping[str, object]], Any]
"""Evaluates a raw value with these names in scope, and the study's params behind them."""


class SweepError(Exception):
    """A sweep that cannot be expanded; `path` leads to the key, from the sweep down."""

    def __init__(self, message: str, path: tuple[str | int, ...], fix: str) -> None:
        super().__init__(message)
        self.path = path
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: its axes with the values that name it, and every name it defines."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)
    """Axes, entry params and defaults; the latter two are not evaluated yet."""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def scope(self) -> dict[str, Any]:
        """All names, a default giving way to everything else."""
        return {**self.defaults, **self.names}


def expand(sweep: Mapping[str, Any], evaluate: Evaluate, path: tuple[str | int, ...] = ()) -> list[Point]:
    """List the points of a sweep, the first axis slowest; no axes make one point without any.

    Raises:
        SweepError: a level has an unknown key or type, an axis without values, a name twice, or axes of unequal
            length to zip.
    """
    _check(sweep, path)
    kind = sweep.get("type", "product")
    factors = list(_factors(sweep, evaluate, path, apart=kind == "zip"))
    points = _combine(kind, factors, path)
    defaults = sweep.get("defaults") or {}
    points = [Point(p.axes, p.names, {**defaults, **p.defaults}) for p in points]
    return [point for point in points if _kept(point, sweep, evaluate, path)]


def _check(sweep: Mapping[str, Any], path: tuple[str | int, ...]) -> None:
    for key in sweep:
        if key not in KEYS:
            raise SweepError(f"a sweep has no {key!r}", (*path, key), f"use one of {', '.join(KEYS)}")
    if sweep.get("type", "product") not in TYPES:
        raise SweepError(f"{sweep['type']!r} is no type of sweep", (*path, "type"), f"use one of {', '.join(TYPES)}")


def _factors(
    sweep: Mapping[str, Any], evaluate: Evaluate, path: tuple[str | int, ...], *, apart: bool
) -> Iterator[list[Point]]:
    axes = [
        _axis(name, values, evaluate, (*path, "params", name)) for name, values in (sweep.get("params") or {}).items()
    ]
    if axes and not apart:
        yield _product(axes, path)
    else:
        yield from axes
    yield from _configs(sweep.get("configs") or {}, evaluate, (*path, "configs"))
    for number, group in enumerate(sweep.get("groups") or ()):
        yield expand(group, evaluate, (*path, "groups", number))


def _axis(name: str, values: Any, evaluate: Evaluate, path: tuple[str | int, ...]) -> list[Point]:
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not listed:
        raise SweepError(f"the axis {name!r} has no values", path, "give it at least one, or remove it")
    evaluated = [evaluate(value, {}) for value in listed]
    return [Point({name: value}, {name: value}) for value in evaluated]


def _configs(configs: Any, evaluate: Evaluate, path: tuple[str | int, ...]) -> Iterator[list[Point]]:
    if isinstance(configs, Mapping):
        for axis, entries in configs.items():
            yield [_entry(axis, name, params) for name, params in _entries(axis, entries, (*path, axis))]
        return
    wholes = [{name: evaluate(value, {}) for name, value in entry.items()} for entry in configs]
    yield [Point(whole, whole) for whole in wholes]


def _entries(axis: str, entries: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not entries:
        raise SweepError(f"the axis {axis!r} has no entries", path, "give it at least one, or remove it")
    for number, entry in enumerate([entries] if isinstance(entries, Mapping) else entries):
        named = entry if isinstance(entry, Mapping) else {entry: {}}
        for name, params in named.items():
            if not isinstance(params or {}, Mapping):
                raise SweepError(
                    f"the entry {name!r} of {axis!r} is {params!r}",
                    (*path, number),
                    "write an entry as - NAME: {name: value, ...}, or move plain values to params:",
                )
            yield str(name), params or {}


def _entry(axis: str, name: str, params: Mapping[str, Any]) -> Point:
    return Point({axis: name}, {axis: name, **params})


def _combine(kind: str, factors: list[list[Point]], path: tuple[str | int, ...]) -> list[Point]:
    if kind == "list":
        return [point for factor in factors for point in factor]
    if kind == "product" or not factors:
        return _product(factors, path)
    lengths = {len(factor) for factor in factors}
    if len(lengths) > 1:
        counts = ", ".join(f"{'/'.join(factor[0].axes)} has {len(factor)}" for factor in factors)
        raise SweepError("axes of unequal length cannot be zipped", path, f"give them equally many values: {counts}")
    return [reduce(lambda a, b: _merge(a, b, path), row) for row in zip(*factors, strict=True)]


def _product(factors: list[list[Point]], path: tuple[str | int, ...]) -> list[Point]:
    return [reduce(lambda a, b: _merge(a, b, path), row, Point()) for row in product(*factors)]


def _merge(one: Point, other: Point, path: tuple[str | int, ...] = ()) -> Point:
    twice = one.names.keys() & other.names.keys()
    if twice:
        name = min(twice)
        raise SweepError(f"the name {name!r} is defined twice on one level", path, "rename or remove one of them")
    return Point({**one.axes, **other.axes}, {**one.names, **other.names}, {**one.defaults, **other.defaults})


def merge(one: Point, other: Point) -> Point:
    """Put a stage's own point beside the study's.

    Raises:
        SweepError: both define a name.
    """
    return _merge(one, other)


def _kept(point: Point, sweep: Mapping[str, Any], evaluate: Evaluate, path: tuple[str | int, ...]) -> bool:
    if "filter" not in sweep:
        return True
    answer = evaluate(sweep["filter"], point.scope())
    if not isinstance(answer, bool):
        raise SweepError(
            f"the filter's value is {answer!r}", (*path, "filter"), "make it a comparison: true keeps the point"
        )
    return answer
