"""What we keep of a bug of ours, so that its user can report it."""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence

from autoexp import __version__


def report(words: Sequence[str]) -> str:
    """Write the exception that is being handled to a file, and say so; `words` are the command line."""
    lines = [f"autoexp {__version__}, Python {sys.version}", f"command: {' '.join(words)}", "", traceback.format_exc()]
    last = lines[-1].strip().rpartition("\n")[2]
    begin = f"autoexp-crash-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-"
    try:  # a file that is new, by a name that nobody could know: others may write to that folder, too
        descriptor, place = tempfile.mkstemp(".txt", begin)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError:
        return f"autoexp: this is a bug of ours; please report it with this\n{lines[-1]}"
    return f"autoexp: this is a bug of ours: {last}\n  please report it with the file {place}"
