"""OELLM's sweeps, the README's forms and HEAD's, taken apart by stage. Pure.

A level is a tree of nodes: what it fixes, the axes it has, and further levels. What belongs to one stage is the same
tree with the branches of all others cut off; what is left without a choice is no sweep any more, but a value.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from autoexp.importers.notes import Notes
from autoexp.importers.oellm.precedence import LEVEL_KEYS, LISTS, OTHER_KEYS, Precedence, always, is_level
from autoexp.places import KeyPath

STAGE = "stage"
OF_GROUPS = re.compile(
    r"backend\.(class_name|command|env\..*)|slurm\.(sbatch|env)\..*|container\.(image|sif|runtime|bind|env\..*)|job\..*"
)
"""What a stage takes of another choice of a whole group; launchers and the like are autoexp's own."""
KEYS = (*LEVEL_KEYS, *OTHER_KEYS)
ALIKE = 0.75
"""How much of a key must be another one's to be a mistake for it."""
SCALARS = (str, int, float, bool, type(None))

Choose = Callable[[str, str], Mapping[str, Any]]
"""Says what one choice of a group of configurations comes to, by dotted path."""


@dataclass(frozen=True, slots=True)
class Node:
    """One level: all of `params` with one another and with `children`, or one child after the other."""

    kind: str = "product"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, list[Any]] = field(default_factory=dict)
    children: tuple["Node", ...] = ()
    filter: Any = None
    label: str = ""
    """What a choice of a group of configurations is called."""
    composed: frozenset[str] = frozenset()
    """Paths whose lists are put one after the other, where several children give them."""

    def apart(self) -> set[str]:
        """List the paths that several children give, and that are composed."""
        return {path for path in self.composed if sum(path in child.paths() for child in self.children) > 1}

    @property
    def is_plain(self) -> bool:
        """It fixes values, and has nothing to choose."""
        return not self.params and not self.children and self.filter is None

    def names_stages(self) -> bool:
        """Say whether some of it belongs to one stage only."""
        return STAGE in self.fixed or STAGE in self.params or any(child.names_stages() for child in self.children)

    def stages(self) -> Iterator[str]:
        """Yield the stages it names, in order."""
        if not any(child.names_stages() for child in self.children):
            yield from (str(each) for each in self.params.get(STAGE, [self.fixed.get(STAGE, "")]) if each)
        for child in self.children:
            yield from child.stages()

    def always(self) -> set[str]:
        """List every path that each of its points has a value for."""
        below = [child.always() for child in self.children]
        joined = set.union if self.kind == "product" else set.intersection
        return {*self.fixed, *self.params, *(joined(*below) if below else ())}

    def values(self) -> Iterator[tuple[str, Any]]:
        """Yield everything that it gives to a path, and its filters."""
        yield from self.fixed.items()
        yield from ((path, value) for path, values in self.params.items() for value in values)
        yield "filter", self.filter
        for child in self.children:
            yield from child.values()

    def paths(self) -> set[str]:
        """List every path that it gives a value to."""
        return {*self.fixed, *self.params}.union(*(child.paths() for child in self.children))


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads levels as they are written."""

    notes: Notes
    choose: Choose
    is_group: Callable[[str], bool] = lambda _: False
    """Says whether a key without a slash names a folder of choices."""
    plain: frozenset[str] = frozenset()
    """Paths that every point has a value of its own for, whatever it chooses."""
    composed: frozenset[str] = frozenset()
    """Paths whose lists are put one after the other, of each group of a product."""

    def node(self, raw: Mapping[str, Any], path: KeyPath) -> Node:
        """Read a level of any form.

        Raises:
            RecipeError: it is no level, or a filter of it reads what is overwritten.
        """
        self._check(raw, path)
        every = frozenset(raw.get("list_composition") or ())
        composed = frozenset(name for name in every if not self._is_choice(name))
        precedence = Precedence(self.notes, every, composed)
        level = precedence.settled(precedence.spread(raw, path, {}), path)
        plain = frozenset(name for name in always(level) if not self._is_choice(name))
        return replace(self, plain=plain, composed=composed).level(level)

    def level(self, raw: Mapping[str, Any]) -> Node:
        """Read a level of a sweep where no name is given twice."""
        fixed = {**self._fixed(raw.get("base_values")), **self._fixed(raw.get("defaults"))}
        params = dict(raw.get("params") or {})
        for key, value in raw.items():
            if key in LEVEL_KEYS or key in OTHER_KEYS:
                continue
            if isinstance(value, list) and all(isinstance(item, SCALARS) for item in value) and "/" not in key:
                params[key] = value
            else:
                fixed |= self._fixed({key: value})
        kind = str(raw.get("type") or "product")
        children = [*self._children(raw, "groups"), *self._list(raw, "grids"), *self._list(raw, "configs")]
        for name in [name for name, value in params.items() if isinstance(value, str) and "${" in value]:
            fixed[name] = params.pop(name)  # it follows from the other axes
        grid = {name: value if isinstance(value, list) else [value] for name, value in params.items()}
        if kind == "product":
            children += [self._choices(name, grid.pop(name)) for name in params if self._is_choice(name)]
        if grid and (kind == "list" or not children):
            children.append(Node(params=grid))
            grid = {}
        kept = None if raw.get("filter") is True else raw.get("filter")
        composed = self.composed if kind == "product" else frozenset[str]()
        return _alone(Node(kind, fixed, grid, tuple(children), kept, composed=composed))

    def _check(self, raw: Any, path: KeyPath) -> None:
        """Refuse what has not the shape of a level, and say what is not done of it."""
        level = raw if isinstance(raw, Mapping) else {}
        maps = ("params", "defaults", "base_values")
        for at, value in ((path, raw), *(((*path, key), level.get(key)) for key in (*maps, *LISTS))):
            kind, said = (list, "a list") if at[-1] in LISTS else (Mapping, "a mapping")
            if value is not None and not isinstance(value, kind):
                why = f"in OELLM's sweeps {at[-1]} is {said}"
                raise self.notes.error(at, f"{value!r:.80} is no {at[-1]}", why=why, fix=f"write {said}")
        if (of := level.get("type") or "product") not in ("product", "list"):
            what, why = f"{of!r} is no type of sweep", "OELLM has product and list"
            raise self.notes.error((*path, "type"), what, why=why, fix="write one of them")
        listed = level.get("list_composition") or []
        if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
            here, why = (*path, "list_composition"), "it lists the names whose values are put into one list"
            raise self.notes.error(here, f"{listed!r:.80} are no names", why=why, fix="write a list of names")
        self._check_keys(level, path)
        for key in LISTS:
            for number, each in enumerate(level.get(key) or ()):
                here = (*path, key, number)
                if not isinstance(each, Mapping):
                    why = "groups and configs are lists of mappings"
                    raise self.notes.error(here, f"{each!r} is no level", why=why, fix="write NAME: VALUE")
                if key != "grids" and (key == "groups" or is_level(each)):
                    self._check(each, here)

    def _check_keys(self, level: Mapping[str, Any], path: KeyPath) -> None:
        """Refuse a key that is nearly one of a level's: it would be taken for a name."""
        for key in level.keys() - set(KEYS):
            if "." not in key and (meant := get_close_matches(key, KEYS, 1, ALIKE)):
                fix = f"write {meant[0]}:, or give the value its full path"
                raise self.notes.error(
                    (*path, key), f"{key} is no part of a sweep", why="it is no path either", fix=fix
                )

    def _children(self, raw: Mapping[str, Any], key: str) -> Iterator[Node]:
        for each in raw.get(key) or ():
            if key == "grids":
                yield Node(params={name: value if isinstance(value, list) else [value] for name, value in each.items()})
            else:
                plain = key == "configs" and not is_level(each)
                yield Node(fixed=self._fixed(each), label=_chosen(each)) if plain else self.level(each)

    def _choices(self, name: str, values: list[Any]) -> Node:
        """Read an axis of choices as what each of them comes to."""
        entries = [{name: value} for value in values]
        return _alone(Node("list", children=tuple(Node(fixed=self._fixed(e), label=_chosen(e)) for e in entries)))

    def _list(self, raw: Mapping[str, Any], key: str) -> Iterator[Node]:
        """Read what stands one after the other, whatever the level's type."""
        found = tuple(self._children(raw, key))
        if found:
            yield _alone(Node("list", children=found))

    def _is_choice(self, key: str) -> bool:
        return "/" in key or self.is_group(key)

    def _fixed(self, raw: Any) -> dict[str, Any]:
        """Read values by dotted path; a choice of a group stands for all that its file says, below what is plain."""
        found: dict[str, Any] = {}
        for key, value in sorted((raw or {}).items(), key=lambda item: not self._is_choice(item[0])):
            if "/" in key:
                for name in value if isinstance(value, list) else [value]:
                    found |= self._chosen(key, str(name))
            elif self.is_group(key) and (names := _names(value)):
                found |= {"container.image": None, "container.sif": None} if key == "container" else {}
                for name in names:
                    found |= {path: each for path, each in self._chosen(key, name).items() if OF_GROUPS.match(path)}
            else:
                found |= flat(value, key) if isinstance(value, Mapping) and not is_control(key) else {key: value}
        return found

    def _chosen(self, group: str, name: str) -> dict[str, Any]:
        chosen = flat(self.choose(group, name), group.replace("/", "."))
        return {path: value for path, value in chosen.items() if path not in self.plain}


