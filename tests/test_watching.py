import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from autoexp import lease
from autoexp.engine import Engine
from autoexp.errors import AlreadyWatched, AutoexpError
from autoexp.watching import never, once, prepare_var, until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

WAITING = "one: {start: {file_exists: {path: never}}, command: 'true'}\n"


@contextmanager
def opened(room: "Room", observer: str | None = None, log: Any = None) -> Iterator[Engine]:
    """Watch a room in this process."""
    logger = log or structlog.get_logger()
    with watching(room.root, lease.var_of(room.root), observer, logger, lambda _: None) as engine:
        yield engine


def is_held(room: "Room") -> bool:
    return bool(json.loads((room.root / ".autoexp" / "lease.json").read_bytes())["held"])


# The runtime folder


@pytest.mark.parametrize(("name", "why"), [("file", "it is a file"), ("nothing", "there is no such folder")])
def test_a_root_that_is_no_folder_cannot_be_watched(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(AutoexpError) as told:
        prepare_var(tmp_path / name, tmp_path / "var")

    assert (told.value.what, told.value.why) == (f"{tmp_path / name} cannot be watched", why)
    assert not (tmp_path / "var").exists()


def test_the_runtime_folder_is_its_owners_alone_even_if_it_was_made_before(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o755)

    prepare_var(tmp_path, tmp_path / "var")

    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700


def test_a_runtime_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "var").touch()

    with pytest.raises(AutoexpError, match=r"var cannot be used for the runtime state\n.*\n  fix: give another folder"):
        prepare_var(tmp_path, tmp_path / "var")


# Beginning and ending


def test_the_lease_is_held_as_long_as_it_is_watched(room: "Room") -> None:
    room.plan(WAITING)

    with opened(room) as engine:
        assert is_held(room)
        assert engine.journal.epoch == 1
        assert json.loads((room.root / ".autoexp" / "lease.json").read_bytes())["epoch"] == 1

    assert not is_held(room)


def test_the_lease_is_given_back_when_watching_cannot_begin(room: "Room") -> None:
    room.plan(WAITING)
    with opened(room):
        pass
    journal = room.var / "journal" / "1.jsonl"
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())

    with pytest.raises(AutoexpError, match=r"1\.jsonl:1: "), opened(room):
        pass

    assert not is_held(room)


def test_who_begins_a_journal_at_the_same_moment_as_another_gives_way(
    room: "Room", monkeypatch: pytest.MonkeyPatch
) -> None:
    room.plan(WAITING)

    def lose(*_: object) -> None:
        raise FileExistsError

    monkeypatch.setattr("autoexp.watching.open_journal", lose)

    with pytest.raises(AlreadyWatched, match="another watcher began at the same moment"), opened(room):
        pass
    assert not is_held(room)


def test_a_journal_that_cannot_be_begun_says_why(room: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    room.plan(WAITING)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autoexp.watching.open_journal", fail)

    with pytest.raises(AutoexpError, match=r"the journal cannot be begun\n  why: .*No space left"), opened(room):
        pass
    assert not is_held(room)


class Told:
    """What the watcher would have logged."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.warnings.append((event, fields))


def test_a_torn_tail_is_cut_and_told(room: "Room") -> None:
    room.plan(WAITING)
    with opened(room):
        pass
    journal, told = room.var / "journal" / "1.jsonl", Told()
    whole, torn = journal.read_bytes(), b'{"v":1,"seq":'
    journal.write_bytes(whole + torn)

    with opened(room, log=told):
        pass

    assert journal.read_bytes() == whole
    assert told.warnings == [("torn_tail_cut", {"path": str(journal), "bytes": len(torn)})]


def test_a_study_that_cannot_be_read_is_told_and_does_not_keep_the_others_from_being_watched(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.plan("one: {command: 'true'}\n", study="torn")
    (room.root / "torn" / "plan.json").write_text("{}")

    with opened(room) as engine:
        assert list(engine.registry.ledgers) == ["demo"]
        assert list(engine.progress.problems) == ["torn"]


def test_the_first_study_s_machine_says_how_to_watch_unless_the_command_line_does(room: "Room") -> None:
    room.machine(observer="poll", sweep="7s")
    room.plan(WAITING)

    with opened(room) as engine:
        assert (engine.observer.name, engine.sweep_s) == ("poll", 7.0)
    with opened(room, "inotify") as engine:
        assert engine.observer.name == "inotify"


# When to stop


def test_until_done_looks_at_one_study_or_at_all(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.plan(WAITING, study="other")

    with opened(room) as engine:
        engine.run(until_done("demo"))
        room.wait_until(lambda: not room.processes())
        assert until_done("demo")(engine)
        assert not until_done("other")(engine)
        assert not until_done()(engine)
        assert (once(engine), never(engine)) == (True, False)
    assert room.states() == {"one": "succeeded"}
