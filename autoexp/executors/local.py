"""This computer as an executor: attempts are processes in sessions of their own, which outlive the watcher.

Submitted attempts queue here in their order and start when their cores and GPUs are free. An attempt that lacks
something others do not need does not hold those up. Nothing here has to survive us: who is queued stands in the
journal, who runs in each attempt's started.json, and a double start ends at run.sh's exclusive claim.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from autoexp import clock, hosts, machines
from autoexp.endings import Said
from autoexp.events import Event, SubmitRefused, Submitted
from autoexp.files import read_record
from autoexp.hosts import Process
from autoexp.machine import Machine
from autoexp.model import Resources
from autoexp.orders import Order, environment_of, take_back, unchecked
from autoexp.probe import STARTED

POLL_S = 0.2
"""How often a stopping attempt is looked at."""
KILL_ROUNDS = 100
"""How often an attempt's processes are looked for and killed before it is left to the next look at the attempt."""


@dataclass(slots=True)
class Running:
    """An attempt that was started, here or by an earlier watcher."""

    order: Order
    child: int | None = None
    """The process we started, to be reaped."""
    gpus: tuple[str, ...] = ()
    """The GPUs that it was given; what its started.json says comes first."""
    has_said: bool = False
    """Its started.json was read."""
    kill_at: float | None = None
    """When a stopping attempt is ended for good, on the monotonic clock."""
    asked: bool = False
    """Its program got the polite signal."""


