"""Telling people what they want to know while nobody looks: failures, stalls, studies that are finished, budgets.

Where to is a secret (an address often holds a password), so it comes from the watcher's environment alone, and is
never written anywhere. What happens within a few seconds is one message, and there is at most one a minute.
"""

import logging
import os
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event, Lock, Thread
from typing import Any, Self

from autoexp.engine import Engine
from autoexp.errors import AutoexpError
from autoexp.model import OVER, State, Transition
from autoexp.overview import in_words
from autoexp.registry import Key, Ledger
from autoexp.rows import is_shown

ADDRESSES, COMMAND = "AUTOEXP_NOTIFY", "AUTOEXP_NOTIFY_COMMAND"
GATHER_S = 5.0
INTERVAL_S = 60.0
PATIENCE_S = 10.0
"""How long a command may take, and how long a watcher that ends waits for it."""
MOST_LINES = 20
BAD = {State.FAILED: "failed", State.STALLED: "gets no further"}
ENDS = {*OVER, State.HELD}
NEARLY = 0.9
"""The part of a budget from which it is told."""

Send = Callable[[str, str], None]
"""Tell people a title and a text, or raise AutoexpError."""


@dataclass(slots=True)
class Herald:
    """Listens to an engine; a thread of its own tells, so that nothing waits for a network."""

    send: Send
    engine: Engine
    logger: Any
    gather_s: float = GATHER_S
    interval_s: float = INTERVAL_S
    _news: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _arrived: Event = field(default_factory=Event)
    _closing: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _touched: set[str] = field(default_factory=set)
    """Studies in which something has ended since the last wake."""
    _told: set[str] = field(default_factory=set)
    """Studies whose budget was told of."""

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._run, name="herald", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._arrived.set()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)

    def listen(self, moves: Iterable[Transition]) -> None:
        """Note what is worth telling; no moves are the end of a wake."""
        moved = [move for move in moves if move.source is not move.target]
        if news := list(self._told_of(moved)):
            with self._lock:
                self._news += news
            self._arrived.set()

    def _told_of(self, moves: list[Transition]) -> Iterator[str]:
        for move in moves:
            if move.target in BAD:
                reason = self.engine.registry.job(Key(move.study, move.job)).reason
                yield f"{move.study}/{move.job} {BAD[move.target]}" + (f": {reason}" if reason else "")
            if move.target in ENDS or move.target is State.BACKOFF:
                self._touched.add(move.study)
        if moves:
            return
        for name in sorted(self._touched):
            if (ledger := self.engine.registry.ledgers.get(name)) is None:
                continue
            if not self.engine.unfinished(name):
                states = Counter(str(job.state) for job in ledger.jobs.values() if is_shown(job))
                yield f"{name} is finished: {in_words(states)}"
            elif name not in self._told and is_short(ledger):
                self._told.add(name)
                yield f"{name} has little left: {ledger.budget.told()}"
        self._touched.clear()

    def _run(self) -> None:
        while self._arrived.wait() and not self._closing.is_set():
            self._closing.wait(self.gather_s)
            self._tell()
            self._closing.wait(self.interval_s)
        self._tell()

    def _tell(self) -> None:
        """Tell what there is; what cannot be told now is kept for the next time."""
        with self._lock:
            news, self._news = self._news, []
            self._arrived.clear()
        if not news:
            return
        try:
            self.send(f"autoexp: {self.engine.registry.root}", text_of(news))
        except AutoexpError as error:
            self.logger.warning("nobody_was_told", what=error.what, why=error.why)
            with self._lock:
                self._news = [*news, *self._news]
            self._arrived.set()


def is_short(ledger: Ledger) -> bool:
    """Say whether a study's budget is nearly used, or keeps jobs waiting while none that uses GPUs runs."""
    budget = ledger.budget
    if budget.limit is None:
        return False
    waiting = (job for job in ledger.jobs.values() if job.state in (State.WAITING, State.BACKOFF))
    return budget.used >= NEARLY * budget.limit or (budget.promised <= 0 and any(map(budget.shortage, waiting)))


def text_of(news: list[str]) -> str:
    """Put news into one message; of many, the first and how many more there are."""
    shown = news if len(news) <= MOST_LINES else [*news[:MOST_LINES], f"and {len(news) - MOST_LINES} more"]
    return "\n".join(shown)


def sender(environment: Mapping[str, str]) -> Send | None:
    """Say how people are told; None if nobody wants to be.

    Raises:
        AutoexpError: an address makes no sense, or what sends to it is not installed.
    """
    ways: list[Send] = []
    if addresses := environment.get(ADDRESSES, "").split():
        ways.append(_by_apprise(addresses))
    if command := environment.get(COMMAND, ""):
        ways.append(lambda title, text: _by_command(command, title, text))

    def send(title: str, text: str) -> None:
        for way in ways:
            way(title, text)

    return send if ways else None


def _by_apprise(addresses: list[str]) -> Send:
    logging.getLogger("apprise").propagate = False  # what it says has addresses in it
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it loads all that it has, some of it old
        try:
            box = import_module("apprise").Apprise()
        except ImportError as error:
            why, fix = (
                f"${ADDRESSES} is set, and apprise is not installed",
                "pip install 'autoexp[notify]', or unset it",
            )
            raise AutoexpError("nobody can be told", why=why, fix=fix) from error
        wrong = [number for number, address in enumerate(addresses, 1) if not box.add(address)]
    if wrong:
        why, fix = f"apprise cannot use address {wrong[0]} of ${ADDRESSES}", "try it: apprise --body hello ADDRESS"
        raise AutoexpError("nobody can be told", why=why, fix=fix)

    def send(title: str, text: str) -> None:
        if not box.notify(title=title, body=text):
            raise AutoexpError(
                "nobody was told", why=f"an address of ${ADDRESSES} did not take it", fix="try it by hand"
            )

    return send


def _by_command(command: str, title: str, text: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the watcher's owner says what
            ("bash", "-c", command),
            input=f"{text}\n".encode(),
            env={**os.environ, "AUTOEXP_TITLE": title},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AutoexpError(
            "nobody was told", why=f"${COMMAND}: {type(error).__name__}", fix="try it by hand"
        ) from error
    if done.returncode:
        raise AutoexpError("nobody was told", why=f"${COMMAND} ended with {done.returncode}", fix="try it by hand")
