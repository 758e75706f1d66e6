"""AutoExperiment's sweep language: what a file defines, and the stages it is a union of. Pure.

A mapping is a product over its keys, a list a union; a list of `- NAME: ...` is a union of named branches. What
stands deepest defines a name, wherever its mapping is nested, and of two definitions the later one counts.
Branches that bring a job's own fields (its template, its conditions) are what we call stages.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from autoexp.importers.notes import Notes
from autoexp.places import KeyPath

JOB_FIELDS = ("template", "sbatch_script", "output_file", "start_condition_cmd", "termination_str", "termination_cmd")
"""What tells one kind of job from another."""
SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Definition:
    """One name with its value, or its branches."""

    name: str
    value: Any
    path: KeyPath
    other: str = ""
    """The name that it stands for, where the branches beside it give none: what comes before them counts then."""

    @property
    def is_axis(self) -> bool:
        """It has several values, or branches."""
        return isinstance(self.value, list)

    @property
    def is_named(self) -> bool:
        """Its values are named branches."""
        return self.is_axis and isinstance(self.value[0], Mapping)

    def brings(self) -> dict[str, bool]:
        """List the names that its branches define, and whether all of them do."""
        return _brought(self.value) if self.is_named else {}


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of job: the branches that lead to it, and what they define, in the file's order."""

    labels: tuple[tuple[str, str], ...]
    """Each axis of kinds with the branch taken."""
    own: tuple[Definition, ...]
    """What only this kind defines."""


def definitions(mapping: Mapping[str, Any], path: KeyPath, notes: Notes) -> Iterator[Definition]:
    """Yield what a mapping defines, at any depth of plain mappings, in order.

    Raises:
        RecipeError: a list mixes kinds, or is empty.
    """
    for name, value in mapping.items():
        where = (*path, name)
        if isinstance(value, Mapping):
            yield from definitions(value, where, notes)
        elif isinstance(value, list):
            _check_list(value, where, notes)
            yield Definition(name, _distinct(value, where, notes), where)
        else:
            yield Definition(name, value, where)


def _check_list(values: list[Any], path: KeyPath, notes: Notes) -> None:
    if not values:
        why = "a product with an empty list has no jobs at all"
        raise notes.error(path, "an empty list", why=why, fix="give it a value, or remove it")
    named = [isinstance(value, Mapping) and len(value) == 1 for value in values]
    if not all(named) and not all(isinstance(value, SCALARS) for value in values):
        why = "AutoExperiment takes a list of values, or a list of single names with what they bring"
        raise notes.error(path, "a list of mixed things", why=why, fix="write - NAME: {...} for each, or plain values")


def _distinct(values: list[Any], path: KeyPath, notes: Notes) -> list[Any]:
    """Leave out what is there already: whatever a value is, its text is what makes the jobs."""
    kept = list({str(value): value for value in values}.values())
    if len(kept) < len(values):
        said = "what is there twice counts once: AutoExperiment refuses the file, as two of its jobs have one name"
        notes.tell("mended", path, said)
    labels = [label(value) for value in kept]
    if twice := next((name for number, name in enumerate(labels) if name in labels[:number]), None):
        why, fix = "they bring different things, and their jobs would have one id", "give one of them another name"
        raise notes.error(path, f"two branches are called {twice}", why=why, fix=fix)
    return kept


def body(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a branch brings; a plain value, or a list, is one of the branch's own name."""
    ((name, value),) = entry.items()
    return value if isinstance(value, Mapping) else {name: value}


def label(entry: Any) -> str:
    """Return a branch's name."""
    return str(next(iter(entry))) if isinstance(entry, Mapping) else str(entry)


def _brought(entries: list[Any]) -> dict[str, bool]:
    found = [_given(body(entry)) for entry in entries]
    return {name: all(one.get(name) for one in found) for name in dict.fromkeys(name for one in found for name in one)}


def _given(mapping: Mapping[str, Any]) -> dict[str, bool]:
    """List the names that a mapping defines, and whether it does at each of its points."""
    made: dict[str, bool] = {}
    for name, value in mapping.items():
        is_named = isinstance(value, list) and value and isinstance(value[0], Mapping)
        below = _given(value) if isinstance(value, Mapping) else _brought(value) if is_named else {}
        found = below if isinstance(value, Mapping) else {**below, name: True}
        made |= {each: made.get(each, False) or whole for each, whole in found.items()}
    return made


def axes(value: Any) -> set[str]:
    """List the names that have several values in a mapping, or in branches, at any depth."""
    if isinstance(value, list):
        return set().union(*(axes(body(each)) for each in value if isinstance(each, Mapping)))
    if not isinstance(value, Mapping):
        return set()
    return {name for name, item in value.items() if isinstance(item, list)}.union(*map(axes, value.values()))


def kinds(definition: Definition) -> bool:
    """Say whether a definition tells kinds of jobs apart."""
    if definition.name == "template" and definition.is_axis:
        return True
    return definition.is_named and any(name in JOB_FIELDS for name in definition.brings())


def variants(found: list[Definition], notes: Notes) -> list[Variant]:
    """List the kinds of jobs that definitions come to; without branches of kinds there is one."""
    split = [_branches(each, notes) for each in found if kinds(each)]
    made = []
    for row in product(*split):
        labels = tuple(label for one in row for label in one.labels)
        made.append(Variant(labels, tuple(each for one in row for each in one.own)))
    return made


def _branches(axis: Definition, notes: Notes) -> list[Variant]:
    made = []
    for number, entry in enumerate(axis.value):
        name = label(entry)
        path = (*axis.path, number)
        named = Definition(axis.name, entry if not isinstance(entry, Mapping) else name, path)
        inside = list(definitions(body(entry), (*path, name), notes)) if isinstance(entry, Mapping) else []
        plain = tuple(each for each in inside if not kinds(each))
        here, own = (axis.name, name), (named, *plain)
        made += [Variant((here, *below.labels), (*own, *below.own)) for below in variants(inside, notes)]
    return made


def without(definition: Definition, name: str) -> Definition:
    """Leave a name out of all branches."""
    return replace(definition, value=_renamed(definition.value, name, None))


def renamed(definition: Definition, old: str, new: str) -> Definition:
    """Call a name otherwise, in all branches, or the axis itself."""
    own = new if definition.name == old else definition.name
    return replace(definition, name=own, value=_renamed(definition.value, old, new))


def _renamed(value: Any, old: str, new: str | None) -> Any:
    """Rename a key in branches' bodies; their names stay, None leaves it out."""
    if isinstance(value, list):
        return [
            {label(entry): _renamed(body(entry), old, new)} if isinstance(entry, Mapping) else entry for entry in value
        ]
    if not isinstance(value, Mapping):
        return value
    named = {(new if name == old else name): _renamed(item, old, new) for name, item in value.items()}
    return {name: item for name, item in named.items() if name is not None}
