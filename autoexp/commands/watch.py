"""Carry every study of a folder: submit what may start, look at what runs, retry, branch, convert, until told to stop.

One watcher a folder; jobs outlive it. Killed at any moment and started again, it goes on where it was.

  autoexp watch experiments/                 until interrupted
  autoexp watch experiments/ --until-done    until every job is over or held; 0 if all succeeded
  autoexp watch experiments/ --once          one look, for sites that forbid daemons: call it from cron
  autoexp watch experiments/ --ensure        nothing if a watcher runs, otherwise this becomes it; for cron, with
                                             --daemon in the background (autoexp cron writes the line)
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from autoexp import targets
from autoexp.commands import report, tell
from autoexp.daemon import detach
from autoexp.engine import Engine, Listener
from autoexp.errors import AlreadyWatched, AutoexpError, TakenOver
from autoexp.examiner import examining
from autoexp.herald import Herald, sender
from autoexp.journal import to_record
from autoexp.lease import var_of
from autoexp.model import State, Transition
from autoexp.moves import line
from autoexp.rows import rows
from autoexp.view import view
from autoexp.watching import never, once, prepare_var, until_done, watching


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp watch`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--until-done", action="store_true", help="end when every job is over or held")
    how.add_argument("--once", action="store_true", help="look once, do what follows, and end")
    how.add_argument("--ensure", action="store_true", help="end with 0 at once if a watcher runs already")
    parser.add_argument("--daemon", action="store_true", help="with --ensure: go on in the background")
    parser.add_argument("--observer", choices=("auto", "inotify", "poll"), help="how to notice changes")
    parser.add_argument("--var", metavar="DIR", help="where to keep the runtime state, if not beside the root")


def run(arguments: argparse.Namespace) -> int:
    """Watch; print every move when someone looks on."""
    root = targets.existing_root(targets.default_root(arguments.root))
    done = until_done(tell=tell) if arguments.until_done else once if arguments.once else never
    looked_at = sys.stdout.isatty() and not arguments.daemon
    listener = print_moves if looked_at or arguments.debug else ignore
    if arguments.ensure:
        return _ensure(root, listener, arguments)
    if arguments.daemon:
        raise AutoexpError(
            "--daemon goes with --ensure",
            why="what runs in the background is started by cron, again and again",
            fix=f"autoexp watch {root} --ensure --daemon",
        )
    watch(root, done, listener, arguments)
    return _conclude(root, arguments.var) if arguments.until_done else 0


def _ensure(root: Path, listener: Listener, arguments: argparse.Namespace) -> int:
    """Become the watcher, in the background if that is asked for, unless there is one."""
    settled = detach().settle if arguments.daemon else None

    def ready(_: Engine) -> None:
        if settled is not None:
            if sys.stdout.isatty():  # cron would mail it
                tell(f"watching {root} in the background: process {os.getpid()}")
            settled(var_of(root, arguments.var) / "watch.out")

    try:
        watch(root, never, listener, arguments, ready)
    except TakenOver:
        raise
    except AlreadyWatched:
        return 0
    return 0


def watch(
    root: Path,
    done: Callable[[Engine], bool],
    listener: Listener,
    arguments: argparse.Namespace,
    ready: Callable[[Engine], None] = lambda _: None,
) -> None:
    """Watch a root until `done`; `ready` is told of the engine before it begins."""
    from autoexp.diagnostics import set_up  # noqa: PLC0415 - structlog is slow to load

    var = var_of(root, getattr(arguments, "var", None))
    prepare_var(root, var)
    send = sender(os.environ)
    logger = set_up(var, debug=arguments.debug)

    early: list[Transition] = []
    listeners = [listener, early.extend]

    def listen(moves: list[Transition]) -> None:
        for move in moves:
            logger.debug(move.trigger, study=move.study, job=move.job, to=move.target, actions=move.actions)
        for each in listeners:
            each(moves)

    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever ignores it lets every program that we start seem to succeed
    with (
        examining(lambda judgement, folder: logger.warning("not_judged", checkpoint=str(folder), why=judgement.why)),
        watching(root, var, getattr(arguments, "observer", None), logger, listen) as engine,
        ExitStack() as opened,
    ):
        listeners.pop()
        if send is not None:
            listeners.append(opened.enter_context(Herald(send, engine, logger)).listen)
            listeners[-1](early)
        logger.info("watching", root=str(root), observer=engine.observer.name, epoch=engine.journal.epoch)
        ready(engine)
        try:
            engine.run(done)
        except KeyboardInterrupt:
            print(f"\nstopped watching; jobs go on. Watch again: autoexp watch {root}", file=sys.stderr)
            raise


def _interrupt(_number: int, _frame: object) -> None:
    """Let SIGTERM end us as Ctrl-C does: the lease is given back, and jobs go on."""
    raise KeyboardInterrupt


def _conclude(root: Path, var: str | None) -> int:
    """Show the report of every study that trained, and what did not succeed."""
    for ledger in view(root, var).ledgers():
        report.conclude(ledger.study, var)
    return outcome(root, var)


def outcome(root: Path, var: str | None = None, study: str | None = None) -> int:
    """List the jobs that did not succeed, and what could not be read or done; 0 if there is none."""
    seen = view(root, var)
    broken = {name: what for name, what in seen.problems.items() if study in (None, _study_of(name))}
    for name, what in broken.items():
        print(f"problem: {name}: {what}", file=sys.stderr)
    names = [ledger.study.name for ledger in seen.ledgers() if study in (None, ledger.study.name)]
    rest = [(name, row) for name in names for row in rows(seen, name) if row.state is not State.SUCCEEDED]
    for name, row in rest:
        print(f"{row.state}: {name}/{row.job}{f' ({row.reason})' if row.reason else ''}", file=sys.stderr)
    return 1 if rest or broken else 0


def _study_of(problem: str) -> str:
    """Name the study that a problem is about: it is called `study`, `study/job` or `study: action`."""
    return problem.partition(":")[0].partition("/")[0]


def print_moves(moves: list[Transition]) -> None:
    """Print each change of state."""
    for move in moves:
        if move.source is not move.target:
            tell(line(to_record(move, 0, 0)))


def ignore(_: list[Transition]) -> None:
    """Print nothing."""
