"""The journal: one JSON line a transition, one file a watcher start, and nothing acts before its line is durable.

`journal/<epoch>.jsonl` is created exclusively, so two watchers that start at once cannot both have it. Its first line
records how much of its predecessor counts, and that part's CRC (of several, if a watcher died before it wrote its
first line): whatever a stale watcher appends there later is ignored. Every line ends with its own CRC: CRC-32 of the
line without it, as eight hex digits.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from autoexp.codec import encode
from autoexp.errors import AutoexpError
from autoexp.files import sync_directory
from autoexp.model import State, Transition

VERSION = 1
_CRC_MARK = ',"crc":"'
_CRC_TAIL = len(_CRC_MARK) + len('12345678"}')


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
        raise ValueError(f"it is of version {record.get('v')}; this autoexp reads {VERSION}")
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
class Segment:
    """One watcher's file, as far as it counts."""

    path: Path
    epoch: int
    length: int
    """Bytes that count."""
    crc: int
    torn: int = 0
    """Bytes behind them that are no complete line."""
    open: bool = True
    """No later file has said how much of it counts."""


@dataclass(slots=True)
class History:
    """The whole journal, read once: its records come from `records`, and `segments` is known after that."""

    folder: Path
    segments: list[Segment] = field(default_factory=list)
    seq: int = 0

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record that counts, oldest first.

        Raises:
            AutoexpError: a line is damaged anywhere but at the journal's very end.
        """
        files = segment_files(self.folder)
        accepted = _accepted_lengths(files)
        for epoch, path in files.items():
            data = _bytes_of(path)
            limit = accepted.get(epoch)
            counted = data if limit is None else data[: limit[0]]
            whole = counted.rfind(b"\n") + 1
            yield from self._lines(path, counted[:whole])
            _check_accepted(path, counted, limit)
            crc = zlib.crc32(counted[:whole])
            self.segments.append(Segment(path, epoch, whole, crc, len(counted) - whole, open=limit is None))

    def _lines(self, path: Path, data: bytes) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            record = _read(path, number, line)
            if number == 1:
                continue
            if record.get("seq") != self.seq + 1:
                raise _damaged(path, number, f"its number is {record.get('seq')}, where {self.seq + 1} is due")
            self.seq += 1
            yield record


def segment_files(folder: Path) -> dict[int, Path]:
    """List a journal's files by epoch."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    return dict(sorted((int(p.stem), p) for p in paths if p.suffix == ".jsonl" and p.stem.isdecimal()))


def _bytes_of(path: Path, *, first_line: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline() if first_line else file.read()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> AutoexpError:
    fix = "ask the one who watches this root: the journal is for its owner only"
    return AutoexpError(f"{path} cannot be read", why=str(error), fix=fix)


def _accepted_lengths(files: Mapping[int, Path]) -> dict[int, tuple[int, str]]:
    """Read from each file's first line how much of its predecessor counts."""
    accepted: dict[int, tuple[int, str]] = {}
    for path in files.values():
        first = _bytes_of(path, first_line=True)
        if first.endswith(b"\n"):
            for before in _read(path, 1, first[:-1]).get("predecessors", ()):
                accepted[before["epoch"]] = (before["length"], before["crc"])
    return accepted


def _check_accepted(path: Path, counted: bytes, limit: tuple[int, str] | None) -> None:
    if limit is not None and f"{zlib.crc32(counted):08x}" != limit[1]:
        raise AutoexpError(
            f"{path} is not what its successor accepted",
            why=f"the first {limit[0]} bytes were changed after they had been read",
            fix=f"restore {path.name} from a backup, or move the journal folder away to start from the studies on disk",
        )


def _read(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return from_line(line)
    except ValueError as error:
        raise _damaged(path, number, str(error)) from error


def _damaged(path: Path, number: int, why: str) -> AutoexpError:
    return AutoexpError(
        f"{path}:{number}: the journal is damaged here",
        why=why,
        fix="restore the file from a backup, or move the journal folder away to start from the studies on disk",
    )


class Journal:
    """The file this watcher writes; made by `open_journal`."""

    def __init__(self, file: FileIO, epoch: int, seq: int) -> None:
        self._file = file
        self.epoch = epoch
        self.seq = seq

    def append(self, transitions: Sequence[Transition]) -> list[dict[str, Any]]:
        """Write transitions and make them durable, all with one sync; return their records.

        Raises:
            AutoexpError: they could not be written; whoever goes on must read the journal anew.
        """
        records = [to_record(move, self.seq + n, self.epoch) for n, move in enumerate(transitions, start=1)]
        if records:
            try:
                _write_all(self._file, b"".join(to_line(record) for record in records))
            except OSError as error:
                raise AutoexpError(
                    "the journal cannot be written",
                    why=str(error),
                    fix="make room on its file system, then watch again: nothing was done that is not written",
                ) from error
            self.seq += len(records)
        return records

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_journal(folder: Path, history: History, holder: Mapping[str, Any], at: float) -> Journal:
    """Begin the next file; `history` has been read to its end.

    Raises:
        FileExistsError: another watcher began it first.
    """
    last = history.segments[-1] if history.segments else None
    epoch = last.epoch + 1 if last else 1
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{epoch}.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    file = os.fdopen(descriptor, "ab", buffering=0)
    before = [{"epoch": s.epoch, "length": s.length, "crc": f"{s.crc:08x}"} for s in history.segments if s.open]
    _write_all(file, to_line({"v": VERSION, "epoch": epoch, "at": stamp(at), **holder, "predecessors": before}))
    sync_directory(folder)
    return Journal(file, epoch, history.seq)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write and make durable, without a buffer: what failed must not be written later."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]
    os.fdatasync(file.fileno())


def cut_torn_tails(history: History) -> list[Segment]:
    """Cut what a crash left behind the last complete line; return the files that had such a tail."""
    torn = [segment for segment in history.segments if segment.open and segment.torn]
    for segment in torn:
        os.truncate(segment.path, segment.length)
    return torn


def records(folder: Path) -> Iterable[dict[str, Any]]:
    """Read a journal's records, without touching it."""
    return History(folder).records()
