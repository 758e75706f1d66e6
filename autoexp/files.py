"""Files written whole or not at all, and read with patience.

A rename makes a file appear at once; only fsync of the file *and* of its folder makes that survive a power cut.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from types import UnionType
from typing import Any, BinaryIO

NO_COPY_RANGE = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
"""How a kernel, or two file systems, that cannot copy by themselves say so."""
NO_FALLOCATE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""How a file system that cannot reserve room says so."""
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""How a file system without hard links says so."""


def draft_of(path: Path) -> Path:
    """Name a file's draft, beside it; another process, also on another node, names another one."""
    node = os.uname().nodename.partition(".")[0]
    return path.with_name(f".{path.name}.{node}-{os.getpid()}.tmp")


def write_new(path: Path, data: bytes) -> None:
    """Create a file with durable contents; its name is durable after `sync_directory`.

    Raises:
        FileExistsError: it is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def write_new_whole(path: Path, data: bytes) -> None:
    """Create a file that is whole as soon as it is there, even if we are killed in between.

    Raises:
        FileExistsError: it is there already.
    """
    draft = draft_of(path)
    draft.unlink(missing_ok=True)  # only a killed process of the same id can have left one
    try:
        write_new(draft, data)
        path.hardlink_to(draft)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        write_new(path, data)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, data: str | bytes, *, durable: bool = True) -> None:
    """Put a file in place by rename: a reader sees the old contents or the new, never a part."""
    draft = draft_of(path)
    draft.unlink(missing_ok=True)  # only a killed process of the same id can have left one
    contents = data.encode() if isinstance(data, str) else data
    try:
        if durable:
            write_new(draft, contents)
        else:
            draft.write_bytes(contents)
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk is told without a name
            error.filename = str(path)
        raise
    if durable:
        sync_directory(path.parent)


def write_json(path: Path, data: Mapping[str, Any], *, durable: bool = True, indent: int | None = None) -> None:
    """Write a JSON object, whole or not at all.

    Raises:
        ValueError: a number is not finite; JSON has no word for it.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(data, separators=separators, indent=indent, allow_nan=False)
    write_atomically(path, f"{text}\n", durable=durable)


def append_line(path: Path, text: str) -> None:
    """Add a line to a file, which is made if need be.

    Raises:
        OSError: it cannot be written, or is no regular file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "ab") as file:
        _check_regular(file.fileno(), path)
        file.write(f"{text}\n".encode(errors="surrogateescape"))


LARGEST_JSON_BYTES = 64 << 20
"""No file that is read as one JSON object is larger; snapshot.json and plan.json are not read so."""


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Read a file; what is none is not read, for a FIFO would keep us waiting and a device never ends.

    Args:
        path: The file.
        most: How many bytes to read at most; None reads all of it.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read(-1 if most is None else most)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read, if it is a regular one.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_regular(file.fileno(), path)
    except OSError:
        file.close()
        raise
    return file


def _check_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None while there is none, or none that is whole.

    Raises:
        OSError: it cannot be read, or is no regular file, so nobody knows whether there is one.
    """
    try:
        data = json.loads(read_regular(path, LARGEST_JSON_BYTES))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


LARGEST_RECORD_BYTES = 1 << 20
"""More than any program has to say about one attempt."""
_DEEPEST, _LARGEST = 20, 1 << 64


def read_record(
    path: Path, shape: Mapping[str, type | UnionType], odd: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """Read a JSON object that other programs, and people, write; None while there is none that can be believed.

    Args:
        path: The file.
        shape: What kind of value a key has; of one that may be missing, None is a kind.
        odd: Where to say, by the file's name, what is wrong with what is there.

    Raises:
        OSError: it cannot be read, or is no regular file, so nobody knows whether there is one.
    """
    try:
        data = read_regular(path, LARGEST_RECORD_BYTES + 1)
        problem, said = _believed(data, shape)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        problem, said = "it is a directory", {}
    if problem and odd is not None:
        odd[path.name] = problem
    return None if problem else said


def _believed(data: bytes, shape: Mapping[str, type | UnionType]) -> tuple[str, dict[str, Any]]:
    """Return what is wrong with a record, and what it says."""
    if len(data) > LARGEST_RECORD_BYTES:
        return f"it is larger than {LARGEST_RECORD_BYTES >> 20} MiB", {}
    try:
        said = json.loads(data)
        if not _is_plain(said, _DEEPEST):
            return "it goes too deep, or has a number that nobody means", {}
        json.dumps(said, ensure_ascii=False).encode()  # half a character cannot be shown
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}", {}
    if not isinstance(said, dict):
        return "it is no JSON object", {}
    for key, kind in shape.items():
        value = said.get(key)
        if isinstance(value, bool) or not isinstance(value, kind):
            return f"its {key} is {shortened(value)}", {}
    return "", said


def _is_plain(value: object, depth: int) -> bool:
    """Say whether a value stays within what is written down anew and read back without a second thought."""
    if isinstance(value, dict | list):
        return depth > 0 and all(
            _is_plain(v, depth - 1) for v in (value.values() if isinstance(value, dict) else value)
        )
    return not isinstance(value, int | float) or (math.isfinite(value) and abs(value) <= _LARGEST)


def real(path: Path) -> Path:
    """Follow links as far as they lead; unlike Path.resolve, a circle of links raises nothing."""
    return Path(os.path.realpath(path))


def is_copy(folder: Path, home: object, mark: str) -> bool:
    """Say whether a folder that was at home elsewhere is a copy, not moved: what is there still has the mark.

    Where that cannot be looked at, it counts as there.
    """
    if not isinstance(home, str) or is_gone(Path(home, mark)):
        return False
    try:
        return not os.path.samefile(home, folder)  # noqa: PTH121 - two of them
    except OSError:
        return True


def is_gone(path: Path) -> bool:
    """Say whether there certainly is nothing: what we may not look at, or cannot, may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def sync_directory(folder: Path) -> None:
    """Make a folder's entries survive a power cut: what was created, linked, renamed or removed there."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file's contents survive a power cut, whoever wrote them."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make everything that was written to a folder's file system survive a power cut: many files at once.

    Raises:
        OSError: some of it could not be written.
    """
    import ctypes  # noqa: PLC0415 - Python has no syncfs, and only planning needs it

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it, and make each of them survive a power cut."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_directory(folder.parent)
