import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.files import (
    append_line,
    draft_of,
    is_copy,
    is_gone,
    read_json,
    sync_directory,
    write_atomically,
    write_json,
    write_new,
    write_new_whole,
)

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
OBJECTS = st.dictionaries(st.text(max_size=4), LEAVES | st.lists(LEAVES, max_size=3), max_size=4)


@pytest.mark.parametrize("durable", [pytest.param(True, id="durable"), pytest.param(False, id="quick")])
def test_a_written_file_holds_the_text_and_leaves_no_draft(tmp_path: Path, *, durable: bool) -> None:
    write_atomically(tmp_path / "a", "old\n", durable=durable)
    write_atomically(tmp_path / "a", "new\n", durable=durable)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new\n"}


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old\n")

    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a", "\ud800")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old\n"}


def test_a_reader_beside_a_writer_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    texts = [letter * size for letter, size in zip("abcd", range(1, 80_000, 20_000), strict=True)]
    script = "import sys; from pathlib import Path; from autoexp.files import write_atomically\nfor _ in range(20):\n"
    script += f"  for t in {[(text[0], len(text)) for text in texts]!r}:\n"
    script += "    write_atomically(Path(sys.argv[1]), t[0] * t[1], durable=False)\n"
    path.write_text(texts[0])

    with subprocess.Popen([sys.executable, "-c", script, path]) as writer:
        seen = set()
        while writer.poll() is None:
            seen.add(path.read_text())

    assert writer.returncode == 0
    assert seen <= set(texts)


@given(OBJECTS)
def test_an_object_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "object.json"
    write_json(path, data, durable=False)

    assert read_json(path) == data


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="a missing file"),
        pytest.param(b"", id="an empty file"),
        pytest.param(b'{"a":1', id="a torn file"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
    ],
)
def test_what_is_no_whole_object_reads_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)

    assert read_json(tmp_path / "a") is None


def test_a_directory_reads_as_none(tmp_path: Path) -> None:
    assert read_json(tmp_path) is None


def test_what_cannot_be_read_is_not_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")

    with pytest.raises(OSError, match="Too many levels"):
        read_json(tmp_path / "a")


def test_json_is_one_line_that_other_programs_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"ä": [1, {"b": None}]})

    text = (tmp_path / "a").read_text()
    assert json.loads(text) == {"ä": [1, {"b": None}]}
    assert text.count("\n") == 1


def test_the_mode_of_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "")
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_only_a_directory_can_be_synced_as_one(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    (tmp_path / "a").touch()

    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "a")


def test_a_draft_left_by_a_killed_process_of_the_same_id_is_no_obstacle(tmp_path: Path) -> None:
    draft_of(tmp_path / "x").write_bytes(b"half")

    write_atomically(tmp_path / "x", b"whole")

    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_processes_of_one_id_on_two_nodes_write_two_drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = os.uname()
    drafts = []
    for name in ("gpu001.cluster", "gpu002.cluster"):
        there = os.uname_result((node.sysname, name, *node[2:]))
        monkeypatch.setattr(os, "uname", lambda there=there: there)
        drafts.append(draft_of(tmp_path / "x").name)

    assert drafts == [f".x.gpu001-{os.getpid()}.tmp", f".x.gpu002-{os.getpid()}.tmp"]


def test_a_new_file_never_overwrites_an_old_one(tmp_path: Path) -> None:
    write_new(tmp_path / "x", b"first")

    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")

    assert (tmp_path / "x").read_bytes() == b"first"


def test_a_new_file_is_whole_as_soon_as_it_is_there_and_never_overwrites_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found at write:.../run.ablation.1 after cancel_requested: a claim that said nothing withdrew nothing."""
    path = tmp_path / "claim"

    seen, link = [], Path.hardlink_to

    def watched(made: Path, draft: Path) -> None:
        seen.append((made.exists(), draft.read_bytes()))
        link(made, draft)

    monkeypatch.setattr(Path, "hardlink_to", watched)
    write_new_whole(path, b"mine")
    assert seen == [(False, b"mine")]

    with pytest.raises(FileExistsError):
        write_new_whole(path, b"yours")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("claim", b"mine")]


def test_a_new_file_is_written_in_place_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)

    write_new_whole(tmp_path / "claim", b"mine")

    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("claim", b"mine")]
    with pytest.raises(FileExistsError):
        write_new_whole(tmp_path / "claim", b"yours")


def test_numbers_that_json_has_no_word_for_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x", {"loss": float("nan")}, indent=1)

    assert not list(tmp_path.iterdir())


def test_what_cannot_be_looked_at_may_be_there_and_makes_a_copy_of_what_was_copied(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    assert is_copy(tmp_path, str(loop), "mark")
    assert not is_copy(tmp_path, str(tmp_path / "gone"), "mark")
    assert not is_gone(loop)


def test_a_line_is_added_to_a_file_that_is_made_if_need_be_and_to_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "notes.txt"
    append_line(path, "one")
    append_line(path, "two")
    os.mkfifo(tmp_path / "fifo")

    assert path.read_text() == "one\ntwo\n"
    with pytest.raises(OSError, match=r"no regular file|No such device"):
        append_line(tmp_path / "fifo", "three")
