"""Modalities' `sweep:` as axes of a recipe, each with the words that hand its values on. Pure.

There a mapping is the product of its keys, to any depth, and a list's items are alternatives that are never looked
into; anything else is a single value.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.importers.notes import Notes
from autoexp.naming import label, safe
from autoexp.places import KeyPath

ROOT = "sweep"
OURS = ("config", "workdir", "world", "gpus_per_node", "nodes", "processes")
"""What the recipe itself calls something."""
_RESERVED = {*OURS, "study", "stage", "job", "dir", "checkpoints", "output", "machine", "iteration", "checkpoint"}
_LONGEST_LABEL = 40
_PLAIN = re.compile(r"(?!(?:true|false|yes|no|on|off|null|y|n)$)[A-Za-z_][\w./-]*", re.IGNORECASE)
"""Text that YAML reads as that text."""
_SWEPT = re.compile(r"\$\{\s*sweep\.([^{}\s]+)\s*\}")


@dataclass(slots=True)
class Axes:
    """The sweep so far, and how its values come back into a configuration."""

    notes: Notes
    params: dict[str, Any] = field(default_factory=dict)
    """Single values."""
    values: dict[str, list[Any]] = field(default_factory=dict)
    entries: dict[str, list[Any]] = field(default_factory=dict)
    """Values with parts, named."""
    words: dict[str, str] = field(default_factory=dict)
    """The recipe's name for each place below `sweep`."""

    def add(self, path: KeyPath, value: Any) -> None:
        """Add what stands at a place.

        Raises:
            RecipeError: nothing is left to choose from there, or the place cannot be named.
        """
        if isinstance(value, Mapping | list) and not value:
            why = "Modalities ends there with: not enough values to unpack"
            raise self.notes.error((ROOT, *path), "there is nothing to sweep over", why=why, fix="give it values")
        if not isinstance(value, Mapping):
            return self._add_leaf(path, value)
        for key, item in value.items():
            if not re.fullmatch(r"[^\s.=\[\]$'\"]+", str(key)):
                why, fix = "the job names places by their keys with dots between", "rename it"
                raise self.notes.error((ROOT, *path), f"{key!r} cannot be the name of an axis", why=why, fix=fix)
            self.add((*path, key), item)
        return None

    def _add_leaf(self, path: KeyPath, value: Any) -> None:
        if not isinstance(value, list):
            self.params[self._name(path)] = _written(value)
            return
        items = distinct(value)
        if len(items) < len(value):
            said = "values that are there twice count once; Modalities wrote them into one folder"
            self.notes.tell("mended", (ROOT, *path), said)
        if any(isinstance(item, Mapping | list) for item in items) or len(set(map(label, items))) < len(items):
            self._add_entries(path, items)
        else:
            self.values[self._name(path)] = [_written(item) for item in items]

    def _add_entries(self, path: KeyPath, items: list[Any]) -> None:
        """Name the alternatives; their keys have names of their own where all have the same."""
        labels = [_label(item) for item in items]
        if len(set(labels)) < len(items) or max(map(len, labels)) > _LONGEST_LABEL:
            labels = [f"choice{number}" for number in range(1, len(items) + 1)]
        keys = [set(item) if isinstance(item, Mapping) else set() for item in items]
        axis = self._free(path)
        if keys[0] and all(each == keys[0] for each in keys):
            names = {key: self._name((*path, key)) for key in items[0]}
            bodies = [{names[key]: _written(value) for key, value in item.items()} for item in items]
        else:
            name = self._name((*path, "value"), ".".join(map(str, path)))
            bodies = [{name: _written(item)} for item in items]
        self.entries[axis] = [{label: body} for label, body in zip(labels, bodies, strict=True)]

    def _name(self, path: KeyPath, place: str = "") -> str:
        name = self._free(path)
        self.words[place or ".".join(map(str, path))] = name
        return name

    def _free(self, path: KeyPath) -> str:
        """Find a name that is not taken: the last key, or more of them."""
        taken = {*self.words.values(), *self.entries, *_RESERVED}
        whole = (ROOT, *map(str, path))
        for count in range(1, len(whole) + 1):
            name = re.sub(r"\W", "_", "_".join(whole[-count:]))
            if name not in taken and not name[0].isdigit():
                return name
        return f"{'_'.join(whole)}_{len(taken)}"

    def sweep(self, worlds: list[int]) -> dict[str, Any]:
        """Write the recipe's sweep, the world sizes behind the others."""
        configs = {"configs": dict(self.entries)} if self.entries else {}
        return {**configs, "params": {**self.values, "world": worlds}}


def _written(value: Any) -> Any:
    """Write a value so that the job's word for it reads as that value again, and nothing of it is ours."""
    is_plain = _PLAIN.fullmatch(value) if isinstance(value, str) else isinstance(value, int | float)
    if not is_plain:
        value = _json(value)
    return value.replace("${", "\\${") if isinstance(value, str) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def distinct(values: list[Any]) -> list[Any]:
    """Leave out what was there before; 1 is not true."""
    return list({_json(value): value for value in values}.values())


def _label(value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(f"{safe(str(key))}{_label(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "_".join(map(_label, value)) or "none"
    return safe(_json(value) if value is None or isinstance(value, bool) else str(value)).strip("._-+")


def pairs(value: Any, swept: Mapping[str, Any]) -> bool:
    """Say whether a value lists axes that are to go together."""
    rows = value if isinstance(value, list) else []
    return bool(rows) and all(isinstance(row, list) and row and set(map(str, row)) <= swept.keys() for row in rows)


def check(config: Mapping[str, Any], notes: Notes) -> None:
    """Tell of swept values that nothing refers to, and of references to what is not swept."""
    read = set(_references(config))
    leaves = [".".join(map(str, path)) for path in _leaves(config.get(ROOT), ())]
    for leaf in leaves:
        if not any(_is_within(leaf, name) or _is_within(name, leaf) for name in read):
            said = f"nothing refers to ${{sweep.{leaf}}}: all runs of this axis would be alike"
            notes.tell("unsure", (ROOT, *leaf.split(".")), said)
    for name in sorted(read):
        if not any(_is_within(leaf, name) or _is_within(name, leaf) for leaf in leaves):
            notes.tell("unsure", (), f"${{sweep.{name}}} is referred to, and not swept: every run would end there")


def _is_within(name: str, outer: str) -> bool:
    return f"{name}.".startswith(f"{outer}.")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _SWEPT.findall(value)
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _references(item)


def _leaves(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    if not isinstance(value, Mapping):
        yield path
        return
    for key, item in value.items():
        yield from _leaves(item, (*path, key))
