"""Where a sweep has its axes, at all its levels, and how one is pinned to a value. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.places import KeyPath

KEYS = ("type", "params", "configs", "groups", "defaults", "filter", "require", "list_composition")
AXES = ("params", "configs", "groups")
"""The keys that make points."""
OF_A_LEVEL = (*AXES, "filter", "require", "list_composition")
"""An entry of `configs` with one of them is a level itself."""


Kept = tuple[KeyPath, list[int]]
"""A list, and the places in it of what is left there."""


class Unpinned(Exception):
    """An axis cannot be pinned to a value."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.why = why
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Axis:
    """A name that a level of a sweep gives several values, as they are written."""

    name: str
    path: KeyPath
    level: dict[str, Any]
    """The level that has it."""
    within: str
    """`params`, or `configs`: named entries there, or whole configurations that each give it a value."""
    beside: frozenset[str] = frozenset()
    """Names that are zipped with it, or stand in the same configurations: its values alone make no points."""

    @property
    def is_whole(self) -> bool:
        """Whether whole configurations give it its values."""
        return self.within == "configs" and isinstance(self.level["configs"], list)

    @property
    def values(self) -> list[Any]:
        """Its values, or its entries."""
        if self.is_whole:
            return [entry[self.name] for entry in self.level["configs"] if self._is_in(entry)]
        return _listed(self.level[self.within][self.name])

    @property
    def is_named(self) -> bool:
        """Whether its values are the names of entries."""
        return self.within == "configs" and not self.is_whole

    @property
    def labels(self) -> list[str]:
        """The names of its entries."""
        return [str(_label(entry)) for entry in _entries(self.values)]

    @property
    def brings(self) -> tuple[str, ...]:
        """Every name that its entries may define."""
        return tuple(names_in(self.values)) if self.is_named else ()

    def has(self, value: Any) -> bool:
        """Say whether a value is one of its own."""
        return any(_is(_label(each), value) for each in (_entries(self.values) if self.is_named else self.values))

    def pin(self, value: Any) -> "list[Kept]":
        """Leave only this value of it, in its level, and say what is left of the lists that become shorter.

        Raises:
            Unpinned: it has none such where one must be chosen.
        """
        if self.level.get("type") == "zip":
            return self._pin_zipped(value)
        if self.is_whole:
            self._check_any(self.values, [entry for entry in self.values if _is(entry, value)])
            entries = self.level["configs"]
            kept = [n for n, each in enumerate(entries) if not self._is_in(each) or _is(each[self.name], value)]
            self.level["configs"] = [entries[number] for number in kept]
            return [(self.path[:-2], kept)]
        if self.within == "params":
            self._check_number(value)
            self.level["params"][self.name] = [value]
            return [(self.path, [])]
        entries = [(number, entry) for number, each in enumerate(self.values) for entry in _entries([each])]
        named = [(number, entry) for number, entry in entries if _is(_label(entry), value)]
        self._check_any([_label(entry) for _, entry in entries], named)
        self.level["configs"][self.name] = [entry for _, entry in named]
        return [(self.path, [number for number, _ in named])]

    def _pin_zipped(self, value: Any) -> "list[Kept]":
        """Leave the same places of all axes that are zipped with it."""
        if self.level.get("groups"):
            raise Unpinned("it is zipped with groups", "filter the sweep, or plan some of its jobs by --where")
        values = self.values if self.within == "params" or self.is_whole else list(map(_label, self.values))
        kept = [number for number, each in enumerate(values) if _is(each, value)]
        self._check_any(values, kept)
        above = self.path[: -3 if self.is_whole else -2]
        shorter: list[Kept] = []
        for key in ("params", "configs"):
            axes = self.level.get(key) or {}
            if isinstance(axes, list):
                self.level[key] = [axes[number] for number in kept]
                shorter.append(((*above, key), kept))
                continue
            for name, listed in axes.items():
                if len(_listed(listed)) == len(values):
                    axes[name] = [_listed(listed)[number] for number in kept]
                    shorter.append(((*above, key, name), kept))
        return shorter

    def _is_in(self, entry: Any) -> bool:
        return isinstance(entry, Mapping) and not is_level(entry) and self.name in entry

    def _check_number(self, value: Any) -> None:
        """Refuse text, such as `1,2`, or a list where all its values are numbers; what is evaluated may be one."""
        is_none = value is None or isinstance(value, list | bool) or (isinstance(value, str) and "${" not in value)
        if is_none and all(isinstance(each, int | float) and not isinstance(each, bool) for each in self.values):
            several = f"{'.'.join(map(str, self.path))}=[{', '.join(map(str, self.values))}]"
            fix = f"give it one number, such as 8, 1e-3 or '${{quantity:100M}}'; several: '{several}'"
            raise Unpinned(f"its values are numbers, and {value!r} is none", fix)

    def _check_any(self, known: list[Any], found: list[Any]) -> None:
        if not found:
            what = "entry" if self.within == "configs" and not self.is_whole else "value"
            raise Unpinned(f"the axis has no such {what}", f"use one of {', '.join(map(str, known))}")


