"""Hydra's composition, as far as OELLM's trees of configurations use it: what `defaults` come to.

A file stands at the package of its group, or where its `# @package` says; later ones are merged over earlier ones,
and `override` says what another file's choice of a group is to be.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoexp import recipes
from autoexp.importers.notes import Notes

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
_DEPTH = 6
"""How many folders up the root of the configurations may be."""
SCHEMA = "defaults"
"""Files named after it hold what a program takes anyway: known, but nothing to ask for."""


@dataclass(slots=True)
class Tree:
    """A folder of configurations, and what has been composed of it."""

    file: Path
    notes: Notes
    root: Path | None = field(init=False)
    choices: dict[str, str] = field(default_factory=dict)
    """What was chosen of each group, the first of several: what that one is made of comes after it."""
    config: dict[str, Any] = field(default_factory=dict)
    usual: dict[str, Any] = field(default_factory=dict)
    """What files of `SCHEMA` say."""
    _overrides: dict[str, Any] = field(default_factory=dict)
    _within: list[Path] = field(default_factory=list)
    """The files that are being added, the outermost first."""

    def __post_init__(self) -> None:
        self.root = None

    def compose(self) -> None:
        """Compose the file, with all that it names."""
        entries = self._defaults(_load(self.file), self.file)
        groups = [key.rpartition(" ")[2] for entry in entries if isinstance(entry, Mapping) for key in entry]
        self.root = _root(self.file, [name.partition("@")[0] for name in groups if name.lstrip("/")])
        folder = "" if self.root is None else self.file.resolve().parent.relative_to(self.root).as_posix()
        self._add(self.file, "" if folder == "." else folder, top=True)

    def is_group(self, name: str) -> bool:
        """Say whether a name is that of a folder of choices."""
        return self.root is not None and (self.root / name).is_dir()

    def choose(self, group: str, name: str) -> dict[str, Any]:
        """Return what one choice of a group comes to, below the group's package, schemas aside."""
        other = Tree(self.file, self.notes)
        other.root = self.root
        other._take(group, name)
        found: Any = other.config
        for part in group.split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return dict(found) if isinstance(found, Mapping) else {}

    def _defaults(self, raw: dict[str, Any], path: Path) -> list[Any]:
        """Take what a file is made of out of it."""
        entries = raw.pop("defaults", None) or []
        if not isinstance(entries, list) or not all(isinstance(entry, str | Mapping) for entry in entries):
            why = "it is a list of names, and of GROUP: NAME"
            raise self.notes.error(("defaults",), f"{path.name}: these are no defaults", why=why, fix="correct it")
        return entries

    def _add(self, path: Path, group: str, *, top: bool = False) -> None:
        raw = _load(path)
        entries = self._defaults(raw, path)
        if "_self_" not in entries:
            entries.append("_self_")
        if top:
            self._overrides = dict(_overriding(entries, group))
        package = _package(path, group, is_top=top)
        for entry in entries:
            if entry == "_self_":
                self._merge(raw, package, path)
            elif isinstance(entry, str):
                self._take(*_place(entry, group))
            else:
                self._take_all(entry, group)

    def _take_all(self, entry: Mapping[str, Any], group: str) -> None:
        """Add the choices of groups that one entry makes."""
        for key, chosen in entry.items():
            if key.startswith("override "):
                continue
            there = _group(key, group)
            wanted = self._overrides.get(there, chosen)
            for name in wanted if isinstance(wanted, list) else [wanted]:
                if name is not None:
                    self._take(there, str(name))

    def _take(self, group: str, name: str) -> None:
        path = None if self.root is None else (self.root / group / f"{name}.yaml").resolve()
        if path is None or self.root is None or not path.is_file() or not path.is_relative_to(self.root):
            said = f"{group}/{name}.yaml is not here, and what it says is missing"
            self.notes.tell("left-out", ("defaults",), said)
            return
        if path in self._within:
            circle = " -> ".join(each.name for each in (*self._within, path))
            fix = "let one of them name no other"
            raise self.notes.error(("defaults",), f"{path.name} is made of itself", why=circle, fix=fix)
        self.choices.setdefault(group, name)
        self._within.append(path)
        self._add(path, path.parent.relative_to(self.root).as_posix())
        self._within.pop()

    def _merge(self, raw: Mapping[str, Any], package: str, path: Path) -> None:
        nested: Any = dict(raw)
        for part in reversed([part for part in package.split(".") if part]):
            nested = {part: nested}
        if SCHEMA in path.stem:
            self.usual = _merged(self.usual, nested)
        else:
            self.config = _merged(self.config, nested)


def _load(path: Path) -> dict[str, Any]:
    text = recipes.read_text(path)
    words = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {} if words in ([], ["null"]) else recipes.load_yaml(path)[0]


def _root(file: Path, groups: list[str]) -> Path | None:
    """Find the folder that the groups are below: the nearest one up that has the first of them."""
    first = next((name.strip("/") for name in groups if name.startswith("/")), groups[0] if groups else "")
    for folder in list(file.resolve().parents)[:_DEPTH] if first else ():
        if (folder / first).is_dir():
            return folder
    return file.resolve().parent if first else None


def _package(path: Path, group: str, *, is_top: bool) -> str:
    found = _PACKAGE.search(recipes.read_text(path))
    if is_top or (found and found[1] == "_global_"):
        return ""
    return found[1].removeprefix("_global_.") if found and found[1] != "_group_" else group.replace("/", ".")


def _place(entry: str, group: str) -> tuple[str, str]:
    """Split a file that is named without its group."""
    whole = entry.lstrip("/") if entry.startswith("/") else f"{group}/{entry}".lstrip("/")
    folder, _, name = whole.rpartition("/")
    return folder, name.removesuffix(".yaml")


def _group(key: str, group: str) -> str:
    name = key.removeprefix("optional ").partition("@")[0]
    return name.lstrip("/") if name.startswith("/") or not group else f"{group}/{name}"


def _overriding(entries: list[Any], group: str) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        for key, chosen in entry.items() if isinstance(entry, Mapping) else ():
            if key.startswith("override "):
                yield _group(key.removeprefix("override ").strip(), group), chosen


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put a configuration over another one; null is a value here."""
    both = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping):
            both[key] = _merged(base[key], over[key])
    return both