@dataclass(slots=True)
class Local:
    """The queue and the slots of this computer."""

    machine: Machine
    cpus: int
    gpus: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES names them."""
    queue: dict[str, Order] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    _leaving: list[int] = field(default_factory=list)
    """Children whose attempts are over, to be reaped."""

    def submit(self, order: Order, at: float) -> Event:
        """Queue an attempt, unless this computer can never run it."""
        wanted = order.resources
        if wanted.nodes > 1 or wanted.gpus_per_node > len(self.gpus):
            return SubmitRefused(
                at=at,
                attempt=order.attempt,
                reason=f"it asks for {wanted.nodes} x {wanted.gpus_per_node} GPUs; this computer has {len(self.gpus)}",
                fix="lower its resources, or plan for another machine: --machine NAME",
            )
        self.adopt(order, began=False)
        return Submitted(at=at, attempt=order.attempt)

    def adopt(self, order: Order, *, began: bool) -> None:
        """Take over an attempt of an earlier watcher."""
        if order.token in self.running:
            return
        if began or (order.attempt_dir / f"run.{order.token}").exists():
            self.running[order.token] = Running(order)
        else:
            self.queue[order.token] = order

    def withdraw(self, order: Order) -> bool:
        """Claim an attempt before run.sh does: an earlier watcher may have started it a moment ago."""
        taken_back = take_back(order)
        if taken_back or not order.attempt_dir.exists():  # its folder is gone, or never was
            taken_back |= self.queue.pop(order.token, None) is not None
        return taken_back

    def stop(self, order: Order, grace_s: float) -> None:
        """Signal the program politely; `tend` sees to the rest."""
        if order.token not in self.running and not self.alive(order):
            return
        running = self.running.setdefault(order.token, Running(order))
        if running.kill_at is None:
            running.kill_at = time.monotonic() + grace_s
            _ask_to_stop(running)

    def alive(self, order: Order) -> bool | None:
        """Look for the attempt's own process; without it, whatever it left behind is ended.

        Until run.sh has said who it is, whatever carries the token is on its way. An attempt of another host's, or
        another container's watcher cannot be seen from here.
        """
        if order.token in self.queue:
            return True
        leader = _leader(order)
        lives = leader is not None and hosts.is_alive(leader)
        if lives or (order.attempt_dir / "exit.json").exists():
            return bool(lives)
        if leader is None:
            return self._has_begun(order.token) or any(hosts.carriers("AUTOEXP_TOKEN", order.token))
        if lives is False:
            _end_remains(order)
        return lives

    def _has_begun(self, token: str) -> bool:
        """Say whether the process that we started lives: the kernel shows its environment only a moment later."""
        child = self.running[token].child if token in self.running else None
        return child is not None and hosts.start_time(child) is not None

    def said(self, order: Order) -> Said | None:  # noqa: ARG002 - as every executor's
        """Say nothing: there is no scheduler."""
        return None

    def unseen(self, order: Order) -> str | None:
        """Say where it runs, if that is another host or container."""
        leader = _leader(order)
        if leader is None or hosts.is_alive(leader) is not None:
            return None
        code = f'{{"v":1,"token":"{order.token}","code":1,"signal":0,"asked":""}}'
        place = order.attempt_dir / "exit.json"
        return (
            f"it began as pid {leader.pid} on {leader.host}, or in another container, and cannot be seen from here; "
            f"if that is gone for good: echo {shlex.quote(code)} > {shlex.quote(str(place))}"
        )

    def await_word(self, order: Order) -> None:
        """Do nothing: nobody knows more than its exit file."""

    def trouble(self) -> str | None:
        """Say nothing: processes can always be looked at."""
        return None

    def forget(self, order: Order) -> None:
        """Free an attempt's slots; nothing that it left running stays behind, beside the next attempt."""
        running = self.running.pop(order.token, None)
        if self.queue.pop(order.token, None) is None:
            _end_remains(order)
        if running is not None and running.child is not None:
            self._leaving.append(running.child)

    def tend(self, check: Callable[[], None] = unchecked) -> list[tuple[str, Event | None]]:
        """End what was asked to stop and did not, and start what fits."""
        self._leaving = [child for child in self._leaving if not _is_reaped(child)]
        for running in self.running.values():
            if running.kill_at is not None:
                check()
                _ask_to_stop(running)
                if time.monotonic() >= running.kill_at:
                    _end_remains(running.order)
        return list(self._start_what_fits(check))

    def settling(self) -> bool:
        """Nothing here takes time but the attempts themselves."""
        return False

    def due_in_s(self) -> float | None:
        """Say when a stopping attempt is next worth a look."""
        return POLL_S if any(running.kill_at is not None for running in self.running.values()) else None

    def _start_what_fits(self, check: Callable[[], None]) -> Iterator[tuple[str, Event | None]]:
        cpus = self.cpus - sum(self._cpus(running.order) for running in self.running.values())
        gpus = self._free_gpus()
        short_of: set[str] = set()
        for token, order in list(self.queue.items()):
            needs = {"cpus": self._cpus(order), "gpus": order.resources.gpus_per_node}
            lacks = {kind for kind, free in (("cpus", cpus), ("gpus", len(gpus))) if needs[kind] > free}
            if lacks or short_of & {kind for kind, count in needs.items() if count}:
                short_of |= lacks
                continue
            taken, gpus = gpus[: needs["gpus"]], gpus[needs["gpus"] :]
            cpus -= needs["cpus"]
            check()
            del self.queue[token]
            yield from self._start(order, tuple(taken))

    def _free_gpus(self) -> list[str]:
        """List the GPUs that nobody has; none while an attempt does not say which it has, or names unknown ones."""
        asking = [run for run in self.running.values() if self.gpus and run.order.resources.gpus_per_node]
        for running in asking:
            _hear_gpus(running)
        if any(not running.gpus or not {*running.gpus} <= {*self.gpus} for running in asking):
            return []
        return [gpu for gpu in self.gpus if not any(gpu in running.gpus for running in asking)]

    def _cpus(self, order: Order) -> int:
        """Count an attempt's cores; more than there are means all of them."""
        return min(order.resources.cpus, self.cpus)

    def _start(self, order: Order, gpus: tuple[str, ...]) -> Iterator[tuple[str, Event | None]]:
        try:
            with (order.attempt_dir / "output.log").open("ab") as log:
                child = subprocess.Popen(  # noqa: S603 - our own script, no shell
                    ("bash", str(order.job_dir / order.script)),
                    cwd=order.job_dir,
                    env=self._environment(order, gpus),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            reason = f"its process could not be started: {error}"
            yield order.token, SubmitRefused(at=clock.now(), attempt=order.attempt, reason=reason, temporary=True)
        else:
            child.returncode = 0  # it may outlive us, and that is no cause for a warning
            self.running[order.token] = Running(order, child.pid, gpus)

    def _environment(self, order: Order, gpus: tuple[str, ...]) -> dict[str, str]:
        devices = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        return {**devices, **environment_of(order, self.machine)}


def directives(machine: Machine, resources: Resources) -> tuple[str, ...]:  # noqa: ARG001 - as every executor's
    """Write nothing: nobody but bash reads run.sh here."""
    return ()


def open_executor(machine: Machine) -> Local:
    """Make the executor of this computer."""
    return Local(machine, machines.cpus(machine), machines.gpus(machine))


def _hear_gpus(running: Running) -> None:
    """Take over which GPUs an attempt says that it has: an earlier start of it, with others, may have come first."""
    try:
        begun = None if running.has_said else read_record(running.order.attempt_dir / "started.json", STARTED)
    except OSError:
        begun, running.gpus = None, ()  # then nobody knows; the look at the attempt tells of it
    if begun is not None:
        running.has_said = True
        running.gpus = tuple(gpu for gpu in (begun.get("gpus") or "").split(",") if gpu)


def _is_reaped(child: int) -> bool:
    """Reap a child that has ended; the kernel does it by itself where SIGCHLD is ignored."""
    try:
        return os.waitpid(child, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _leader(order: Order) -> Process | None:
    """Return the process that runs run.sh, from what it wrote about itself."""
    begun = read_record(order.attempt_dir / "started.json", STARTED) or {}
    whole = begun.get("pid") is not None and begun.get("start_time") is not None
    return Process.read(begun) if whole and begun.get("token") == order.token else None


def _leader_if_readable(order: Order) -> Process | None:
    """Do so if that can be read; the look at the attempt tells of it otherwise."""
    try:
        return _leader(order)
    except OSError:
        return None


def _ask_to_stop(running: Running) -> None:
    """Signal an attempt's program once, as soon as it is there; what was suspended goes on, to hear of it.

    run.sh itself lives to write the exit file.
    """
    leader = _leader_if_readable(running.order)
    if running.asked or leader is None or not hosts.is_alive(leader):
        return
    for pid in hosts.group_of(leader.pid):
        if pid != leader.pid:
            hosts.send(pid, signal.SIGTERM)
            running.asked = True
        hosts.send(pid, signal.SIGCONT)


def _end_remains(order: Order) -> None:
    """Kill every process that carries the attempt's token, but run.sh itself while it has something to write."""
    leader = _leader_if_readable(order)
    if leader is not None and hosts.is_alive(leader):
        _kill(order.token, spared=leader.pid)  # once: what comes now writes the exit file
        return
    for _ in range(KILL_ROUNDS):  # one that was killed may have forked while we listed
        if not _kill(order.token):
            return


def _kill(token: str, spared: int | None = None) -> bool:
    """Kill what carries a token now; return whether there was anything."""
    carriers = list(hosts.carriers("AUTOEXP_TOKEN", token))
    for pid in carriers:
        hosts.send(pid, signal.SIGCONT if pid == spared else signal.SIGKILL)
    return bool(carriers)
