"""Where a key of a recipe or machine file stands, so that an error can point at it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from autoexp.errors import RecipeError

KeyPath = tuple[str | int, ...]
COMMAND_LINE = "the command line"
"""Where it was written, if in no file."""


@dataclass(frozen=True, slots=True)
class Places:
    """A file's key paths, each with where it was written: `recipe.yaml:12`, or the command line."""

    file: str
    written: Mapping[KeyPath, str] = field(default_factory=dict)

    def spell(self, path: KeyPath) -> str:
        """Name a place as a person would look for it: file, line and key."""
        key = ".".join(str(part) for part in path)
        known = path
        while known and known not in self.written:
            known = known[:-1]
        place = self.written.get(known, self.file)
        return f"{place}: {key}" if key else place

    def find(self, prefix: KeyPath, name: str) -> KeyPath:
        """Find the path of a key called `name` somewhere below `prefix`; `prefix` itself if there is none."""
        below = (path for path in self.written if path[: len(prefix)] == prefix and path[-1:] == (name,))
        return next(below, prefix)

    def error(self, path: KeyPath, what: str, *, why: str, fix: str) -> RecipeError:
        """Make the error that says what is wrong at a place."""
        return RecipeError(f"{self.spell(path)}: {what}", why=why, fix=fix)

    def to_come(self, path: KeyPath) -> RecipeError:
        """Make the error for a key that a later version reads."""
        return self.error(
            path, f"{path[-1]} is not supported yet", why="this version does not read it", fix="remove it"
        )

    def unknown(self, path: KeyPath, known: "tuple[str, ...] | list[str]") -> RecipeError:
        """Make the error for a key that nobody reads."""
        near = get_close_matches(str(path[-1]), known, n=1)
        return self.error(
            path,
            f"unknown key {str(path[-1])!r}",
            why=f"known here: {', '.join(known)}",
            fix=f"did you mean {near[0]}?" if near else "remove it, or use one of the known keys",
        )
