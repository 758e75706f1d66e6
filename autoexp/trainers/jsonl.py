"""A file of JSON objects, one a line, that is read while it is written."""

import json
from pathlib import Path
from typing import IO, Any

from autoexp.errors import AutoexpError


class Lines:
    """Appends objects to a file; without one, to nothing."""

    def __init__(self, path: Path | None) -> None:
        """Begin, or go on behind what is there already.

        Raises:
            AutoexpError: the file cannot be written.
        """
        self._file: IO[str] | None = None if path is None else _opened(path)

    def __bool__(self) -> bool:
        return self._file is not None

    def write(self, **said: Any) -> None:
        """Append an object, at once."""
        if self._file is not None:
            self._file.write(json.dumps(said) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise AutoexpError(f"cannot write {path}", why=str(error), fix="give a file of yours with --metrics") from error
