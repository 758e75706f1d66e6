"""Playing the study: a watcher is forked from a process that has everything loaded, and killed where it was told to.

The watcher reports through a pipe: each effect before it happens, each move, and the end of each wake. What the gates
and the person do follows from that, at the end of a wake, one thing at a time: nothing else happens then.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from select import select

from autoexp import cli, lease, progress, upkeep
from autoexp.commands.watch import watch
from autoexp.hosts import carriers
from autoexp.journal import to_transition
from autoexp.model import Transition
from autoexp.view import view
from autoexp.watching import until_done
from tests.crashes.effects import Effects
from tests.crashes.stage import Stage, Step

PATIENCE_S = 180.0
"""Far more than a watcher of this study takes."""
NEVER_S = 3600.0
LOADED_LATE = (
    "diagnostics",
    "replanning",
    "executors.local",
    "executors.slurm",
    "backends.command",
    "backends.megatron",
)
_PR_SET_CHILD_SUBREAPER = 36


class Stuck(Exception):
    """A watcher, or what it left behind, does not come to an end."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a watcher is to be killed: before the effect of this name, or before its so-many-th."""

    name: str = ""
    number: int = 0


@dataclass(slots=True)
class Watched:
    """One watcher's life."""

    effects: list[str] = field(default_factory=list)
    killed: bool = False
    status: int = 0


@dataclass(slots=True)
class Play:
    """One run of the study, from its planned beginning to its end."""

    stage: Stage
    watchers: list[Watched] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _due: deque[Callable[[], None]] = field(default_factory=deque)
    _moved: bool = False
    _free: bool = False

    def run(self, kills: Sequence[Kill], *, patient: bool) -> list[Watched]:
        """Play with one watcher a kill, and a last one that ends by itself.

        `patient` lets every job end before the next watcher comes; otherwise it comes at once.
        """
        self.stage.reset()
        for kill in (*kills, None):
            self.watchers.append(watched := Watched())
            self._watch(watched, kill)
            if not watched.killed:
                break
            self._let_go()
            if patient:
                self._wait_for_jobs()
        reap()
        return self.watchers

    def _watch(self, watched: Watched, kill: Kill | None) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            become_a_watcher(self.stage, write, kill)
        os.close(write)
        try:
            for word, *rest in _messages(read):
                self._hear(word, " ".join(rest), watched)
        except Stuck:
            sys.stderr.write("\n".join([*self.standing(), ""]))
            os.kill(pid, signal.SIGABRT)  # faulthandler tells where it stands
            raise
        finally:
            os.close(read)
            watched.status = os.waitpid(pid, 0)[1]
        watched.killed = os.WIFSIGNALED(watched.status)

    def _hear(self, word: str, rest: str, watched: Watched) -> None:
        if word == "effect":
            watched.effects.append(rest)
        elif word == "move":
            self._saw(rest)
        elif self._free:
            self._do_all()
        elif self._moved and self._due:
            self._moved = False
            self._due.popleft()()

    def _saw(self, move: str) -> None:
        if move in self._seen:
            return
        before, self._moved = set(self._seen), True
        self._seen.add(move)
        for step in self.stage.script.person:
            if step.after <= self._seen and not step.after <= before:
                self._due.append(partial(self._do, step))
        gate = ".started." in move or ".checkpoint_saved." in move
        if gate and not move.startswith(self.stage.script.endless):
            self._due.append(partial(self.stage.open, move))

    def _do(self, step: Step) -> None:
        """Drop a marker; a program that is to be cancelled has begun, otherwise its run would leave no trace."""
        until = time.monotonic() + PATIENCE_S
        while step.begun and not any(token.startswith(f"{step.job}.") for token in self.stage.ran()):
            _give_up_after(until, f"{step.job} does not begin")
            time.sleep(0.002)
        self.stage.drop(step.job, step.verb)

    def standing(self) -> Iterator[str]:
        """Tell how far it came, and what is left to do."""
        yield from (json.dumps(record) for record in view(self.stage.root).records())
        yield f"gates: {sorted(path.name for path in (self.stage.home / 'gates').iterdir())}"
        yield f"left to do: {len(self._due)}, moved: {self._moved}, free: {self._free}"
        yield f"running: {list(running(self.stage))}"
        yield self.stage.script.tell()

    def _let_go(self) -> None:
        """Let jobs go on without a watcher, and the person see what the last one had written."""
        self._free = True
        self.stage.open_all()
        for record in view(self.stage.root).records():
            self._saw(spell(to_transition(record)))
        self._do_all()

    def _do_all(self) -> None:
        while self._due:
            self._due.popleft()()

    def _wait_for_jobs(self) -> None:
        """Wait until no job runs, or is to run, but for those that do so for ever."""
        until, script = time.monotonic() + PATIENCE_S, self.stage.script
        staying = (*script.endless, *script.blocked)
        while set(running(self.stage)) - {pid for job in staying for pid in carriers("AUTOEXP_JOB", job)} or [
            name for name in script.queue() if not name.startswith(staying)
        ]:
            reap()
            _give_up_after(until, "a job goes on and on")
            time.sleep(0.02)


