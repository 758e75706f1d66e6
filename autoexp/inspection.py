"""What autoexp makes of one log: the facts that a backend's grammar takes from it, each with the line that says so."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoexp import backends
from autoexp.logs import LONGEST_LINE_BYTES, LogFacts, complete_lines
from autoexp.model import EndingClass
from autoexp.skim import LONGEST_LAST_LINE, take
from autoexp.tail import CHUNK_BYTES

NO_GRAMMAR = "command"
FIGURES = (
    *("lr", "tflops", "mfu", "tokens_per_second", "samples_per_second", "peak_memory_bytes", "seconds_per_iteration"),
    "global_batch_size",
)
"""What of the last report's facts stands in the answer, where the log tells it."""
_ENDINGS = {
    EndingClass.CANCELLED: r"CANCELLED AT",
    EndingClass.CRASHED: r"\btasks? [\d,\- ]+: (?:Killed|Terminated|Aborted|Bus error|Segmentation fault|Exited with)"
    r"|^(?:.*: ?)?Traceback \(most recent call last\)|\(core dumped\)",
}
_ENDING = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _ENDINGS.items()))
"""What says that a program was ended, where nothing says why; `endings` has the exit code for that."""


@dataclass(slots=True)
class Reading:
    """What a log has told so far."""

    facts: LogFacts = field(default_factory=LogFacts)
    ending: EndingClass | None = None
    """How it was cut off, if a line says so and no report follows."""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    latest: dict[str, Any] | None = None
    """The newest report."""
    saves: set[int] = field(default_factory=set)

    @property
    def done(self) -> bool:
        """Finished, as far as the log alone shows: the marker, nothing cut off after it, and no save left open."""
        facts = self.facts
        reached = max(facts.iteration or 0, facts.loaded or 0) >= (facts.train_iters or 0)
        return facts.done and reached and facts.saving is None and facts.symptom is None and self.ending is None

    @property
    def judged(self) -> EndingClass | None:
        """How it ended, None where it goes on or does not say."""
        diverged = EndingClass.DIVERGED if self.facts.diverged else None
        return self.facts.symptom or diverged or self.ending or (EndingClass.SUCCESS if self.done else None)


def read(path: Path, name: str | None = None) -> dict[str, Any]:
    """Read a log with a backend's grammar, or with the one that finds most in it.

    Raises:
        AutoexpError: there is no such backend.
        OSError: the file cannot be read.
    """
    found = {name: _read(path, backends.find(name)) for name in ([name] if name else backends.known())}
    best = max(found, key=lambda name: (_tells(found[name]), name == NO_GRAMMAR))
    return _as_json(best, found[best])


def _tells(reading: Reading) -> tuple[bool, int]:
    """Say how much a grammar finds: a report is more than any bar, mark or error line."""
    return reading.facts.reports > 0, len(reading.evidence)


def _read(path: Path, backend: backends.Backend) -> Reading:
    reading = Reading()
    for number, line in _lines(path):
        _take(reading, number, line, backend)
    if reading.latest is not None and reading.latest not in reading.evidence:
        reading.evidence.append(reading.latest)
    reading.evidence.sort(key=lambda said: said["line"])
    return reading


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number; the last one may lack its end."""
    number, rest = 0, b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            lines, used = complete_lines(rest + chunk)
            rest = (rest + chunk)[used:]
            for raw in lines:
                number += 1
                yield number, raw[:LONGEST_LINE_BYTES].decode(errors="replace")
    if rest.strip():
        yield number + 1, rest[:LONGEST_LINE_BYTES].decode(errors="replace")


def _take(reading: Reading, number: int, line: str, backend: backends.Backend) -> None:
    old, cut = reading.facts, _ENDING.search(line)
    try:
        new = take(old, line, backend)
    except (ValueError, OverflowError):  # a number that is none
        reading.evidence.append(_said(number, "senseless", line))
        return
    for event in _events(old, new):
        reading.evidence.append(_said(number, event, line))
    if new is not old and new.iteration is not None and _is_further(old, new):
        reading.latest = _said(number, "progress", line)
    if new.reports != old.reports or (new.done and not old.done):  # a bar is drawn once more by a program that fails
        reading.ending = None
    if cut and new.symptom is None:
        reading.ending = EndingClass(str(cut.lastgroup))
        reading.evidence.append(_said(number, reading.ending, line))
    reading.saves.update(new.saves[-1:])
    reading.facts = replace(new, symptom_line="", last_line="")


def _said(number: int, event: str, line: str) -> dict[str, Any]:
    return {"line": number, "event": str(event), "text": line.strip()[:LONGEST_LAST_LINE]}


def _is_further(old: LogFacts, new: LogFacts) -> bool:
    return (old.iteration, old.reports) != (new.iteration, new.reports)


def _events(old: LogFacts, new: LogFacts) -> Iterator[str]:
    """Name what a line has told that is worth a line of evidence; of the reports only the first and the last are."""
    if old.iteration is None and new.iteration is not None:
        yield "progress"
    if new.loaded != old.loaded:
        yield "loaded"
    if new.lost and new.lost != old.lost:
        yield "lost"
    if new.saving not in (None, old.saving):
        yield "saving"
    if new.saves != old.saves:
        yield "saved"
    if new.done and not old.done:
        yield "done"
    if new.cut_short and new.cut_short != old.cut_short:
        yield "cut_short"
    if new.diverged and not old.diverged:
        yield EndingClass.DIVERGED
    if new.symptom not in (None, old.symptom):
        yield str(new.symptom)


def _as_json(name: str, reading: Reading) -> dict[str, Any]:
    facts = reading.facts
    return {
        "kind": "log",
        "backend": name,
        "iteration": facts.iteration,
        "train_iters": facts.train_iters,
        "loss": facts.loss,
        "figures": {name: value for name in FIGURES if (value := getattr(facts, name)) is not None},
        "saves": sorted(reading.saves),
        "done": reading.done,
        "diverged": facts.diverged,
        "ending": reading.judged,
        "evidence": reading.evidence,
    }


def nothing(name: str | None, why: str) -> dict[str, Any]:
    """Answer for a log that cannot be read."""
    return {**_as_json(name or NO_GRAMMAR, Reading()), "why": why}


def is_readable(path: Path) -> bool:
    """Say whether this is a regular file we may read; a pipe would keep us waiting."""
    return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113 - Path's raises for a name too long