def _names(value: Any) -> list[str]:
    """List the choices that a value names; none, if it says itself what the group would."""
    listed = value if isinstance(value, list) else [value]
    return listed if all(isinstance(each, str) for each in listed) else []


def is_control(path: str) -> bool:
    """Say whether a path is a condition of the job's, a mapping that stays whole."""
    return "condition" in path or path.endswith("_events")


def flat(raw: Any, prefix: str = "") -> dict[str, Any]:
    """List a configuration's values by dotted path."""
    if not isinstance(raw, Mapping) or (prefix and is_control(prefix)):
        return {prefix: raw}
    found: dict[str, Any] = {}
    for key, value in raw.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _chosen(entry: Mapping[str, Any]) -> str:
    """Name an entry after the configurations it chooses."""
    chosen = [value for key, value in entry.items() if "/" in key]
    return "_".join(str(name) for value in chosen for name in (value if isinstance(value, list) else [value]))


def _alone(node: Node) -> Node:
    """Put a level and its only child together; a product takes in what merely fixes values."""
    if node.kind == "product":
        node = _absorbed(_composed(node))
    if len(node.children) != 1 or (node.filter is not None and node.children[0].filter is not None):
        return node
    (child,) = node.children
    if node.params.keys() & child.params.keys():
        return node
    fixed = {**node.fixed, **child.fixed}
    kept = child.filter if node.filter is None else node.filter
    return replace(
        child, fixed=fixed, params={**node.params, **child.params}, filter=kept, label=child.label or node.label
    )


