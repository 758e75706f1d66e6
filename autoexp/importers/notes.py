"""What an importer has to tell its user: each note with the place in the original."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoexp.errors import RecipeError
from autoexp.places import KeyPath, Places

SIGNALLED = "jobs are signalled ahead of their time limit anyway, by SIGTERM and save_grace before it"
"""Why an option that asks for it is left out."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Notes so far; the same one is kept once."""

    places: Places
    warnings: list[Mapping[str, str]] = field(default_factory=list)

    def tell(self, code: str, path: KeyPath, message: str) -> None:
        """Keep a note; `code` is `left-out`, `mended`, `unsure`, or `ran` for what its results say."""
        note = {"code": code, "message": message, "where": self.places.spell(path)}
        if note not in self.warnings:
            self.warnings.append(note)

    def error(self, path: KeyPath, what: str, *, why: str, fix: str) -> RecipeError:
        """Make the error for what cannot be imported at all."""
        return self.places.error(path, what, why=why, fix=fix)
