"""What a directory lies on, and whether the kernel tells us of what happens there."""

import os
import re
from pathlib import Path

WATCHED = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "overlay", "zfs", "jfs", "reiserfs", "bcachefs"}
)
"""File systems that one host alone writes to: its inotify sees it all. Lustre, NFS, FUSE and the like are others'."""


def is_watched(place: Path) -> bool:
    """Say whether inotify sees all that happens at a path; what we do not know is better polled."""
    try:
        return kind_of(place) in WATCHED
    except OSError:
        return False


def kind_of(place: Path) -> str:
    """Name the type of the file system that a path lies on, as /proc/self/mountinfo does (see proc(5))."""
    device = os.stat(place).st_dev  # noqa: PTH116 - as the kernel numbers it
    number, kinds = f"{os.major(device)}:{os.minor(device)}", dict[str, str]()
    by_mount: list[tuple[int, str]] = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        kinds[fields[2]] = after.split()[0]
        if place.resolve().is_relative_to(mount):
            by_mount.append((len(mount), after.split()[0]))
    return kinds.get(number) or max(by_mount, default=(0, "unknown"))[1]
