"""A node of a sweep as a level of a recipe. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoexp.importers.oellm.names import BUILT_IN, Names
from autoexp.importers.oellm.sweep import SCALARS, Node
from autoexp.importers.oellm.values import Values
from autoexp.naming import label, safe
from autoexp.sweep import SweepError, expand

MOST_AXES = 3
"""Values that tell entries apart by themselves; of more, an entry gets a name."""
LONGEST = 40


class Levels:
    """Writes levels; entries that are named get an axis of their own."""

    def __init__(self, names: Names, values: Values) -> None:
        self._names, self._values = names, values
        self._count = 0

    def write(self, node: Node) -> dict[str, Any]:
        """Write a level; what is fixed lends its names, as defaults."""
        level: dict[str, Any] = {}
        if node.params:
            level["params"] = {
                self._names.of(path): [self._values.value(each, path) for each in values]
                for path, values in node.params.items()
            }
        if node.children:
            made = self._list(node) if node.kind == "list" else self._groups(node)
            clash = level and (level.keys() & made.keys() or "type" in made)  # what stands above goes with each of them
            level |= {"groups": [made]} if clash else made
        if fixed := self._named(node.fixed):
            level |= {"defaults": fixed} if level else {"configs": [fixed]}
        if node.filter is not None:
            level["filter"] = self._values.value(node.filter)
        return level

    def _named(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Write values by name; what belongs to the job's own files and events has none."""
        ours = {path for path in fixed if path in BUILT_IN or path.startswith("job.")} - self._values.read
        return {self._names.of(p): self._values.value(value, p) for p, value in fixed.items() if p not in ours}

    def _groups(self, node: Node) -> dict[str, Any]:
        """Write what goes with one another."""
        composed = [self._names.of(path) for path in sorted(node.apart())]
        groups = [self.write(each) for each in node.children]
        return {"groups": groups, **({"list_composition": composed} if composed else {})}

    def _list(self, node: Node) -> dict[str, Any]:
        """Write what stands one after the other: an axis, entries with a name, or levels."""
        children = node.children
        if not all(child.is_plain for child in children):
            count = self._count
            made = {"type": "list", "groups": [self.write(each) for each in children]}
            if _tells_apart(made):
                return made
            self._count = count
            return self._entries(children)
        paths = {path for child in children for path in child.fixed}
        plain = all(_is_axis(value) for child in children for value in child.fixed.values())
        if plain and len(paths) == 1 and all(child.fixed for child in children):
            (path,) = paths
            return {"params": {self._names.of(path): [child.fixed[path] for child in children]}}
        if plain and len(paths) <= MOST_AXES and all(child.fixed.keys() == paths for child in children):
            return {"configs": [self._named(child.fixed) for child in children]}
        return self._entries(children)

    def _entries(self, children: Sequence[Node]) -> dict[str, Any]:
        """Write an axis of named entries; those that have more to choose are levels."""
        self._count += 1
        axis = "config" if self._count == 1 else f"config{self._count}"
        made = (self._named(child.fixed) if child.is_plain else self.write(child) for child in children)
        return {"configs": {axis: [{name: entry} for name, entry in zip(entry_names(children), made, strict=True)]}}


def _tells_apart(level: Mapping[str, Any]) -> bool:
    """Say whether the points of a level differ in their axes; what cannot be expanded is planning's to say."""
    try:
        points = expand(level, lambda value, _, path: path[-1] == "filter" or value)
    except SweepError:
        return True
    return len({frozenset((axis, label(value)) for axis, value in point.axes.items()) for point in points}) == len(
        points
    )


def _is_axis(value: Any) -> bool:
    return isinstance(value, SCALARS) and value is not None and not (isinstance(value, str) and "${" in value)


def entry_names(entries: Sequence[Node]) -> list[str]:
    """Name entries after what they choose, or after the first values that tell them apart."""
    if all(entry.label for entry in entries) and len({entry.label for entry in entries}) == len(entries):
        return [safe(entry.label) for entry in entries]
    given = [str(entry.fixed.get("job.name", "")) for entry in entries]
    if all(given) and len(set(map(safe, given))) == len(given) and "${" not in "".join(given):
        return [safe(name) for name in given]
    for names in _spelled(entries):
        if len(set(names)) == len(entries) and max(map(len, names)) <= LONGEST:
            return names
    return [str(number) for number in range(1, len(entries) + 1)]


def _spelled(entries: Sequence[Node]) -> Iterator[list[str]]:
    """Yield names of more and more of the values that differ."""
    paths = [path for path in entries[0].fixed if all(_is_axis(entry.fixed.get(path)) for entry in entries)]
    varying = [path for path in paths if len({label(entry.fixed[path]) for entry in entries}) > 1]
    for count in range(1, len(varying) + 1):
        yield [
            "_".join(f"{path.rpartition('.')[2]}{label(entry.fixed[path])}" for path in varying[:count])
            for entry in entries
        ]
