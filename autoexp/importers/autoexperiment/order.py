"""Which of several definitions counts: in AutoExperiment the last, in a recipe the nearest. Pure.

A recipe refuses a name that a sweep defines twice, and looks a name up in the point, then the stage, then the study.
So what never counts is left out, and where a stage stands over the sweep, the sweep's own gets another name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoexp.importers.autoexperiment.tree import Definition, axes, body, definitions, label, renamed, without
from autoexp.importers.notes import Notes
from autoexp.places import KeyPath

Positions = Mapping[KeyPath, int]


def positions(raw: Any) -> Positions:
    """Number everything in a file, in its order."""
    return {path: number for number, path in enumerate(_paths(raw, ()))}


def _paths(raw: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    items = raw.items() if isinstance(raw, Mapping) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


def place(where: Positions, definition: Definition) -> int:
    """Tell where a definition stands; one that is its branch's plain value stands where the branch does."""
    path = definition.path
    while path not in where:
        path = path[:-1]
    return where[path]


def settle(found: Iterable[Definition], where: Positions, notes: Notes) -> list[Definition]:
    """Leave out of one level what a later definition stands over."""
    return _settled(sorted(found, key=lambda one: place(where, one)), notes)


def _settled(found: Iterable[Definition], notes: Notes) -> list[Definition]:
    kept: list[Definition] = []
    for each in found:
        inside = replace(each, value=[_entry(entry, each, notes) for entry in each.value]) if each.is_named else each
        kept = [*_under(kept, inside, notes), inside]
    return kept


def _entry(entry: Mapping[str, Any], axis: Definition, notes: Notes) -> dict[str, Any]:
    """Settle what a branch brings, by itself."""
    inside = _settled(definitions(body(entry), axis.path, notes), notes)
    return {label(entry): {one.name: one.value for one in inside}}


def _under(earlier: list[Definition], later: Definition, notes: Notes) -> list[Definition]:
    """Return what is left of definitions once a later one stands beside them."""
    for name, is_whole in {**later.brings(), later.name: True}.items():
        if is_whole:
            earlier = [left for one in earlier if (left := _without(one, name, later, notes)) is not None]
        else:
            earlier = _lent(earlier, name, later, notes)
    return earlier


def _without(earlier: Definition, name: str, later: Definition, notes: Notes) -> Definition | None:
    """Leave a name out of a definition; an axis stays one, by another name."""
    if earlier.name == name and earlier.is_axis:
        notes.tell("unsure", earlier.path, f"its values make no difference: {later.name} defines it again, further on")
        return renamed(earlier, name, f"{name}_swept")
    if earlier.name != name and name not in earlier.brings():
        return earlier
    if name in axes(earlier.value):  # what its branches bring counts all the same
        return renamed(earlier, name, _other(earlier, name))
    _tell(earlier, name, later, notes)
    return None if earlier.name == name else without(earlier, name)


def _lent(earlier: list[Definition], name: str, later: Definition, notes: Notes) -> list[Definition]:
    """Keep what an axis gives a name for those branches of a later one that do not, by another name."""
    axis = next((one for one in earlier if one.is_axis and name in {one.name, *one.brings()}), None)
    if axis is None:
        return earlier
    if axis.name == name:
        notes.tell("unsure", axis.path, f"its values make no difference where {later.name} defines it again")
    new = _other(axis, name)
    made = [renamed(one, name, new) if one is axis or one.name == name else one for one in earlier]
    return [*made, Definition(name, f"{{{new}}}", axis.path, new)]


def _other(axis: Definition, name: str) -> str:
    """Call a name of an axis, or of its branches, otherwise."""
    return f"{name}_swept" if name == axis.name else f"{name}_of_{axis.name}"


def _tell(earlier: Definition, name: str, later: Definition, notes: Notes) -> None:
    said = f"{name} is left out: {notes.places.spell(later.path)} stands over it"
    notes.tell("left-out", earlier.path, said)


def lifted(
    common: list[Definition], own: Iterable[Definition], where: Positions
) -> tuple[list[Definition], dict[str, str]]:
    """Give other names to what the study's sweep brings, where a stage's later definition stands over it.

    Returns:
        The study's definitions, and the new name of each.
    """
    over = {name: place(where, each) for each in own for name in (each.name, *each.brings())}
    named: dict[str, str] = {}
    for number, each in enumerate(common):
        for name in sorted({each.name, *each.brings()} if each.is_axis else ()):
            if over.get(name, -1) > place(where, each):
                named[name] = _other(each, name)
                common[number] = renamed(common[number], name, named[name])
    return [renamed(each, each.name, named.get(each.name, each.name)) for each in common], named


def counting(
    own: Iterable[Definition], common: Sequence[Definition], where: Positions, notes: Notes
) -> list[Definition]:
    """Leave out of a stage what the study defines further on; what comes before counts where neither does."""
    kept = list(own)
    for each in reversed(common):  # the last one first: what it lends its name to may stand over the stage as well
        later = [one for one in kept if place(where, one) >= place(where, each)]
        earlier = [one for one in kept if one not in later]
        called = [renamed(one, each.name, each.other) for one in earlier]
        kept = [*(called if each.other else _under(earlier, each, notes)), *later]
    given = {one.name for one in kept if not one.is_axis}
    plain = {one.name: one for one in common if not one.is_axis}
    before = [replace(plain[one.name], name=one.other) for one in kept if one.other and one.name in plain]
    return [*kept, *(one for one in before if one.name not in given)]