@dataclass(frozen=True, slots=True)
class Parts:
    """A sweep, of which parts can be taken away that would have no point."""

    sweep: dict[str, Any]
    path: KeyPath
    """Where it stands."""

    def without(self, axis: Axis) -> "list[Kept]":
        """Take away what has this axis, and say what is left of the list that becomes shorter.

        Raises:
            Unpinned: nothing would be left, or what is zipped with it.
        """
        level = axis.path[len(self.path) : -3 if axis.is_whole else -2]
        if not axis.is_whole:
            return self._empty((*level, "params") if axis.within == "params" else (*level, "configs", axis.name))
        kept = [n for n, entry in enumerate(axis.level["configs"]) if axis.name not in entry or is_level(entry)]
        return self._shorten((*level, "configs"), kept)

    def _at(self, place: KeyPath) -> Any:
        found: Any = self.sweep
        for key in place:
            found = _listed(found)[key] if isinstance(key, int) else found[key]  # a single one needs no list
        return found

    def _empty(self, factor: KeyPath) -> "list[Kept]":
        """Take away what a level multiplies, zips or lists; if it lists, the rest of it stays."""
        place = _above(factor)
        level = self._at(place)
        if level.get("type") == "list":
            del self._at(factor[:-1])[factor[-1]]
            if any(level.get(key) for key in AXES):
                return []
        return self._end(place)

    def _end(self, level: KeyPath) -> "list[Kept]":
        """Take away a level: one of a list's groups, or an entry; what multiplies it has no point either."""
        if not level:
            raise Unpinned("it is part of all points", "filter the sweep, or plan some of its jobs by --where")
        if level[-2] == "groups" and self._at(level[:-2]).get("type") != "list":
            return self._end(level[:-2])
        listed = level[:-1] if isinstance(level[-1], int) else level[:-2]
        entries = self._at(listed)
        number: Any = level[len(listed)]
        if listed == level[:-2]:  # an entry with a name
            entry = entries[number] if isinstance(entries, list) else entries
            del entry[level[-1]]
            if entry:
                return []
        return self._shorten(listed, [n for n in range(len(_listed(entries))) if n != number])

    def _shorten(self, listed: KeyPath, kept: list[int]) -> "list[Kept]":
        if not kept:
            return self._empty(listed)
        holder = self._at(listed[:-1])
        if self._at(_above(listed)).get("type") == "zip":
            raise Unpinned("it is zipped with others", "filter the sweep, or plan some of its jobs by --where")
        holder[listed[-1]] = [holder[listed[-1]][number] for number in kept]
        return [((*self.path, *listed), kept)]


def _above(factor: KeyPath) -> KeyPath:
    """Say where the level stands whose `params`, `groups`, configurations or entries these are."""
    return factor[:-2] if factor[-2:-1] == ("configs",) else factor[:-1]


def is_level(entry: Mapping[str, Any]) -> bool:
    """Say whether an entry of `configs` is a level itself, rather than names with their values."""
    return entry.keys() <= set(KEYS) and not entry.keys().isdisjoint(OF_A_LEVEL)


def axes_of(sweep: Any, path: KeyPath, beside: frozenset[str] = frozenset()) -> Iterator[Axis]:
    """List the axes of a sweep, with those of its groups and of entries that are levels themselves."""
    if not isinstance(sweep, dict):
        return
    if sweep.get("type") == "zip":
        beside = beside.union(*(names_in(sweep.get(key)) for key in AXES))
    params, configs = sweep.get("params") or {}, sweep.get("configs") or {}
    for name in params if isinstance(params, Mapping) else ():
        yield Axis(str(name), (*path, "params", name), sweep, "params", beside)
    yield from _named(sweep, configs, (*path, "configs"), beside) if isinstance(configs, Mapping) else ()
    yield from _whole(sweep, configs, (*path, "configs"), beside) if isinstance(configs, list) else ()
    for number, group in enumerate(_listed(sweep.get("groups") or [])):
        yield from axes_of(group, (*path, "groups", number), beside)


