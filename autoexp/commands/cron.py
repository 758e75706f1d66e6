"""Keep a folder watched: a line for cron that starts a watcher whenever there is none.

autoexp cron experiments/                  print the line
autoexp cron experiments/ --install        put it into your crontab; again is harmless
autoexp cron experiments/ --remove         take it out; a running watcher goes on
"""

import argparse

from autoexp import crontab, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp cron`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--install", action="store_true", help="put the line into your crontab")
    what.add_argument("--remove", action="store_true", help="take it out again")


def run(arguments: argparse.Namespace) -> int:
    """Print, install or remove the line."""
    given = targets.default_root(arguments.root)
    root = given.resolve() if arguments.remove else targets.existing_root(given)
    if not arguments.install and not arguments.remove:
        print(crontab.line(root))
        return 0
    before = crontab.read()
    after = crontab.with_line(before, root) if arguments.install else crontab.without_line(before, root)
    if after != before:
        crontab.write(after)
    print(_told(root, installed=arguments.install, changed=after != before))
    return 0


def _told(root: object, *, installed: bool, changed: bool) -> str:
    if installed:
        return f"cron keeps {root} watched{'' if changed else ' already'}; look: autoexp status {root}"
    gone = "cron no longer starts watchers of" if changed else "your crontab has no line for"
    return f"{gone} {root}; a watcher that runs goes on"
