"""Where machines/, recipes/ and hooks/ are looked for: the user's own folders first, then those that came with autoexp.

An installed wheel carries its own inside the package; in a checkout they stand beside it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from autoexp.errors import AutoexpError

_PACKAGE = Path(__file__).parent


def search_path(kind: str) -> list[Path]:
    """List the existing folders of a kind (`machines`, `recipes`, `hooks`), the first to be searched first."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "autoexp"
    places = (Path.cwd() / kind, config / kind, _PACKAGE.parent / kind, _PACKAGE / "shipped" / kind)
    found: list[Path] = []
    for place in places:
        if place.is_dir() and not any(place.samefile(other) for other in found):
            found.append(place)
    return found


def files(kind: str, suffix: str) -> dict[str, Path]:
    """List the files of a kind by name; a name that stands in several folders is the first one's."""
    found: dict[str, Path] = {}
    for path in _files(kind, suffix):
        found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(kind: str, name: str, suffix: str) -> Path:
    """Find one file by its name.

    Raises:
        AutoexpError: there is none; the message lists those there are, and where to add one.
    """
    known = files(kind, suffix)
    if name not in known:
        raise AutoexpError(
            f"unknown {kind.removesuffix('s')} {name!r}",
            why=f"there are {', '.join(known) or 'none'}",
            fix=f"correct the name, or add {kind}/{name}{suffix}",
        )
    return known[name]


def versions(kind: str, name: str, suffix: str) -> list[Path]:
    """List every file of this name, the one that hides the others first."""
    return [path for path in _files(kind, suffix) if path.stem == name]


def _files(kind: str, suffix: str) -> Iterator[Path]:
    for folder in search_path(kind):
        yield from (path for path in sorted(folder.glob(f"*{suffix}")) if not path.name.startswith(("_", ".")))
