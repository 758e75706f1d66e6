import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import markers
from autoexp.markers import Marker
from autoexp.model import Verb

AT = 1_795_210_801.25


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "markers"
    made.mkdir()
    return made


def one(folder: Path) -> Marker:
    (found,) = markers.scan(folder)
    return found


def test_a_folder_that_is_not_there_holds_no_markers(tmp_path: Path) -> None:
    assert markers.scan(tmp_path / "none") == []


@pytest.mark.parametrize("verb", list(Verb), ids=str)
def test_a_file_named_by_a_verb_asks_it(folder: Path, verb: Verb) -> None:
    (folder / verb).touch()

    found = one(folder)

    assert (found.verb, found.reason, found.problem) == (verb, "", "")


def test_a_folder_that_is_a_symlink_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """What lies elsewhere would be moved about."""
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    (elsewhere / "id_rsa").touch()

    with pytest.raises(OSError, match="it is a symlink"):
        markers.scan(folder)
    assert [path.name for path in elsewhere.iterdir()] == ["id_rsa"]


def test_answers_are_not_written_elsewhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "taken").symlink_to(tmp_path / "elsewhere")
    (folder / "hold").touch()

    with pytest.raises(OSError, match="it is a symlink"):
        markers.answer(one(folder), markers.TAKEN, {}, 0.0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_a_marker_holds_is_its_reason(folder: Path) -> None:
    (folder / "hold").write_bytes(b"  the node\nlooks \xff odd\n")

    assert one(folder).reason == "the node\nlooks � odd"


@pytest.mark.parametrize("size", [pytest.param(4096, id="the largest"), pytest.param(4097, id="one byte more")])
def test_a_reason_has_a_largest_size(folder: Path, size: int) -> None:
    (folder / "hold").write_bytes(b"x" * size)

    assert bool(one(folder).problem) is (size > markers.LARGEST_BYTES)


@pytest.mark.parametrize("name", ["HOLD", "hold.txt", "hold-", " hold", "stop", "taken.json"])
def test_a_name_that_is_no_verb_is_a_problem_that_lists_the_verbs(folder: Path, name: str) -> None:
    (folder / name).touch()

    found = one(folder)

    assert found.verb is None
    assert found.problem == f"{name!r} is no verb; there are {', '.join(Verb)}"


@given(st.text(st.sampled_from(string.ascii_letters + ".~_- tmp"), min_size=1, max_size=12))
def test_every_name_is_a_draft_or_a_verb_or_a_problem(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("names")
    if name not in (".", ".."):
        (folder / name).touch()

    found = markers.scan(folder)

    if name.startswith(".") or name.endswith(("~", ".tmp")) or name in (markers.TAKEN, markers.REFUSED):
        assert found == []
    else:
        assert [bool(marker.problem) for marker in found] == [name not in set(Verb)]


def test_the_answers_are_no_markers(folder: Path) -> None:
    for verdict in ("taken", "refused"):
        (folder / verdict).mkdir()

    assert markers.scan(folder) == []


def test_a_marker_is_known_by_its_inode_and_time_of_change(folder: Path) -> None:
    (folder / "hold").touch()
    first = one(folder)
    (folder / "hold").unlink()
    (folder / ".keeps the inode from being used again").touch()
    (folder / "hold").touch()

    assert one(folder).identity != first.identity


# Answering


@pytest.mark.parametrize("verdict", ["taken", "refused"])
def test_an_answer_is_a_json_file_in_place_of_the_marker(folder: Path, verdict: str) -> None:
    (folder / "hold").write_text("odd")
    marker = replace(one(folder), ctime_ns=round(AT * 1e9) - 10**9)

    markers.answer(marker, verdict, {"verb": "hold", "from": "waiting"}, AT)

    assert [path.name for path in folder.iterdir()] == [verdict]
    (answer,) = (folder / verdict).iterdir()
    assert answer.name == "20261120T214000.250000Z-hold.json"
    assert json.loads(answer.read_text()) == {
        "at": "2026-11-20T21:40:01.250000Z",
        "marker": "hold",
        "inode": marker.inode,
        "ctime_ns": marker.ctime_ns,
        "said": "odd",
        "verb": "hold",
        "from": "waiting",
    }


def test_markers_dropped_at_the_same_moment_have_an_answer_each(folder: Path) -> None:
    for inode in range(3):
        (folder / "hold").touch()
        markers.answer(replace(one(folder), inode=inode, ctime_ns=7), "taken", {}, AT)
        (folder / "hold").unlink()

    names = sorted(path.name.split("Z-")[1] for path in (folder / "taken").iterdir())
    assert names == ["hold.2.json", "hold.3.json", "hold.json"]


def test_what_cannot_be_a_marker_is_kept_beside_its_answer(folder: Path) -> None:
    (folder / "my notes").write_text("dear")

    markers.answer(one(folder), "refused", {}, AT)

    kept = {path.name.split("Z-")[1]: path.read_text() for path in (folder / "refused").iterdir()}
    assert kept["my_notes"] == "dear"
    assert json.loads(kept["my_notes.json"])["marker"] == "my notes"


def test_a_long_name_does_not_make_an_answer_that_no_file_system_takes(folder: Path) -> None:
    (folder / ("x" * 255)).touch()

    markers.answer(one(folder), "refused", {}, AT)

    assert markers.scan(folder) == []


@pytest.mark.parametrize("name", ["hold", "my notes"])
def test_a_marker_whose_watcher_was_killed_after_the_answer_is_only_taken_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Found at unlink:.../markers/retry and at rename:.../refused/...-dance: there were two answers."""
    (folder / name).write_text("dear")
    with monkeypatch.context() as killed:
        killed.setattr(markers, "_take_away", lambda *_: None)
        markers.answer(one(folder), "refused", {}, AT)

    assert markers.finish(one(folder))

    assert markers.scan(folder) == []
    kept = {path.suffix: path.read_text() for path in (folder / "refused").iterdir()}
    assert json.loads(kept.pop(".json"))["marker"] == name
    assert list(kept.values()) == ([] if name == "hold" else ["dear"])


def test_a_marker_that_was_not_answered_is_not_finished(folder: Path) -> None:
    for _ in range(2):
        (folder / "hold").touch()
        (folder / ".keeps the inode from being used again").touch()
        (found,) = markers.scan(folder)

        assert not markers.finish(found)

        assert (folder / "hold").exists()
        markers.answer(found, "taken", {}, AT)


def test_a_marker_that_is_gone_by_now_is_answered_all_the_same(folder: Path) -> None:
    for name in ("hold", "odd"):
        (folder / name).touch()
    found = markers.scan(folder)
    for name in ("hold", "odd"):
        (folder / name).unlink()

    for marker in found:
        markers.answer(marker, "refused", {}, AT)

    assert len(list((folder / "refused").glob("*.json"))) == 2


def test_a_marker_dropped_in_the_place_of_one_that_is_being_answered_stays_to_be_obeyed(folder: Path) -> None:
    markers.drop(folder, Verb.RESTART)
    first = one(folder)

    markers.drop(folder, Verb.RESTART)
    markers.answer(first, "taken", {}, AT)

    assert one(folder).verb is Verb.RESTART


def test_a_marker_that_was_written_to_while_it_was_obeyed_is_not_obeyed_twice(folder: Path) -> None:
    """`echo why > restart` makes the file first, and then writes to it."""
    (folder / "restart").touch()
    first = one(folder)

    (folder / "restart").write_text("why")
    markers.answer(first, "taken", {}, AT)

    assert markers.scan(folder) == []


# Dropping


def test_a_dropped_marker_is_there_with_its_reason_at_once(tmp_path: Path) -> None:
    path = markers.drop(tmp_path / "new" / "markers", Verb.HOLD, "odd")

    assert path.read_text() == "odd"
    assert list(path.parent.iterdir()) == [path]
