"""Show one line a job: state, progress, age, reason; what needs a person comes first.

autoexp status experiments/
autoexp status experiments/ --follow
autoexp status experiments/ --json
autoexp status experiments/ --where 'model == "10M" and lr < 1e-3'
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoexp import lease, status, targets
from autoexp.rows import rows
from autoexp.view import View, view

if TYPE_CHECKING:
    from autoexp.selection import Selection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp status`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")
    parser.add_argument("--where", metavar="EXPR", help="only these jobs: 'lr < 1e-3 and state == \"failed\"'")
    parser.add_argument("--follow", action="store_true", help="go on: one screen, redrawn as jobs move; Ctrl-C ends it")
    parser.add_argument("--json", action="store_true", help="print JSON; with --follow a line whenever a job has moved")


def run(arguments: argparse.Namespace) -> int:
    """Read, and print; safe beside a watcher."""
    root = targets.existing_root(targets.default_root(arguments.root))
    if arguments.follow:
        return _follow(root, arguments)
    seen = view(root, arguments.var)
    where = _selection(arguments.where, seen) if arguments.where else None
    if arguments.json:
        print(json.dumps(as_json(seen, where)))
        return 0
    colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print("\n".join(_text(seen, where, colors=colors)))
    return 0


def _follow(root: Path, arguments: argparse.Namespace) -> int:
    from autoexp import onlooker as looking  # noqa: PLC0415 - who asks once does without
    from autoexp.page.live import Live  # noqa: PLC0415 - as above

    lease.var_of(root, arguments.var)  # which refuses another than its own; what else cannot be read is shown
    onlooker = looking.Onlooker(Live(root, arguments.var), arguments.where or "")
    if looking.has_screen() and not arguments.json:
        looking.show(onlooker, colors=not os.environ.get("NO_COLOR"))
        return 0
    for lines in looking.changes(onlooker, as_json=arguments.json):
        print("".join(f"{line}\n" for line in lines), end="", flush=True)
    return 0


def _selection(text: str, seen: View) -> "Selection":
    from autoexp import selection  # noqa: PLC0415 - status is asked often, and mostly for all

    found = selection.read(text)
    found.check(job for _, job in seen.registry.all_jobs())
    return found


def as_json(seen: View, where: "Selection | None" = None) -> dict[str, Any]:
    """The shape that programs rely on."""
    watcher = {key: seen.watcher[key] for key in ("pid", "host", "since")} if seen.watcher else None
    studies = [
        {
            "study": ledger.study.name,
            "gpu_hours": ledger.budget.as_json(),
            "jobs": [status.as_json(row) for row in rows(seen, ledger.study.name, where)],
        }
        for ledger in seen.ledgers()
    ]
    return {"root": str(seen.root), "watcher": watcher, "studies": studies, "problems": seen.problems}


def _text(seen: View, where: "Selection | None", *, colors: bool) -> list[str]:
    lines = [_watcher_line(seen)]
    lines += [f"problem: {name}: {what}" for name, what in seen.problems.items()]
    for ledger in seen.ledgers():
        listed = rows(seen, ledger.study.name, where)
        budget = [f"budget: {ledger.budget.told()}"] if ledger.budget.limit else []
        lines += ["", f"{ledger.study.name}: {status.summary(listed)}", *budget, *status.lines(listed, colors=colors)]
    if not seen.ledgers():
        lines.append("no studies; plan one: autoexp plan RECIPE")
    return lines


def _watcher_line(seen: View) -> str:
    if seen.watcher is None:
        return f"no watcher; start one: autoexp watch {_short(seen.root)}"
    observer = seen.progress.get("observer", "")
    return f"watched by {lease.named_as(seen.watcher)} ({observer})"


def _short(root: Path) -> str:
    near = root.is_relative_to(Path.cwd())
    return str(root.relative_to(Path.cwd()) if near else root)
