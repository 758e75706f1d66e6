import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from autoexp import lease
from autoexp.engine import Engine
from autoexp.errors import AlreadyWatched, AutoexpError
from autoexp.fold import fold
from autoexp.journal import to_transition
from autoexp.model import Job
from autoexp.recall import SNAPSHOT
from autoexp.registry import Key, Ledger, Registry
from autoexp.view import view
from autoexp.watch import EVERYTHING
from autoexp.watching import _recall as recall_and_mend
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


# Until it is done


def test_it_is_told_once_that_the_rest_waits_for_what_a_person_holds(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\nthree: {needs: two, command: 'true'}\n")
    (room.root / "demo" / "jobs" / "one" / "markers" / "hold").touch()
    told: list[str] = []
    done = until_done(tell=told.append)

    with opened(room) as engine:
        for _ in range(2):
            engine.wake({EVERYTHING})
            assert not done(engine)

    said = f"only a person can move it: 1 held, 2 wait for it: autoexp mark demo/one release --root {room.root}"
    assert told == [said]


def test_nothing_is_told_while_something_else_may_move(room: "Room") -> None:
    room.plan(f"held: {{command: 'true'}}\n{WAITING}two: {{needs: held, command: 'true'}}\n")
    (room.root / "demo" / "jobs" / "held" / "markers" / "hold").touch()
    told: list[str] = []

    with opened(room) as engine:
        engine.wake({EVERYTHING})
        assert not until_done(tell=told.append)(engine)

    assert (told, room.states()["held"]) == ([], "held")


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

    def lose(*_: object, **__: object) -> None:
        raise FileExistsError

    monkeypatch.setattr("autoexp.watching.open_journal", lose)

    with pytest.raises(AlreadyWatched, match="another watcher began at the same moment"), opened(room):
        pass
    assert not is_held(room)


def test_a_journal_that_cannot_be_begun_says_why(room: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    room.plan(WAITING)

    def fail(*_: object, **__: object) -> None:
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


@pytest.fixture
def finished(room: "Room") -> "Room":
    """A study of a job that needed two attempts, and one that appeared for it."""
    stages = "one: {retry: {backoff: 0.05s}, command: 'test $AUTOEXP_ATTEMPT = 2'}\n"
    room.plan(f"{stages}eval: {{each: {{job: one}}, command: 'true'}}\n")
    with opened(room) as engine:
        engine.run(until_done())
        room.wait_until(lambda: not room.processes())
    return room


def jobs_by(ledger: Ledger, records: list[dict[str, Any]]) -> dict[Key, Job]:
    """Where the jobs stand by these records, folded one by one."""
    specs = {spec.id: spec for spec in (*ledger.study.plan.jobs, *ledger.appeared)}
    jobs: dict[Key, Job] = {}
    for record in records:
        move = to_transition(record)
        key = Key(move.study, move.job)
        jobs[key] = fold(jobs.get(key, Job(spec=ledger.with_children(specs[move.job]))), move)
    return jobs


@pytest.mark.parametrize("snapshot", ["none", "newest", "damaged"])
def test_a_watcher_starts_on_its_journal_cut_at_any_byte(finished: "Room", snapshot: str) -> None:
    """A torn tail is cut and told; every whole line counts, whatever snapshot.json says."""
    path, records = finished.var / "journal" / "1.jsonl", finished.journal()
    saved, whole = finished.var / SNAPSHOT, path.read_bytes()
    said = {"none": None, "newest": saved.read_bytes(), "damaged": b"{}"}[snapshot]
    ledger = Registry(finished.root).load(finished.root / "demo")
    expected = [jobs_by(ledger, records[:count]) for count in range(len(records) + 1)]
    for length in range(len(whole), -1, -1):
        path.write_bytes(whole[:length])
        saved.unlink(missing_ok=True)
        if said is not None:
            saved.write_bytes(said)
        told, fresh = Told(), Registry(finished.root, {"demo": Ledger(ledger.study, appeared=ledger.appeared)})

        fresh.replay(recall_and_mend(finished.var, told).standings)

        counted = whole[:length].rfind(b"\n") + 1
        moves = max(whole[:length].count(b"\n") - 1, 0)
        assert dict(fresh.all_jobs()) == expected[moves]
        assert path.read_bytes() == whole[:counted]
        torn = [fields["bytes"] for event, fields in told.warnings if event == "torn_tail_cut"]
        assert torn == ([length - counted] if length > counted else [])
        aside = [event for event, _ in told.warnings if event == "snapshot_left_aside"]
        assert bool(aside) is (snapshot == "damaged" or (snapshot == "newest" and length < len(whole)))


def test_with_and_without_its_snapshot_a_watcher_knows_the_same_jobs(finished: "Room") -> None:
    with opened(finished) as engine:
        with_it = dict(engine.registry.all_jobs())
        assert engine.upkeep.saved is not None
    (finished.var / SNAPSHOT).unlink()
    with opened(finished) as engine:
        without = dict(engine.registry.all_jobs())
        assert engine.upkeep.saved is None
        obeyed = engine.mailroom.obeyed

    assert with_it == without
    assert len(without) == 2
    with opened(finished) as engine:
        assert engine.mailroom.obeyed == obeyed


def test_a_marker_obeyed_long_ago_is_not_obeyed_again_with_a_snapshot(room: "Room") -> None:
    room.plan(WAITING)
    marker = room.touch("one", "hold")
    kept = marker.with_name(".kept")
    kept.hardlink_to(marker)
    status = marker.stat()
    with opened(room) as engine:
        engine.run(once)
        assert (("demo", "one"), status.st_ino) in {(who, inode) for who, inode, _ in engine.mailroom.obeyed}

    with opened(room) as engine:
        assert engine.upkeep.saved is not None
        assert (("demo", "one"), status.st_ino) in {(who, inode) for who, inode, _ in engine.mailroom.obeyed}


def test_a_study_that_is_away_is_found_again_after_any_number_of_restarts(finished: "Room") -> None:
    away = finished.home / "away"
    with opened(finished) as engine:
        before = dict(engine.registry.all_jobs())
    (finished.root / "demo").rename(away)
    for _ in range(2):
        with opened(finished) as engine:
            assert dict(engine.registry.all_jobs()) == {}
            engine.run(once)

    away.rename(finished.root / "demo")

    with opened(finished) as engine:
        assert engine.upkeep.saved is not None
        assert dict(engine.registry.all_jobs()) == before


def test_a_watchers_older_files_are_sealed_while_it_watches(finished: "Room") -> None:
    records = finished.journal()
    with opened(finished) as engine:
        engine.run(lambda engine: engine.upkeep.due_in_s(0.0) == math.inf)

    assert sorted(path.name for path in (finished.var / "journal").iterdir()) == ["1.jsonl.gz", "2.jsonl"]
    assert finished.journal() == records
    assert view(finished.root).problems == {}


def test_a_year_of_restarts_leaves_var_small(finished: "Room") -> None:
    """A start without a move leaves no file behind; watch.jsonl and watch.out are rotated by themselves."""
    files, moves = [], finished.journal()
    for _ in range(30):
        with opened(finished) as engine:
            engine.run(once)
        files.append(sorted(path.relative_to(finished.var) for path in finished.var.rglob("*")))

    assert len(files[-1]) == len(files[3])
    assert finished.journal() == moves


def test_what_upkeep_cannot_do_is_a_problem_that_people_see(finished: "Room") -> None:
    journal = finished.var / "journal" / "1.jsonl"
    with opened(finished) as engine:
        journal.write_bytes(journal.read_bytes().replace(b"demo", b"dome", 1))
        engine.run(once)
        assert "1.jsonl is not what its successor accepted" in engine.progress.problems["journal"]


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
