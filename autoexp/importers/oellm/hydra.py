"""A tree of configurations, as far as an experiment is made of it. What `defaults` come to is Hydra's to say."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoexp import recipes
from autoexp.errors import AutoexpError
from autoexp.importers.notes import Notes

if TYPE_CHECKING:
    from autoexp.importers.oellm.composition import Repository

_DEPTH = 6
"""How many folders up the root of the configurations may be."""
_HEADER = "# @package _global_\n"


@dataclass(slots=True)
class Tree:
    """A folder of configurations, and what has been composed of it."""

    file: Path
    notes: Notes
    root: Path | None = field(init=False, default=None)
    choices: dict[str, str] = field(init=False, default_factory=dict)
    """What was chosen of each group."""
    config: dict[str, Any] = field(init=False, default_factory=dict)
    usual: dict[str, Any] = field(init=False, default_factory=dict)
    """What files say that only list what a program takes anyway."""
    _repository: "Repository | None" = field(init=False, default=None)

    def compose(self) -> None:
        """Compose the file, with all that it names."""
        raw = _load(self.file)
        entries = raw.pop("defaults", None)
        if not entries:
            self.config = raw
            return
        self.root = _root(self.file, entries)
        with self._composing():
            from autoexp.importers.oellm import composition  # noqa: PLC0415 - only trees need hydra-core

            self._repository = composition.Repository(self._read)
            found = composition.listed(self._repository, self._main)
            self.usual, self.config = composition.merged(self._repository, found)
            chosen = found.overrides.known_choices
        self.choices = {group: name for group, name in chosen.items() if name}
        for group in (group for group, name in self.choices.items() if name == composition.UNCHOSEN):
            said = f"{group}: nothing is chosen of it, and what it would say is missing"
            self.notes.tell("left-out", ("defaults",), said)

    def is_group(self, name: str) -> bool:
        """Say whether a name is that of a folder of choices."""
        return self.root is not None and (self.root / name).is_dir()

    def choose(self, group: str, name: str) -> dict[str, Any]:
        """Return what one choice of a group comes to, below the group's package, schemas aside."""
        found: Any = {}
        with self._composing():
            from autoexp.importers.oellm import composition  # noqa: PLC0415 - see above

            if self._repository is not None and self._repository.config_exists(f"{group}/{name}"):
                listed = composition.listed(self._repository, f"{group}/{name}")
                _, found = composition.merged(self._repository, listed)
        for part in group.split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return dict(found) if isinstance(found, Mapping) else {}

    @property
    def _folder(self) -> Path:
        return self.root or self.file.resolve().parent

    @property
    def _main(self) -> str:
        return self.file.resolve().relative_to(self._folder).with_suffix("").as_posix()

    def _read(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """Read a file of the tree; what is none, or lies elsewhere, is told."""
        if name == self._main:  # all that it says stands where it says it
            return _HEADER, _load(self.file)
        path = (self._folder / f"{name.removesuffix('.yaml')}.yaml").resolve()
        if path.is_relative_to(self._folder) and path.is_file():
            return recipes.read_text(path), _load(path)
        said = f"{name.removesuffix('.yaml')}.yaml is not here, and what it says is missing"
        self.notes.tell("left-out", ("defaults",), said)
        return None

    @contextmanager
    def _composing(self) -> Iterator[None]:
        """Say what Hydra does not compose, in its words."""
        try:
            yield
        except AutoexpError:
            raise
        except ImportError as error:
            fix = "pip install 'autoexp[import]'"
            raise self.notes.error(("defaults",), "composing them needs hydra-core", why=str(error), fix=fix) from error
        except RecursionError as error:
            why = " -> ".join(_circle([] if self._repository is None else self._repository.asked))
            what, fix = f"{why.rpartition(' ')[2]}.yaml is made of itself", "let one of them name no other"
            raise self.notes.error(("defaults",), what, why=why, fix=fix) from error
        except Exception as error:  # Hydra also asserts, and takes what is not there
            why = " ".join(str(error).split()) or type(error).__name__
            fix = f"correct the defaults of that file, below {self._folder}"
            raise self.notes.error(("defaults",), "Hydra cannot compose this", why=why, fix=fix) from error


def _circle(asked: list[str]) -> list[str]:
    """Return the names that were asked for in a circle, from the one asked for first back to it."""
    steps = [name for name, before in zip(asked, [None, *asked], strict=False) if name != before]
    before = steps[:-1]
    if not steps or steps[-1] not in before:
        return steps[-1:]
    ring = before[len(before) - 1 - before[::-1].index(steps[-1]) :]
    first = min(range(len(ring)), key=lambda number: steps.index(ring[number]))
    return [*ring[first:], *ring[:first], ring[first]]


def _load(path: Path) -> dict[str, Any]:
    text = recipes.read_text(path)
    words = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {} if words in ([], ["null"]) else recipes.load_yaml(path)[0]


def _root(file: Path, entries: Any) -> Path | None:
    """Find the folder that the groups are below: the nearest one up that has one of them, or of the files named."""
    named = list(_named(entries))
    from_root = [each for each in named if each[0].startswith("/")]
    for name, is_group in from_root or [each for each in named if each[1]][:1]:
        for folder in list(file.resolve().parents)[:_DEPTH]:
            place = folder / name.strip("/")
            if place.is_dir() if is_group else place.with_name(f"{place.name}.yaml").is_file():
                return folder
    return file.resolve().parent if from_root or any(is_group for _, is_group in named) else None


def _named(entries: Any) -> Iterator[tuple[str, bool]]:
    """List what defaults name, each with whether that is a group, of which a file is chosen."""
    for entry in entries if isinstance(entries, list) else ():
        for key in entry if isinstance(entry, Mapping) else [entry]:
            name = str(key).rpartition(" ")[2].partition("@")[0].removesuffix(".yaml")
            if name.strip("/"):
                yield name, isinstance(entry, Mapping)
