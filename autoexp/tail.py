"""Reading a log as it grows: from a saved offset, in complete lines, whatever becomes of the file meanwhile."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoexp.backends import Backend
from autoexp.files import open_regular
from autoexp.logs import (
    BEGINS_AGAIN,
    LONGEST_LINE_BYTES,
    OF_THE_SCHEDULER,
    LogFacts,
    complete_lines,
    is_stronger,
    may_tell,
    numbered_lines,
    symptom,
)
from autoexp.model import Rule
from autoexp.rulebook import search

CHUNK_BYTES = 1 << 20
LOOK_BYTES = 16 << 20
"""How much of a log one look reads, so that a flood in one log delays no other job."""
LOOK_MATCHES = 20
"""How many matching lines one look reads: what is owed for them stands in the journal until it is answered."""
LONGEST_LAST_LINE = 200
_OF_TORCHRUN = b" torch/distributed/elastic/multiprocessing/api.py:"
"""Stands in the first line of its farewell; a page about exit codes, with a traceback of its own, follows."""
_ON_ITS_PAGE = b"torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_END_OF_ITS_PAGE = b"=" * 60
_WHY, _FIX = b"  why: ", b"  fix: "
"""How the second and the third line of our own errors begin (`errors.AutoexpError`)."""


def read_on(
    path: Path, facts: LogFacts, backend: Backend, *, ended: bool = False, rules: Sequence[Rule] = ()
) -> LogFacts:
    """Take what was written to a log since the last look into account; a new or shortened file is read anew.

    What stands behind the last line end is a line once the program has `ended`. One look reads so much and no more.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return facts
    with file:
        descriptor = file.fileno()
        status = os.fstat(descriptor)
        if status.st_ino != facts.inode or status.st_size < facts.offset:
            facts = replace(LogFacts(), inode=status.st_ino, saves=facts.saves)
        end, enough = facts.offset + LOOK_BYTES, len(facts.matches) + LOOK_MATCHES
        while facts.offset < end and len(facts.matches) < enough:
            chunk = os.pread(descriptor, CHUNK_BYTES, facts.offset)
            lines, used = complete_lines(chunk)
            if not used and ended:
                lines, used = [chunk.rstrip(b"\r")], len(chunk)
            if not used:
                break
            found = list(search(rules, chunk[:used], facts.offset, facts.matches))
            if len(found) > LOOK_MATCHES:
                lines, used = _up_to(found[LOOK_MATCHES - 1].offset - facts.offset, chunk[:used], lines)
            matches = (*facts.matches, *(match for match in found if match.offset < facts.offset + used))
            facts = replace(_read_lines(lines, facts, backend), offset=facts.offset + used, matches=matches)
    return replace(facts, behind=facts.offset >= end or len(facts.matches) >= enough)


def _up_to(place: int, data: bytes, lines: list[bytes]) -> tuple[list[bytes], int]:
    """Leave out the lines after the one that begins at this place; return the others, and how many bytes they took."""
    starts = [start for start, _ in numbered_lines(data)]
    number = bisect_right(starts, place)
    return lines[:number], starts[number] if number < len(starts) else len(data)


def _read_lines(lines: list[bytes], facts: LogFacts, backend: Backend) -> LogFacts:
    shortened = [raw[:LONGEST_LINE_BYTES] for raw in lines]
    telling = may_tell(b"\n".join(shortened))
    for raw in shortened:
        facts = take(facts, raw.decode(errors="replace"), backend, telling=telling)
    last = _last_words(shortened)
    if last is None:
        return facts
    return replace(facts, last_line=last.decode(errors="replace").strip()[:LONGEST_LAST_LINE])


def _last_words(lines: list[bytes]) -> bytes | None:
    """Return the last line that is not empty; of the three of an error of ours those that say what happened, and why.

    What torchrun adds when a program of its has failed says nothing about why.
    """
    end = next((number for number, line in enumerate(lines) if _OF_TORCHRUN in line), len(lines))
    last = _last_before(lines, end)
    if last is not None and lines[last].strip() == _END_OF_ITS_PAGE and any(_ON_ITS_PAGE in line for line in lines):
        return None
    if last is not None and lines[last].startswith((_WHY, _FIX)):
        why = next((number for number in range(last, -1, -1) if lines[number].startswith(_WHY)), last)
        what = _last_before(lines, why)
        return None if what is None else lines[what] + b": " + lines[why].removeprefix(_WHY)
    return None if last is None else lines[last]


def _last_before(lines: list[bytes], end: int) -> int | None:
    return next((number for number in range(end - 1, -1, -1) if lines[number].strip()), None)


def take(facts: LogFacts, line: str, backend: Backend, *, telling: bool = True) -> LogFacts:
    """Take one complete line into account; `telling` says whether it can hold a symptom at all."""
    if line.startswith(BEGINS_AGAIN):
        return replace(facts, symptom=None, symptom_line="", diverged=False, cut_short="", saving=None)
    before, facts = facts, backend.read(facts, line)
    went_on = facts.reports != before.reports or (facts.done and not before.done)
    if facts.symptom is not None and went_on and facts.symptom not in OF_THE_SCHEDULER:
        facts = replace(facts, symptom=None, symptom_line="")  # the training went on after it
    if telling and (found := symptom(line)) and is_stronger(found, facts.symptom):
        return replace(facts, symptom=found, symptom_line=line.strip()[:LONGEST_LAST_LINE])
    return facts
