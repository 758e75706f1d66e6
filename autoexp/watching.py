"""Putting an engine together over a root: lease, journal, studies, observer. Everything is given back by `close`."""

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

from autoexp import clock, studies, study_files
from autoexp import lease as leases
from autoexp.asking import Asker
from autoexp.conditions import changes_by_itself, jobs_of, open_ones
from autoexp.engine import Engine, Listener
from autoexp.errors import AlreadyWatched, AutoexpError
from autoexp.executor import Executors
from autoexp.files import make_folders
from autoexp.journal import Journal, cut_torn_tails, open_journal
from autoexp.machine import Machine
from autoexp.mailroom import Mailroom
from autoexp.model import OVER, Job, State
from autoexp.progress import Progress
from autoexp.recall import SNAPSHOT, Recalled, recall, undisturbed
from autoexp.registry import Ledger, Registry
from autoexp.upkeep import Upkeep
from autoexp.watch import Observer
from autoexp.watch import observer as make_observer

HELD_EVERY_S = 1.0
"""How often is looked whether only a person can go on."""


@contextmanager
def watching(
    root: Path,
    var: Path,
    observer: str | Observer | None,
    logger: Any,
    listener: Listener,
    *,
    executors: Executors | None = None,
) -> Iterator[Engine]:
    """Hold a root's lease and yield the engine that watches it, with the journal replayed.

    The observer is a kind of them, or None for what the machine says; it and the executors may also be made before.

    Raises:
        AlreadyWatched: the root has a live watcher.
        AutoexpError: the journal is damaged, or the root or var cannot be used.
    """
    prepare_var(root, var)
    with ExitStack() as opened, undisturbed():
        lease = leases.take(root, var, clock.now())
        opened.callback(lease.release)
        registry, problems = _load_studies(root)
        recalled = _recall(var, logger)
        registry.replay(recalled.standings)
        journal = _begin_journal(root, recalled, lease)
        opened.callback(journal.close)
        machine = _machine_of(registry)
        eyes = make_observer(machine, root, observer) if observer is None or isinstance(observer, str) else observer
        progress = Progress(var / "progress.json", eyes.name, told=lambda name, what: logger.warning(what, about=name))
        for name, what in problems.items():
            progress.problem(name, what)
        mailroom, upkeep = Mailroom(set(journal.standings.obeyed)), Upkeep(journal, var, lease, recalled.history.after)
        used = executors or Executors()
        parts = registry, journal, upkeep, lease, eyes, progress, mailroom, Asker(registry)
        engine = Engine(*parts, machine.sweep_s, listener, used)
        opened.pop_all()
    try:
        with undisturbed():
            engine.recover()
        yield engine
    finally:
        engine.close()


def _recall(var: Path, logger: Any) -> Recalled:
    """Read where every job stands, and mend what a crash left; say what was found."""
    recalled = recall(var)
    if recalled.warning:
        logger.warning("snapshot_left_aside", path=str(var / SNAPSHOT), why=recalled.warning)
    for segment in cut_torn_tails(recalled.history.segments):
        logger.warning("torn_tail_cut", path=str(segment.path), bytes=segment.torn)
    return recalled


def _begin_journal(root: Path, recalled: Recalled, lease: leases.Lease) -> Journal:
    history = recalled.history
    holder = {name: lease.record[name] for name in ("host", "pid")}
    try:
        journal = open_journal(
            history.folder, history.segments, recalled.standings, history.seq, holder=holder, at=clock.now()
        )
    except FileExistsError as error:
        why = "another watcher began at the same moment"
        raise AlreadyWatched(f"{root} is already being watched", why=why, fix="leave it to that one") from error
    except OSError as error:
        raise AutoexpError("the journal cannot be begun", why=str(error), fix="see to its file system") from error
    lease.name_epoch(journal.epoch, journal.path)
    return journal


def prepare_var(root: Path, var: Path) -> None:
    """Make the runtime folder, for its owner only.

    Raises:
        AutoexpError: the root is no folder, or var cannot be made.
    """
    if not root.is_dir():
        why = "it is a file" if root.exists() else "there is no such folder"
        raise AutoexpError(f"{root} cannot be watched", why=why, fix="plan a study into it first: autoexp plan RECIPE")
    try:
        make_folders(var, 0o700)
        var.chmod(0o700)
    except OSError as error:
        raise AutoexpError(
            f"{var} cannot be used for the runtime state", why=str(error), fix="give another folder: --var DIR"
        ) from error


def _load_studies(root: Path) -> tuple[Registry, dict[str, str]]:
    """Read every study; one that cannot be read is left to the engine's next look, and reported."""
    registry, problems = Registry(root), {}
    for folder in studies.all_in(root):
        try:
            study_files.mend(folder)
            study_files.relocate(folder)
            registry.load(folder)
        except (AutoexpError, OSError) as error:
            problems[folder.name] = str(error)
    return registry, problems


def _machine_of(registry: Registry) -> Machine:
    """Say how to watch: as the first study's machine does."""
    machines = [ledger.study.machine for ledger in registry.ledgers.values()]
    return machines[0] if machines else Machine(name="local")


def until_done(study: str | None = None, tell: Callable[[str], None] = lambda _: None) -> Callable[[Engine], bool]:
    """Stop when every job, of one study or of all, is over or held; tell once when all the rest waits for held ones."""
    look_at = 0.0

    def done(engine: Engine) -> bool:
        nonlocal look_at
        if clock.now() >= look_at:  # there may be many jobs, and many moves a second
            words = _only_held(engine, study)
            look_at = math.inf if words else clock.now() + HELD_EVERY_S
            if words:
                tell(words)
        return not engine.unfinished(study)

    return done


def _only_held(engine: Engine, study: str | None) -> str:
    """Say that nothing moves until a person releases what is held; empty while something else may."""
    held, waiting = [], []
    for name, ledger in engine.registry.ledgers.items():
        if study in (None, name):
            left = [job for job in ledger.jobs.values() if job.state not in OVER]
            held += [f"{name}/{job.id}" for job in left if job.state is State.HELD]
            waiting += [(job, ledger) for job in left if job.state is not State.HELD]
    if not held or not waiting or engine.settling() or any(job.state is not State.WAITING for job, _ in waiting):
        return ""
    if not all(starmap(_waits_for_others, waiting)):
        return ""
    what = f"only a person can move it: {len(held)} held, {len(waiting)} wait for it"
    return f"{what}: autoexp mark {shlex.quote(held[0])} release --root {shlex.quote(str(engine.registry.root))}"


def _waits_for_others(job: Job, ledger: Ledger) -> bool:
    """Say whether nothing but other jobs can let a waiting one begin, and some of those are not over."""
    if job.pending is not None or any(changes_by_itself(condition) for _, condition in open_ones(job)):
        return False
    others = (ledger.jobs.get(name) for name in jobs_of(job.spec.start))
    return any(other is None or other.state not in OVER for other in others)


def once(engine: Engine) -> bool:
    """Stop after the first look, and what it set going: a scheduler takes a moment to answer."""
    return not engine.settling()


def never(_: Engine) -> bool:
    """Watch until interrupted."""
    return False
