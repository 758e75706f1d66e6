"""Print the journal: every move of every job, oldest first.

autoexp events experiments/
autoexp events experiments/ --job demo/pretrain-model10M-lr0.001 --since 2026-11-20T21:00 --json
autoexp events experiments/ --follow
"""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoexp import lease, targets
from autoexp.errors import AutoexpError
from autoexp.history import History
from autoexp.moves import line
from autoexp.recall import folder_of
from autoexp.segments import segment_files

FOLLOW_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp events`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    parser.add_argument("--job", metavar="JOB", help="only this job: <study>/<job>, or its directory")
    parser.add_argument("--since", metavar="TIME", help="only what came later: 2026-11-20T21:40, UTC")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")
    parser.add_argument("--json", action="store_true", help="print the journal's own lines")


def run(arguments: argparse.Namespace) -> int:
    """Read, filter, and print; safe beside a watcher."""
    root = targets.existing_root(targets.default_root(arguments.root))
    var = lease.var_of(root, arguments.var)
    wanted = targets.find(arguments.job, str(root), is_there=False) if arguments.job else None
    since = moment(arguments.since) if arguments.since else ""
    records = _followed(var) if arguments.follow else History(folder_of(var)).records()
    for record in records:
        if wanted and (record["study"], record["job"]) != (wanted.study, wanted.job):
            continue
        if record["at"] >= since:
            print(json.dumps(record) if arguments.json else line(record), flush=arguments.follow)
    return 0


def _followed(var: Path) -> Iterator[dict[str, Any]]:
    place, known = None, None
    while True:
        sizes = {path: _size(path) for path in segment_files(folder_of(var)).values()}
        if sizes != known:
            history = History(folder_of(var), place)
            yield from history.records()
            place, known = history.mark, sizes
        time.sleep(FOLLOW_S)


def _size(path: Path) -> int:
    """Return a file's size; 0 once it is gone, for it was sealed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def moment(text: str) -> str:
    """Read a time, UTC unless it says otherwise, as the journal spells it.

    Raises:
        AutoexpError: it is no time.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise AutoexpError(f"{text!r} is no time", why=str(error), fix="write it as 2026-11-20T21:40") from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
