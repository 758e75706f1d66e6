"""Which of several values of a name counts in OELLM's sweeps. Pure.

There each group of a product hands on whatever it was handed, base values and defaults too, and the values of a later
group are put over those of an earlier one. A recipe refuses a name that two groups define, so what never counts is
left out here, before the sweep is read; what counts at some points only makes two products of one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoexp.importers.notes import Notes
from autoexp.places import KeyPath

FIXED = ("base_values", "defaults")
LISTS = ("groups", "configs", "grids")
LEVEL_KEYS = ("type", "filter", "params", *FIXED, *LISTS)
OTHER_KEYS = ("store_sweep_json", "list_composition")

Level = Mapping[str, Any]


def is_level(raw: Level) -> bool:
    """Say whether a mapping is a level of a sweep, and not an entry that only fixes values."""
    return not raw.keys().isdisjoint(LEVEL_KEYS)


def always(level: Level) -> set[str]:
    """List the names that each of a level's points has a value for."""
    found = _own(level)
    for key in LISTS:
        if below := [always(each) for each in level.get(key) or ()]:
            found |= (set.union if _is_product(level, key) else set.intersection)(*below)
    return found


def given(level: Level) -> set[str]:
    """List the names that some point of a level has a value for."""
    return _own(level).union(*(given(each) for key in LISTS for each in level.get(key) or ()))


def _own(level: Level) -> set[str]:
    plain = level.keys() - {*LEVEL_KEYS, *OTHER_KEYS}
    return plain.union(*(level.get(key) or () for key in (*FIXED, "params")))


def _is_product(level: Level, key: str) -> bool:
    return key == "groups" and (level.get("type") or "product") == "product"


@dataclass(frozen=True, slots=True)
class Precedence:
    """Settles what counts, and tells of the rest."""

    notes: Notes
    composed: frozenset[str] = frozenset()
    """Names of which the values of all groups count, and not only the last one's."""
    lists: frozenset[str] = frozenset()
    """Those of them whose lists are put one after the other; the others choose configurations."""

    def settled(self, level: Level, path: KeyPath, handed: frozenset[str] = frozenset()) -> Level:
        """Return a level where no name is given twice; `handed` are the names that it has from above.

        Raises:
            RecipeError: a group's filter reads what a later group gives.
        """
        handed = handed.union(*(level.get(key) or () for key in FIXED))
        made = self._once(level, path)
        for key in ("groups", "configs"):
            if level.get(key):
                made[key] = [
                    self.settled(each, (*path, key, number), handed) if is_level(each) else each
                    for number, each in zip(_numbers(level[key], made[key]), made[key], strict=True)
                ]
        if _is_product(level, "groups") and len(made.get("groups") or ()) > 1:
            made = self._product(made, path, handed - self.composed)
        below = {key: value for key, value in made.items() if key not in FIXED}
        needless = always(below) - (self.composed - self.lists)
        for key in FIXED:
            if made.get(key):
                made[key] = {name: value for name, value in made[key].items() if name not in needless}
        return made

    def spread(self, level: Level, path: KeyPath, handed: Level, *, is_part: bool = False) -> Level:
        """Let each level without groups lend what it is handed of the names to compose; below a product, as lists.

        OELLM composes what each group of a product comes to, and a group that gives none comes to what it was handed.
        """
        if not self.lists:
            return level
        own = [item for key in FIXED for item in (level.get(key) or {}).items()]
        handed = {**handed, **{name: value for name, value in own if name in self.lists}}
        groups = level.get("groups") or ()
        if _is_product(level, "groups") and len(groups) > 1:
            is_part = True
            self._tell_of_repeated(handed, groups, path)
        made = dict(level)
        for key in FIXED:
            if level.get(key):
                made[key] = {name: value for name, value in level[key].items() if name not in self.lists}
        for key in ("groups", "configs"):
            if level.get(key):
                made[key] = [
                    self.spread(each, (*path, key, number), handed, is_part=is_part)
                    if is_level(each)
                    else self._listed(each, is_part=is_part)
                    for number, each in enumerate(level[key])
                ]
        if level.get("params"):
            rows = {name: value if isinstance(value, list) else [value] for name, value in level["params"].items()}
            lists = {name: [self._listed({name: each}, is_part=is_part)[name] for each in rows[name]] for name in rows}
            made["params"] = {**level["params"], **{name: lists[name] for name in lists if name in self.lists}}
        if handed and not groups:
            made["defaults"] = {**(made.get("defaults") or {}), **self._listed(handed, is_part=is_part)}
        return made

    def _tell_of_repeated(self, handed: Level, groups: Sequence[Level], path: KeyPath) -> None:
        for name in handed:
            if (count := sum(name not in always(each) for each in groups)) > 1:
                said = f"{name}: what stands above the groups is in the list {count} times, as OELLM has it: once for"
                self.notes.tell("unsure", path, f"{said} each group that gives none; give it in one of them")

    def _listed(self, values: Level, *, is_part: bool) -> Level:
        """Write what a product composes as lists, as OELLM takes it."""
        return {
            name: [value] if is_part and name in self.lists and not isinstance(value, list) else value
            for name, value in values.items()
        }

    def _once(self, level: Level, path: KeyPath) -> dict[str, Any]:
        """Leave out alternatives that are there already."""
        made = dict(level)
        for key in LISTS:
            if key in level and not _is_product(level, key):
                made[key] = self._distinct(level[key], (*path, key))
        if level.get("params"):
            found = level["params"].items()
            made["params"] = {name: self._distinct(values, (*path, "params", name)) for name, values in found}
        return made

    def _distinct(self, values: Any, path: KeyPath) -> Any:
        kept = _distinct(values) if isinstance(values, list) else values
        if kept != values:
            said = "what is there twice counts once: OELLM ran it again, as a job with the same values"
            self.notes.tell("mended", path, f"{said}; to repeat jobs, add an axis such as seed")
        return kept

    def _product(self, level: dict[str, Any], path: KeyPath, handed: frozenset[str]) -> dict[str, Any]:
        """Leave out of each group what a later one gives; the last gives at least what it was handed."""
        groups: list[Level] = list(level["groups"])
        for number, each in enumerate(groups[:-1]):
            after = groups[number + 1 :]
            counts = handed.union(*map(always, after)) - self.composed
            where = (*path, "groups", number)
            groups[number] = self._left(each, sorted(given(each) & counts), where)
            if at_times := (given(groups[number]) & set().union(*map(given, after))) - self.composed:
                name = min(at_times)
                place = next(place for place, one in enumerate(groups) if place > number and name in given(one))
                parts = [part for wanted in (True, False) if (part := _part(groups[place], name, wanted=wanted))]
                rows = [[*groups[:place], part, *groups[place + 1 :]] for part in parts]
                made = [self._product({"type": "product", "groups": row}, path, handed) for row in rows]
                return {**level, "type": "list", "groups": _distinct(made)}
        return {**level, "groups": groups}

    def _left(self, level: Level, names: list[str], path: KeyPath) -> Level:
        for name in names:
            self._check_filters(level, name, path)
            said = "is left out: in OELLM a later group of the product, or what the last one is handed, overwrites it"
            self.notes.tell("left-out", path, f"{name} {said}; jobs that differed in nothing else are one")
        return _without(level, set(names)) if names else level

    def _check_filters(self, level: Level, name: str, path: KeyPath) -> None:
        """Refuse a filter that would no longer find what it reads."""
        for said in _filters(level, name):
            if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", said):
                what = f"the filter {said!r:.80} reads {name}, which a later group overwrites"
                why = "OELLM filters by what comes of all groups, a recipe by the points of the level itself"
                raise self.notes.error(path, what, why=why, fix="move the filter to the level above, or rename one")


