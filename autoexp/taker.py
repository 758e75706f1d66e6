"""Taking the journal's lines over fast: a million of them are read when snapshot.json is gone."""

import json
from typing import Any

import msgspec

from autoexp.standings import REQUESTS, Standings


class _Line(msgspec.Struct, gc=False):
    """What standings are made of; the rest of a line is skipped."""

    at: str
    study: str
    job: str
    attempt: int
    trigger: str
    source: str | None = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    changes: dict[str, Any] = msgspec.field(name="set")


_decode = msgspec.json.Decoder(_Line).decode


def take(standings: Standings, line: bytes) -> None:
    """Do what `Standings.take` does with a line's record."""
    try:
        read = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):  # half of a surrogate pair, from an odd file name
        standings.take(json.loads(line))
        return
    if read.trigger in REQUESTS:
        standings.take(json.loads(line))
        return
    course = standings.of(read.study)
    course.take(read.job, read.attempt, read.source, read.target, at=read.at, changes=read.changes)
