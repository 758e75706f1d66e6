"""What a piece of a log adds to what was known: only lines that can tell anything are looked at. Pure.

A flood of a gigabyte is searched for the few words that matter, each search as quick as memory allows; of reports one
after the other only the first and the last are read. What comes of it is what every line, taken one by one, would say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from autoexp.backends import Backend
from autoexp.logs import (
    BEGINS_AGAIN,
    HINTS,
    HINTS_OF_THE_SCHEDULER,
    LONGEST_LINE_BYTES,
    OF_THE_SCHEDULER,
    LogFacts,
    is_stronger,
    may_tell,
    symptom,
)

LONGEST_LAST_LINE = 200
_AGAIN = BEGINS_AGAIN.encode()
_OF_TORCHRUN = b" torch/distributed/elastic/multiprocessing/api.py:"
"""Stands in the first line of its farewell; a page about exit codes, with a traceback of its own, follows."""
_ON_ITS_PAGE = b"torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_END_OF_ITS_PAGE = b"=" * 60
_WHY, _FIX = b"  why: ", b"  fix: "
"""How the second and the third line of our own errors begin (`errors.AutoexpError`)."""
_LAST_LINES = 50
"""Among so many a log's last words are looked for."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may tell something."""

    start: int
    data: bytes
    hints: int
    """How many of the hints stand in it."""

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


def skim(data: bytes, facts: LogFacts, backend: Backend) -> LogFacts:
    """Take complete lines into account."""
    data = data.replace(b"\r", b"\n")
    is_scheduler = facts.symptom in OF_THE_SCHEDULER or any(hint in data for hint in (_AGAIN, *HINTS_OF_THE_SCHEDULER))
    facts = (_each if is_scheduler else _few)(data, facts, backend)
    last = _last_words(data)
    if last is None:
        return facts
    return replace(facts, last_line=last.decode(errors="replace").strip()[:LONGEST_LAST_LINE])


def take(facts: LogFacts, line: str, backend: Backend) -> LogFacts:
    """Take one complete line into account."""
    if line.startswith(BEGINS_AGAIN):
        return replace(facts, symptom=None, symptom_line="", diverged=False, cut_short="", saving=None)
    before, facts = facts, backend.read(facts, line)
    if facts.symptom is not None and _went_on(before, facts) and facts.symptom not in OF_THE_SCHEDULER:
        facts = replace(facts, symptom=None, symptom_line="")
    return _with_symptom(facts, line)


def _went_on(before: LogFacts, facts: LogFacts) -> bool:
    """Say whether the training went on: what was wrong before that is over."""
    return facts.reports != before.reports or (facts.done and not before.done)


def _with_symptom(facts: LogFacts, line: str) -> LogFacts:
    if may_tell(line.encode(errors="replace")) and (found := symptom(line)) and is_stronger(found, facts.symptom):
        return replace(facts, symptom=found, symptom_line=line.strip()[:LONGEST_LAST_LINE])
    return facts


def _each(data: bytes, facts: LogFacts, backend: Backend) -> LogFacts:
    """Take all lines into account that may tell anything, one by one."""
    for line in _lines_with((*_words(backend), *HINTS, _AGAIN), data):
        facts = take(facts, line.text, backend)
    return facts


def _few(data: bytes, facts: LogFacts, backend: Backend) -> LogFacts:
    """Take lines into account of which none is a scheduler's: then no symptom outlives a report."""
    since = 0
    for is_report, found in groupby(_lines_with(_words(backend), data), partial(_is_report, backend)):
        run = list(found)
        few = (run[0], run[-1]) if is_report and len(run) > 2 and _tells_loss(run[-1], backend) else run  # noqa: PLR2004
        for line in few:
            before, facts = facts, backend.read(facts, line.text)
            if _went_on(before, facts):
                since, facts = line.start, replace(facts, symptom=None, symptom_line="")
        facts = replace(facts, reports=facts.reports + len(run) - len(few))
    for line in _lines_with(HINTS, data[since:]):
        facts = _with_symptom(facts, line.text)
    return facts


def _words(backend: Backend) -> Iterable[bytes]:
    return map(str.encode, backend.HINTS)


def _is_report(backend: Backend, line: _Line) -> bool:
    return (
        line.hints == 1
        and line.data.isascii()
        and backend.REPORT is not None
        and backend.REPORT.search(line.data) is not None
    )


def _tells_loss(report: _Line, backend: Backend) -> bool:
    """Say whether a report tells a loss; one that does not leaves the last one known."""
    return backend.read(LogFacts(), report.text).loss is not None


def _lines_with(hints: Iterable[bytes], data: bytes) -> Sequence[_Line]:
    """Find the lines in which any of these stands, in order, each as long as lines are read."""
    found: dict[int, _Line] = {}
    for hint in hints:
        place = data.find(hint)
        while place >= 0:
            start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
            end = len(data) if end < 0 else end
            known = found.get(start)
            found[start] = _Line(
                start, data[start : min(end, start + LONGEST_LINE_BYTES)], known.hints + 1 if known else 1
            )
            place = data.find(hint, end)
    return [found[start] for start in sorted(found)]


def _last_words(data: bytes) -> bytes | None:
    """Return the last line that is not empty; of the three of an error of ours those that say what happened, and why.

    What torchrun adds when a program of its has failed says nothing about why.
    """
    farewell = data.find(_OF_TORCHRUN)
    said = data if farewell < 0 else data[: data.rfind(b"\n", 0, farewell) + 1]
    lines = [
        line[:LONGEST_LINE_BYTES] for line in said.rstrip().rsplit(b"\n", _LAST_LINES)[-_LAST_LINES:] if line.strip()
    ]
    if not lines or (lines[-1].strip() == _END_OF_ITS_PAGE and _ON_ITS_PAGE in data):
        return None
    if not lines[-1].startswith((_WHY, _FIX)):
        return lines[-1]
    why = next((number for number in range(len(lines) - 1, -1, -1) if lines[number].startswith(_WHY)), len(lines) - 1)
    return lines[why - 1] + b": " + lines[why].removeprefix(_WHY) if why else None
