"""The journal: one JSON line a transition, and nothing acts before its line is durable.

`journal/<epoch>.jsonl` is created exclusively, so two watchers that start at once cannot both have it. Its first line
records how much of its predecessor counts, and that part's CRC (of several, if a watcher died before it wrote its
first line): whatever a stale watcher appends there later is ignored. Every line ends with its own CRC: CRC-32 of the
line without it, as eight hex digits. Reading is in `history`, where its files lie in `segments`.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from autoexp.codec import encode
from autoexp.errors import AutoexpError
from autoexp.files import make_folders, sync_directory, sync_file
from autoexp.model import State, Transition
from autoexp.segments import Segment, segment_files
from autoexp.standings import Standings

VERSION = 1
_CRC_MARK = ',"crc":"'
_CRC_TAIL = len(_CRC_MARK) + len('12345678"}')


class OtherVersion(ValueError):
    """A line is whole, and of a version that we do not read."""


def stamp(at: float) -> str:
    """Spell a time as the journal does: UTC, with microseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unstamp(text: str) -> float:
    """Read a time back."""
    return datetime.fromisoformat(text).timestamp()


def to_line(record: Mapping[str, Any]) -> bytes:
    """Write a record as a journal line, its CRC last."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False)[:-1]
    data = body.encode(errors="surrogatepass")  # JSON from elsewhere may hold half a character
    return data + f'{_CRC_MARK}{zlib.crc32(data):08x}"}}\n'.encode()


def head(seq: int, epoch: int) -> bytes:
    """Return how the line of this number in this file begins."""
    return b'{"v":%d,"seq":%d,"epoch":%d,' % (VERSION, seq, epoch)


def from_line(line: bytes) -> dict[str, Any]:
    """Read a journal line (without its line end).

    Raises:
        ValueError: it is no whole line of ours; the message says what is wrong.
    """
    body, tail = line[:-_CRC_TAIL], line[-_CRC_TAIL:]
    if not tail.startswith(_CRC_MARK.encode()):
        raise ValueError("it has no checksum at its end")
    if tail != f'{_CRC_MARK}{zlib.crc32(body):08x}"}}'.encode():
        raise ValueError("its checksum does not fit its content")
    record: dict[str, Any] = json.loads(line)
    if record.get("v") != VERSION:
        raise OtherVersion(f"it is of version {record.get('v')}; this autoexp reads {VERSION}")
    return record


def to_record(transition: Transition, seq: int, epoch: int) -> dict[str, Any]:
    """Lay a transition out as the journal's fields."""
    return {
        "v": VERSION,
        "seq": seq,
        "epoch": epoch,
        "at": stamp(transition.at),
        "study": transition.study,
        "job": transition.job,
        "attempt": transition.attempt,
        "trigger": transition.trigger,
        "from": transition.source,
        "to": transition.target,
        "evidence": encode(transition.evidence),
        "set": encode(transition.changes),
        "actions": list(transition.actions),
    }


def naming(study: str, job: str) -> bytes:
    """Return the bytes that every line of a job has; none if no job is named."""
    if not job:
        return b""
    fields = json.dumps({"study": study, "job": job}, separators=(",", ":"), ensure_ascii=False)
    return fields[1:-1].encode(errors="surrogatepass")


