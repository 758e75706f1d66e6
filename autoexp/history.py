"""Reading the journal: every line that counts, checked, oldest first; from its beginning or from a place in it.

Nothing here writes. What is held in memory is a file that was accepted, and the next one: 32 MB each at most.
"""

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from autoexp.ahead import ahead
from autoexp.errors import AutoexpError
from autoexp.journal import Mark, OtherVersion, from_line, head
from autoexp.segments import (
    Accepted,
    Content,
    Segment,
    Whole,
    crc_of,
    damaged,
    first_line,
    gap,
    holds,
    is_sealed,
    of_another_version,
    read_whole,
    remedy,
    segment_files,
    unreadable,
)
from autoexp.standings import Standings
from autoexp.taker import take

_BUFFER_BYTES = 1 << 18
_CRC_TAIL = len(',"crc":"12345678"}\n')


@dataclass(slots=True)
class History:
    """A journal, read once: `mark` and `segments` are known when it has been read to its end."""

    folder: Path
    after: Mark | None = None
    """Where to begin; `fits` says whether it is a place in this journal."""
    segments: list[Segment] = field(default_factory=list)
    """The files that were read."""
    lines: int = 0
    """The lines that were read."""
    _seq: int = 0
    _mark: Mark | None = None

    @property
    def mark(self) -> Mark | None:
        """The place it was read to; None before the first file."""
        return self._mark

    @property
    def seq(self) -> int:
        """The number of the last line that was read."""
        return self._seq

    def records(self, containing: bytes = b"") -> Iterator[dict[str, Any]]:
        """Yield every record that counts, oldest first; `containing` leaves out lines without these bytes.

        Raises:
            AutoexpError: a line is damaged anywhere but at the journal's very end.
        """
        for line in self._checked():
            if containing in line:
                yield json.loads(line)

    def replay(self, standings: Standings) -> None:
        """Fold what there is to be read into standings.

        Raises:
            AutoexpError: a line is damaged anywhere but at the journal's very end.
        """
        for line in self._checked():
            take(standings, line)

    def fits(self) -> bool:
        """Say whether the place to begin at is one in this journal: what comes before it is just what was there."""
        if self.after is None:
            return True
        mark, files = self.after, segment_files(self.folder)
        accepted = accepted_lengths({epoch: path for epoch, path in files.items() if epoch > mark.epoch})
        limit = accepted.get(mark.epoch)
        if mark.epoch not in files or (limit and limit.length < mark.length):
            return False
        try:
            return holds(files[mark.epoch], Accepted(mark.length, mark.crc))
        except (OSError, EOFError, zlib.error):
            return False

    def _checked(self) -> Iterator[bytes]:
        """Yield the lines that count but for each file's first."""
        since = self.after.epoch if self.after else 0
        self._seq = self.after.seq if self.after else 0
        newer = {epoch: path for epoch, path in segment_files(self.folder).items() if epoch >= since}
        accepted = accepted_lengths(newer)
        wholes = ahead([partial(read_whole, path, accepted.get(epoch)) for epoch, path in newer.items()])
        for (epoch, path), whole in zip(newer.items(), wholes, strict=True):
            begin = self.after if epoch == since else None
            try:
                if begin is None and whole is not None and self._is_due(epoch, whole):
                    yield from self._lines_in(epoch, path, whole)
                else:
                    with Content(path, accepted[epoch].length if epoch in accepted else None) as content:
                        yield from self._lines_of(epoch, content, accepted.get(epoch), begin)
            except FileNotFoundError:  # removed since: if it held a move, the next one says what is missing
                continue
            except OSError as error:
                raise unreadable(path, error) from error

    def _is_due(self, epoch: int, whole: Whole) -> bool:
        """Say whether a file ends with the line that its first one and their count lead to."""
        last, seq = whole.data[whole.data.rfind(b"\n", 0, -1) + 1 :], self._seq + whole.lines - 1
        return seq == self._seq or last.startswith(head(seq, epoch))

    def _lines_in(self, epoch: int, path: Path, whole: Whole) -> Iterator[bytes]:
        """Yield the lines of a file that is just what it was when they were checked."""
        lines = io.BytesIO(whole.data)
        self._check_first(path, lines.readline(), epoch)
        yield from lines
        self._seq += whole.lines - 1
        self.lines += whole.lines - 1
        self._mark = Mark(epoch, len(whole.data), whole.crc, whole.lines, self._seq)
        self.segments.append(Segment(path, epoch, len(whole.data), whole.crc, open=False))

    def _lines_of(self, epoch: int, content: Content, accepted: Accepted | None, begin: Mark | None) -> Iterator[bytes]:
        path, number, torn = content.path, 0, 0
        if begin is not None:
            content.skip(begin.length)
            number = begin.lines
        try:
            for line in io.BufferedReader(content, _BUFFER_BYTES):
                if not line.endswith(b"\n"):
                    torn = len(line)
                    break
                number += 1
                if number == 1:
                    self._check_first(path, line, epoch)
                    continue
                self._check(path, number, line, epoch)
                yield line
        except (EOFError, zlib.error) as error:
            raise damaged(path, number + 1, f"it cannot be decompressed: {error}") from error
        _check_accepted(content, accepted, number, torn)
        length = content.length - torn
        crc = crc_of(path, length) if torn else content.crc
        self._mark = Mark(epoch, length, crc, number, self._seq)
        self.segments.append(Segment(path, epoch, length, crc, torn, open=accepted is None and not is_sealed(path)))

    def _check_first(self, path: Path, line: bytes, epoch: int) -> None:
        """Make sure that a file is the one that is due; one that held no move may be gone."""
        found = _read(path, 1, line)
        if found.get("epoch") != epoch:
            raise damaged(path, 1, f"it is of file {found.get('epoch')}.jsonl")
        if "predecessors" not in found:
            raise damaged(path, 1, "the file's own first line is missing")
        if found["seq"] != self._seq:
            raise gap(path, self._seq, found["seq"])

    def _check(self, path: Path, number: int, line: bytes, epoch: int) -> None:
        """Make sure that a line is whole, and the one that is due."""
        due = self._seq + 1
        body = line[:-_CRC_TAIL]
        is_whole = line[-_CRC_TAIL:] == b',"crc":"%08x"}\n' % zlib.crc32(body)
        if not is_whole or not body.startswith(head(due, epoch)):
            record = _read(path, number, line)
            if record.get("seq") != due:
                raise damaged(path, number, f"its number is {record.get('seq')}, where {due} is due")
            if record.get("epoch") != epoch:
                raise damaged(path, number, f"it is of file {record.get('epoch')}.jsonl")
        self._seq = due
        self.lines += 1


def accepted_lengths(files: Mapping[int, Path]) -> dict[int, Accepted]:
    """Read from each file's first line how much of its predecessors counts."""
    accepted: dict[int, Accepted] = {}
    for path in files.values():
        try:
            first = first_line(path)
        except FileNotFoundError:  # removed since, for it held no move
            continue
        if first.endswith(b"\n"):
            for before in _read(path, 1, first).get("predecessors", ()):
                accepted[before["epoch"]] = Accepted(before["length"], int(before["crc"], 16))
    return accepted


def _check_accepted(content: Content, accepted: Accepted | None, lines: int, torn: int) -> None:
    if accepted is None:
        return
    if torn or content.length != accepted.length:
        why = f"its successor accepted {accepted.length} bytes up to a line end; it has {content.length - torn}"
        raise damaged(content.path, lines + 1, why)
    if content.crc != accepted.crc:
        raise AutoexpError(
            f"{content.path} is not what its successor accepted",
            why=f"the first {accepted.length} bytes were changed after they had been read",
            fix=remedy(content.path),
        )


def _read(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return from_line(line.removesuffix(b"\n"))
    except OtherVersion as error:
        raise of_another_version(path, number, str(error)) from error
    except ValueError as error:
        raise damaged(path, number, str(error)) from error