def _composed(node: Node) -> Node:
    """Put lists one after the other that merely are fixed."""
    fixed, children = dict(node.fixed), node.children
    for path in sorted(node.apart()):
        if all(child.is_plain for child in children if path in child.paths()):
            fixed[path] = [item for child in children for item in child.fixed.get(path, ())]
            children = tuple(
                replace(child, fixed={name: value for name, value in child.fixed.items() if name != path})
                for child in children
            )
    return replace(node, fixed=fixed, children=children)


def _absorbed(node: Node) -> Node:
    """Take into a product what merely fixes values, and axes of which nothing else is said."""
    fixed, params, apart = dict(node.fixed), dict(node.params), node.apart()
    kept: list[Node] = []
    for child in node.children:
        is_grid = not child.children and not child.fixed and child.filter is None
        if not apart.isdisjoint(child.paths()):
            kept.append(child)
        elif child.is_plain:
            fixed |= child.fixed
        elif is_grid and not kept and params.keys().isdisjoint(child.params):
            params |= child.params
        else:
            kept.append(child)
    return replace(node, fixed=fixed, params=params, children=tuple(kept))


def of_stage(node: Node, stage: str, current: str) -> Node | None:
    """Cut off what belongs to other stages than this one; None if nothing is left.

    `current` is the stage of what names none.
    """
    current = str(node.fixed.get(STAGE, current))
    if STAGE in node.params:
        if stage not in map(str, node.params[STAGE]):
            return None
        current = stage
    fixed = {name: value for name, value in node.fixed.items() if name != STAGE}
    params = {name: values for name, values in node.params.items() if name != STAGE}
    bearing = [child for child in node.children if child.names_stages()]
    if not bearing:
        return replace(node, fixed=fixed, params=params) if current == stage else None
    if node.kind == "list":
        kept = [left for child in node.children if (left := of_stage(child, stage, current)) is not None]
    else:
        cut = [of_stage(child, stage, current) if child in bearing else child for child in node.children]
        kept = [] if None in cut else [child for child in cut if child is not None]
    return _alone(replace(node, fixed=fixed, params=params, children=tuple(kept))) if kept else None


def lifted(node: Node, concerns: Callable[[str], bool]) -> Node:
    """Let the top of a tree fix those of the paths concerned that all of its points have the same value for."""
    children = [lifted(child, concerns) for child in node.children]
    apart = node.apart()
    found: dict[str, Any] = {}
    for child in children if node.kind == "product" else children[:1]:
        found |= {
            path: value
            for path, value in child.fixed.items()
            if concerns(path)
            and path not in apart
            and (node.kind == "product" or all(each.fixed.get(path) == value for each in children))
        }
    kept = tuple(
        replace(child, fixed={path: value for path, value in child.fixed.items() if path not in found})
        for child in children
    )
    return replace(node, fixed={**node.fixed, **found}, children=kept)


def shared(nodes: list[Node]) -> tuple[Node, list[Node]]:
    """Take out of the stages' sweeps what all of them have."""
    if len(nodes) == 1 and not nodes[0].fixed:
        return nodes[0], [Node()]
    if any(node.filter is not None or node.kind == "list" for node in nodes):
        alike = all(_parts(node) == _parts(nodes[0]) for node in nodes)
        return (replace(nodes[0], fixed={}), [Node(fixed=node.fixed) for node in nodes]) if alike else (Node(), nodes)
    params = {n: v for n, v in nodes[0].params.items() if all(node.params.get(n) == v for node in nodes)}
    children = tuple(child for child in nodes[0].children if all(child in node.children for node in nodes))
    apart = set().union(*(node.apart() for node in nodes))
    if any(child not in children for node in nodes for child in node.children if not apart.isdisjoint(child.paths())):
        children = tuple(child for child in children if apart.isdisjoint(child.paths()))  # lists have one order
    rest = [
        replace(
            node,
            params={name: values for name, values in node.params.items() if name not in params},
            children=tuple(child for child in node.children if child not in children),
        )
        for node in nodes
    ]
    return Node(params=params, children=children, composed=nodes[0].composed), rest


def _parts(node: Node) -> tuple[Any, str, Mapping[str, list[Any]], tuple[Node, ...], frozenset[str]]:
    return node.filter, node.kind, node.params, node.children, node.composed
