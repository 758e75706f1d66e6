"""Which of several definitions counts: in AutoExperiment the last, in a recipe the nearest. Pure.

A recipe refuses a name that a sweep defines twice, and looks a name up in the point, then the stage, then the study.
So what never counts is left out, and where a stage stands over the sweep, the sweep's own gets another name.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoexp.importers.autoexperiment.tree import Definition, renamed, without
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
    kept: list[Definition] = []
    for each in sorted(found, key=lambda one: place(where, one)):
        kept = [left for one in kept if (left := _under(one, each, notes)) is not None]
        kept.append(each)
    return kept


def _under(earlier: Definition, later: Definition, notes: Notes) -> Definition | None:
    """Return what is left of a definition once a later one stands beside it."""
    brings = {**later.brings(), later.name: True}
    if earlier.name in brings and not earlier.is_axis:
        if brings[earlier.name]:
            _tell(earlier, earlier.name, later, notes)
        return None if brings[earlier.name] else earlier
    if earlier.name in brings:
        notes.tell("unsure", earlier.path, f"its values make no difference: {later.name} defines it again, further on")
        earlier = renamed(earlier, earlier.name, f"{earlier.name}_swept")
    for name in earlier.brings().keys() & brings.keys():
        _tell(earlier, name, later, notes)
        earlier = without(earlier, name)
    return earlier


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
                named[name] = f"{name}_swept" if name == each.name else f"{name}_of_{each.name}"
                common[number] = renamed(common[number], name, named[name])
    return common, named


def counting(
    own: Iterable[Definition], common: Iterable[Definition], where: Positions, notes: Notes
) -> list[Definition]:
    """Leave out of a stage what the study defines further on."""
    kept = list(own)
    for each in common:
        earlier = [one for one in kept if place(where, one) < place(where, each)]
        under = {id(one): _under(one, each, notes) for one in earlier}
        kept = [left for one in kept if (left := under.get(id(one), one)) is not None]
    return kept