def _distinct(values: list[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def _numbers(values: Sequence[Any], kept: Sequence[Any]) -> Iterable[int]:
    """Say where those that are kept stand among all."""
    if len(kept) == len(values):
        return range(len(values))
    first: dict[str, int] = {}
    for number, value in enumerate(values):
        first.setdefault(repr(value), number)
    return first.values()


def _filters(level: Level, name: str) -> Iterator[str]:
    if name in given(level):
        yield str(level.get("filter"))
        for key in LISTS:
            for each in level.get(key) or ():
                yield from _filters(each, name)


def _without(level: Level, names: set[str]) -> Level:
    """Leave names out at any depth; alternatives that are alike then are one."""
    made: dict[str, Any] = {}
    for key, value in level.items():
        if key in LISTS:
            left = [_without(each, names) for each in value or ()]
            made[key] = left if _is_product(level, key) else _distinct(left)
        elif key in (*FIXED, "params"):
            if kept := {name: item for name, item in (value or {}).items() if name not in names}:
                made[key] = kept
        elif key not in names:
            made[key] = value
    return made


def _part(level: Level, name: str, *, wanted: bool) -> Level | None:
    """Return what has a value for a name, or what has none; of a product's groups only one gives it."""
    if name not in given(level) or name in _own(level):
        return level if wanted == (name in given(level)) else None
    made = dict(level)
    for key in LISTS:
        listed = level.get(key) or ()
        if not any(name in given(each) for each in listed):
            continue
        if _is_product(level, key):
            parts = [_part(each, name, wanted=wanted) if name in given(each) else each for each in listed]
            kept = [] if None in parts else parts
        else:
            kept = [part for each in listed if (part := _part(each, name, wanted=wanted)) is not None]
        if not kept:
            return None
        made[key] = kept
    return made