def names_beside(level: Mapping[str, Any], path: KeyPath) -> set[str]:
    """List the names that other parts of a sweep give a point, as seen from a key of it: there they have none yet.

    An axis may have what its own name stands for outside of the sweep; what a level of type list has besides, and
    what other entries bring, belongs to other points.
    """
    part = path[:2]
    if part[0] not in AXES:
        return set()
    found = {*(level.get("defaults") or {})}
    for axis in axes_of(level, ()):
        if axis.path == part and len(path) > len(part):
            found.add(axis.name)
        elif axis.path[:2] != part and not _is_other_point(level, part, axis.path):
            found |= {axis.name, *_brought(axis)}
    inner, rest = _inner(level, path)
    if part[0] == "groups" or is_level(inner):
        return found | names_beside(inner, rest)
    return found | inner.keys() - {*rest}


def _is_other_point(level: Mapping[str, Any], part: KeyPath, other: KeyPath) -> bool:
    """Say whether two parts of a level make points of their own each."""
    if part[0] == other[0] == "configs" and isinstance(level["configs"], list):
        return True
    return level.get("type") == "list" and not part[0] == other[0] == "params"


def _brought(axis: Axis) -> Iterator[str]:
    """List the names that its entries bring, but for those of axes inside of them."""
    for entry in _entries(axis.values) if axis.is_named else ():
        body = (next(iter(entry.values())) or {}) if isinstance(entry, dict) else {}
        yield from (body.get("defaults") or {}) if is_level(body) else body


def _inner(level: Mapping[str, Any], path: KeyPath) -> tuple[Mapping[str, Any], KeyPath]:
    """Step into the group, or the entry, that a path leads through, if it does."""
    key, which, *rest = path
    if key == "groups":
        return _listed(level[key])[int(which)], (*rest,)
    if key == "configs" and isinstance(which, int):
        return level[key][which], (*rest,)
    if key == "configs" and rest:
        entry = _listed(level[key][which])[int(rest[0])]
        return next(body for name, body in entry.items() if str(name) == rest[1]) or {}, (*rest[2:],)
    return {}, ()


def _named(sweep: dict[str, Any], configs: Mapping[str, Any], path: KeyPath, beside: frozenset[str]) -> Iterator[Axis]:
    for name, entries in configs.items():
        yield Axis(str(name), (*path, name), sweep, "configs", beside)
        for number, entry in enumerate(_listed(entries)):
            for label, body in entry.items() if isinstance(entry, dict) else ():
                if isinstance(body, dict) and is_level(body):
                    yield from axes_of(body, (*path, name, number, label), beside)


def _whole(sweep: dict[str, Any], configs: list[Any], path: KeyPath, beside: frozenset[str]) -> Iterator[Axis]:
    seen: set[str] = set()
    together = beside.union(names_in(configs))
    for number, entry in enumerate(configs):
        if isinstance(entry, dict) and is_level(entry):
            yield from axes_of(entry, (*path, number), beside)
        elif isinstance(entry, dict):
            new = [name for name in entry if name not in seen]
            yield from (Axis(name, (*path, number, name), sweep, "configs", together) for name in new)
            seen |= entry.keys()


def _entries(values: list[Any]) -> Iterator[Any]:
    """Take mappings of several entries apart."""
    for value in values:
        yield from ({name: body} for name, body in value.items()) if isinstance(value, dict) else [value]


def _label(entry: Any) -> Any:
    return next(iter(entry)) if isinstance(entry, dict) and entry else entry


def _is(one: Any, other: Any) -> bool:
    return bool(one == other) or str(one) == str(other)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def names_in(entries: Any) -> Iterator[str]:
    """List every key in a value, at any depth: a generous answer to what a sweep may define."""
    if isinstance(entries, Mapping):
        for key, value in entries.items():
            yield str(key)
            yield from names_in(value)
    elif isinstance(entries, list | tuple):
        for entry in entries:
            yield from names_in(entry)
