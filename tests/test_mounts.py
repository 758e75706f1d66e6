from pathlib import Path

import pytest

from autoexp import mounts


def test_the_kind_of_a_file_system_is_the_kernel_s_word(tmp_path: Path) -> None:
    kinds = {line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}

    assert mounts.kind_of(Path("/proc/self")) == "proc"
    assert mounts.kind_of(tmp_path) in kinds


@pytest.mark.parametrize(
    ("kind", "is_watched"),
    [("ext4", True), ("tmpfs", True), ("overlay", True), ("lustre", False), ("fuse.bindfs", False), ("nfs4", False),
     ("some-new-one", False)],
)  # fmt: skip
def test_only_what_one_host_alone_writes_to_is_left_to_inotify(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    is_watched: bool,  # noqa: FBT001 - a parameter
) -> None:
    monkeypatch.setattr(mounts, "kind_of", lambda _: kind)

    assert mounts.is_watched(tmp_path) is is_watched


def test_what_nobody_can_ask_about_is_polled(tmp_path: Path) -> None:
    assert not mounts.is_watched(tmp_path / "gone")
