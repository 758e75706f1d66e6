"""Looking on while jobs move: a picture on a terminal that is kept up to date, a line for each change elsewhere."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp import selection
from autoexp.journal import unstamp
from autoexp.overview import in_words, picture
from autoexp.page.live import Live
from autoexp.registry import Key
from autoexp.screen import Screen

SHORTEST_S = 0.5
"""The least time between two pictures; so often it is also asked what has changed."""
LONGEST_S = 10.0
"""The most: ages change by themselves."""


@dataclass(slots=True)
class Onlooker:
    """The lines of all jobs of a root, or of those that a choice has."""

    live: Live
    where: str = ""
    head: Mapping[str, Any] = field(default_factory=dict)
    jobs: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _choice: "selection.Selection | None" = None
    _version: int = -1

    def look(self) -> list[dict[str, Any]] | None:
        """Take over what has changed, and return the lines that have; None if nothing at all has.

        Raises:
            AutoexpError: the choice makes no sense for these jobs.
        """
        if self.live.look() == self._version:
            return None
        told = self.live.since(self._version)
        self.head, self._version = told, told["version"]
        for study, job in told["gone"]:
            self.jobs.pop(Key(study, job), None)
        return list(self._taken(told["rows"]))

    def _taken(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if self.where and self._choice is None:
            self.live.chosen(self.where)
            self._choice = selection.read(self.where)
        for row in rows:
            key = Key(row["study"], row["job"])
            if self._choice is not None and not self._choice.chooses(self.live.view().registry.job(key)):
                self.jobs.pop(key, None)
                continue
            self.jobs[key] = {**row, "at": unstamp(row["since"]) if row["since"] else None}
            yield row


def has_screen() -> bool:
    """Say whether standard output is a terminal on which a picture can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def show(onlooker: Onlooker, *, colors: bool) -> None:
    """Keep a picture up to date, until interrupted or the input is closed."""
    sys.stdout.flush()
    with Screen(sys.stdout.fileno(), sys.stdout.encoding) as screen:
        drawn_at, goes_on = float("-inf"), True
        while goes_on:
            is_old = time.monotonic() - drawn_at >= LONGEST_S
            if onlooker.look() is not None or is_old or screen.is_spoiled:
                jobs, now = onlooker.jobs.values(), time.time()
                screen.draw(picture(onlooker.head, jobs, now, screen.room, colors=colors))
                drawn_at = time.monotonic()
            goes_on = screen.wait(SHORTEST_S)


def changes(onlooker: Onlooker, *, as_json: bool) -> Iterator[list[str]]:
    """Yield how things stand, then what has moved whenever something has, a line for each job, without end."""
    known: dict[Key, tuple[Any, ...]] = {}
    line = json.dumps if as_json else _line
    error, is_first = "", True
    while True:
        rows = [row for row in onlooker.look() or () if known.get(_key(row)) != _moved(row)]
        rows.sort(key=lambda row: (row["since"] or "", _key(row)))
        if onlooker.head["error"] != error and (error := onlooker.head["error"]) and not as_json:
            yield [f"cannot be read: {error}"]
        if rows or is_first:
            yield list(summary(onlooker)) if is_first and not as_json else [line(row) for row in rows]
        is_first = False
        known |= {_key(row): _moved(row) for row in rows}
        time.sleep(SHORTEST_S)


def summary(onlooker: Onlooker) -> Iterator[str]:
    """Count the jobs of each study by state."""
    for head in onlooker.head["studies"]:
        states = Counter(row["state"] for row in onlooker.jobs.values() if row["study"] == head["study"])
        yield f"{head['study']}: {in_words(states)}"


def _line(row: Mapping[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    attempt = f"attempt {row['attempt']}" if row["attempt"] else ""
    return "  ".join(filter(None, (at, f"{row['study']}/{row['job']}", row["state"], attempt, row["reason"])))


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["study"], row["job"])


def _moved(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Say what of a job's line is told where there is no picture: how far it has come is not."""
    return row["state"], row["attempt"]
