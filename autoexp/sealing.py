"""Sealing: files of the journal that nobody writes any more become compressed ones, a small step at a time.

Compress into a draft, compare with what the successor accepted, make it durable, give it its name, and only then
remove the plain file. Killed between any two of these, nothing is lost: readers take what has its name, and the next
holder does the rest. A file without a move is not worth keeping: each start leaves one.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from autoexp.errors import AutoexpError
from autoexp.files import draft_of, sync_directory, sync_file
from autoexp.history import accepted_lengths
from autoexp.segments import CHUNK_BYTES, SEALED, Accepted, Content, first_line, remedy, segment_files


def seal(folder: Path, before: int, kept: int | None = None) -> Iterator[None]:
    """Seal every file older than this epoch's; each step is short. For the holder of the lease only.

    Files without a move are removed, but for the one that snapshot.json is of a place in: that is `kept`, and sealed.

    Raises:
        AutoexpError: a file is not what its successor accepted; it stays as it is.
    """
    plain = sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdecimal())
    due = [epoch for epoch in plain if epoch < before]
    if not due:
        return
    for draft in folder.glob(f".*{SEALED}.*.tmp"):  # of a holder that was killed
        draft.unlink(missing_ok=True)
    newer = {epoch: path for epoch, path in segment_files(folder).items() if epoch > due[0]}
    accepted = accepted_lengths(newer)
    for epoch in due:  # the oldest first: what is removed said how much counts of those before it
        path = folder / f"{epoch}.jsonl"
        if epoch == kept or accepted[epoch].length > len(first_line(path)):
            yield from _seal_one(path, accepted[epoch])
        else:
            path.unlink()
            yield


def _seal_one(plain: Path, accepted: Accepted) -> Iterator[None]:
    sealed = plain.with_name(f"{plain.stem}{SEALED}")
    if not sealed.exists():
        draft = draft_of(sealed)
        yield from _compress(plain, draft, accepted)
        sync_file(draft)
        _compare(draft, accepted)
        draft.rename(sealed)
        sync_directory(plain.parent)
    else:
        _compare(sealed, accepted)
    plain.unlink()
    yield


def _compress(plain: Path, draft: Path, accepted: Accepted) -> Iterator[None]:
    """Write the draft; what it was made from is what its successor accepted."""
    packer = zlib.compressobj(wbits=31)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with Content(plain, accepted.length) as content, os.fdopen(descriptor, "wb") as file:
        while data := content.read(CHUNK_BYTES):
            file.write(packer.compress(data))
            yield
        file.write(packer.flush())
    if (content.length, content.crc) != accepted:
        draft.unlink()
        raise _unlike(plain, accepted)


def _compare(sealed: Path, accepted: Accepted) -> None:
    """Read a compressed file to its end, and make sure that it is what was accepted."""
    try:
        with Content(sealed) as content:
            while content.read(CHUNK_BYTES):
                pass
    except (EOFError, zlib.error) as error:
        raise _unlike(sealed, accepted) from error
    if (content.length, content.crc) != accepted:
        raise _unlike(sealed, accepted)


def _unlike(path: Path, accepted: Accepted) -> AutoexpError:
    return AutoexpError(
        f"{path} is not what its successor accepted",
        why=f"it was changed after {accepted.length} bytes of it had been read",
        fix=remedy(path),
    )