def plan(stage: Stage) -> None:
    """Plan the study, in a process of its own; load here what every watcher would have to load."""
    for name in LOADED_LATE:
        import_module(f"autoexp.{name}")
    stage.build()
    pid = os.fork()
    if pid == 0:
        os.chdir(stage.home)
        _speak_into(stage)
        _leave(cli.main(["plan", "demo.yaml", "--root", str(stage.root)]))
    if os.waitpid(pid, 0)[1]:
        raise AssertionError((stage.home / "said.log").read_text())
    stage.keep()


def become_a_watcher(stage: Stage, pipe: int, kill: Kill | None) -> None:
    """Watch until done, as `autoexp watch` does; never return."""
    status = 3
    try:
        os.chdir(stage.home)
        _speak_into(stage)
        faulthandler.enable()
        progress.SHORTEST_INTERVAL_S = NEVER_S  # what the clock writes, it writes once
        upkeep.SNAPSHOT_MOVES = 20
        setattr(lease.Lease, "due_in_s", lambda held, _: NEVER_S if held.beaten_at else 0.0)  # noqa: B010 - for mypy
        number = 0
        send = partial(_send, os.write, pipe)

        def heed(name: str) -> None:
            nonlocal number
            number += 1
            send("effect", name)
            if kill is not None and (name == kill.name or number == kill.number):
                os.kill(os.getpid(), signal.SIGKILL)

        def listen(moves: list[Transition]) -> None:
            for move in moves:
                send("move", spell(move))
            if not moves:
                send("wake", "")

        effects = Effects(stage.home, heed)
        effects.listen()
        stage.script.begin(effects)
        setattr(sys.modules[watch.__module__], "examining", lambda _: nullcontext())  # noqa: B010 - a process each is slow
        watch(stage.root, until_done(), listen, Namespace(debug=False, var=None, observer="inotify"))
        status = 0
    except BaseException:  # noqa: BLE001 - it is told, and ends here: this process is a copy of another
        traceback.print_exc()
    finally:
        _leave(status)


def spell(move: Transition) -> str:
    """Name a move by what gates and the person know: job, trigger, and iteration or attempt."""
    number = move.evidence.get("iteration") if move.trigger == "checkpoint_saved" else move.attempt
    return f"{move.job}.{move.trigger}.{number}"


def running(stage: Stage) -> Iterator[int]:
    """List the living processes of the study's jobs."""
    return carriers("AUTOEXP_ROOT", str(stage.root))


def wait_for_silence(stage: Stage) -> None:
    """Wait until the last of the jobs' processes is gone: run.sh ends a moment after its exit file is there."""
    until = time.monotonic() + PATIENCE_S
    while left := [*running(stage), *stage.script.queue()]:
        reap()
        _give_up_after(until, f"orphans: {left}")
        time.sleep(0.005)


def adopt_orphans() -> None:
    """Become the parent of what killed watchers leave behind, so that no zombies pile up."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Collect the children that are over."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end_all(stage: Stage) -> None:
    """Kill what still runs, or is to run."""
    stage.script.clear()
    while left := [*running(stage)]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap()


def _speak_into(stage: Stage) -> None:
    said = os.open(stage.home / "said.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)


def _send(write: Callable[[int, bytes], int], pipe: int, word: str, rest: str) -> None:
    write(pipe, f"{word} {rest}\n".encode())


def _messages(read: int) -> Iterator[list[str]]:
    """Yield what a watcher reports, word by word, until it ends."""
    rest, until = b"", time.monotonic() + PATIENCE_S
    while True:
        _give_up_after(until, "the watcher does not end")
        if not select([read], [], [], 1.0)[0]:
            continue
        if not (data := os.read(read, 1 << 16)):
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode().split(" ") for line in lines)


def _give_up_after(until: float, what: str) -> None:
    if time.monotonic() >= until:
        raise Stuck(what)


def _leave(status: int) -> None:
    """End at once, without what Python does at its end: we are a copy of another process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
