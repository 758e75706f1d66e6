"""Reading a log as it grows: from a saved offset, in complete lines, whatever becomes of the file meanwhile."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoexp.backends import Backend
from autoexp.files import open_regular
from autoexp.logs import LogFacts, complete, numbered_lines
from autoexp.model import Rule
from autoexp.rulebook import search
from autoexp.skim import skim

CHUNK_BYTES = 1 << 20
LOOK_BYTES = 4 << 20
"""How much of a log one look reads, so that a flood in one log delays no other job."""
LOOK_MATCHES = 20
"""How many matching lines one look reads: what is owed for them stands in the journal until it is answered."""


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
            used = complete(chunk) or (len(chunk) if ended else 0)
            if not used:
                break
            found = list(search(rules, chunk[:used], facts.offset, facts.matches))
            if len(found) > LOOK_MATCHES:
                used = _up_to(found[LOOK_MATCHES - 1].offset - facts.offset, chunk[:used])
            matches = (*facts.matches, *(match for match in found if match.offset < facts.offset + used))
            facts = replace(skim(chunk[:used], facts, backend), offset=facts.offset + used, matches=matches)
    return replace(facts, behind=facts.offset >= end or len(facts.matches) >= enough)


def _up_to(place: int, data: bytes) -> int:
    """Say how many bytes the lines take up to the one that begins at this place."""
    return next((start for start, _ in numbered_lines(data) if start > place), len(data))