def to_transition(record: Mapping[str, Any]) -> Transition:
    """Read a transition back."""
    return Transition(
        at=unstamp(record["at"]),
        study=record["study"],
        job=record["job"],
        attempt=record["attempt"],
        trigger=record["trigger"],
        source=None if record["from"] is None else State(record["from"]),
        target=State(record["to"]),
        evidence=record["evidence"],
        changes=record["set"],
        actions=tuple(record["actions"]),
    )


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the journal: how much of which file, and the number of the last line before it."""

    epoch: int
    length: int
    crc: int
    lines: int
    seq: int

    def after(self, data: bytes, records: int) -> "Mark":
        """Return the place behind what was written here: so many records, one a line."""
        return replace(
            self,
            length=self.length + len(data),
            crc=zlib.crc32(data, self.crc),
            lines=self.lines + records,
            seq=self.seq + records,
        )


class Journal:
    """The file this watcher writes, and where every job stands by it; made by `open_journal`."""

    def __init__(self, path: Path, file: FileIO, mark: Mark, holder: Mapping[str, Any], standings: Standings) -> None:
        self.path = path
        self._file = file
        self._mark = mark
        self._holder = holder
        self._is_settled = True
        self.standings = standings

    @property
    def epoch(self) -> int:
        """Its file's name."""
        return self._mark.epoch

    @property
    def seq(self) -> int:
        """The number of its last line."""
        return self._mark.seq

    @property
    def mark(self) -> Mark | None:
        """The place that `standings` are of; None in the middle of a change, or after one that failed."""
        return self._mark if self._is_settled else None

    def append(self, transitions: Sequence[Transition]) -> None:
        """Write transitions and make them durable, all with one sync.

        Raises:
            AutoexpError: they could not be written; whoever goes on must read the journal anew.
        """
        if not transitions:
            return
        records = [to_record(move, self.seq + n, self.epoch) for n, move in enumerate(transitions, start=1)]
        data = b"".join(to_line(record) for record in records)
        self._is_settled = False
        try:
            _write_all(self._file, data)
        except OSError as error:
            raise AutoexpError(
                "the journal cannot be written",
                why=str(error),
                fix="make room on its file system, then watch again: nothing was done that is not written",
            ) from error
        for record in records:
            self.standings.take(record)
        self._mark = self._mark.after(data, len(records))
        self._is_settled = True

    def begin_next(self, at: float) -> None:
        """Go on in a new file, as another watcher would.

        Raises:
            FileExistsError: another watcher did.
        """
        mark, folder = self._mark, self.path.parent
        before = [Segment(self.path, mark.epoch, mark.length, mark.crc)]
        file, begun = _begin(folder, before, mark.seq, self._holder, at)
        self._file.close()
        self._file, self._mark, self.path = file, begun, _path(folder, begun.epoch)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_journal(
    folder: Path,
    segments: Sequence[Segment],
    standings: Standings,
    seq: int,
    *,
    holder: Mapping[str, Any],
    at: float,
) -> Journal:
    """Begin the next file after these, which have been read to their ends.

    Raises:
        FileExistsError: another watcher began it first.
    """
    make_folders(folder)
    for segment in segments:
        if segment.open:
            sync_file(segment.path)  # whoever wrote it may have died before it had made its last lines durable
    file, mark = _begin(folder, segments, seq, holder, at)
    return Journal(_path(folder, mark.epoch), file, mark, holder, standings)


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch}.jsonl"


def _begin(
    folder: Path, before: Sequence[Segment], seq: int, holder: Mapping[str, Any], at: float
) -> tuple[FileIO, Mark]:
    """Create the file that comes after these, with its first line, durably."""
    epoch = before[-1].epoch + 1 if before else 1
    path = _path(folder, epoch)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    file = os.fdopen(descriptor, "ab", buffering=0)
    accepted = [{"epoch": s.epoch, "length": s.length, "crc": f"{s.crc:08x}"} for s in before if s.open]
    line = to_line({"v": VERSION, "seq": seq, "epoch": epoch, "at": stamp(at), **holder, "predecessors": accepted})
    try:
        files = segment_files(folder)
        if max(files) > epoch or files[epoch] != path:  # ours was there, and has been sealed since
            raise FileExistsError(f"{path} was begun by another")
        _write_all(file, line)
        sync_directory(folder)
    except BaseException:
        path.unlink()
        file.close()
        raise
    return file, Mark(epoch, 0, 0, 1, seq).after(line, 0)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write and make durable, without a buffer: what failed must not be written later."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]
    os.fdatasync(file.fileno())


def cut_torn_tails(segments: Iterable[Segment]) -> list[Segment]:
    """Cut what a crash left behind the last complete line; return the files that had such a tail."""
    torn = [segment for segment in segments if segment.open and segment.torn]
    for segment in torn:
        os.truncate(segment.path, segment.length)
    return torn
