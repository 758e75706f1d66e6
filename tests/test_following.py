import json
import logging
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import following as following_
from autoexp import lease
from autoexp.engine import Engine
from autoexp.following import Following
from autoexp.journal import to_transition
from autoexp.model import Transition
from autoexp.registry import Key
from autoexp.rows import rows
from autoexp.status import as_json
from autoexp.view import View, view
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

STAGES = """
one: {command: 'true'}
two: {needs: one, command: 'exit 3'}
each: {each: {job: one}, command: 'true'}
idle: {start: {file_exists: {path: never}}, command: 'true'}
"""


TRAINING = """
train: {backend: megatron, params: {program: train.py}, args: {train-iters: 40}}
after: {start: {checkpoint_reached: {stage: train, iteration: 9}}, command: 'true'}
"""


@pytest.fixture
def planned(room: "Room") -> "Room":
    """A study that nobody watched yet."""
    room.plan(STAGES)
    room.touch("idle", "hold")
    return room


def watched(room: "Room", check: Callable[[], None] = lambda: None) -> None:
    """Watch until everything is over or held, with something to do after each wake."""
    var, log = lease.var_of(room.root), logging.getLogger("test")
    with watching(room.root, var, None, log, lambda _: None) as engine:
        done = until_done()

        def looked(engine: Engine) -> bool:
            check()
            return done(engine)

        engine.run(looked)
        room.wait_until(lambda: not room.processes())


def shown(seen: View) -> list[dict[str, object]]:
    return [as_json(row) for ledger in seen.ledgers() for row in rows(seen, ledger.study.name)]


def test_it_says_at_any_time_what_a_fresh_reading_says(planned: "Room") -> None:
    following = Following(planned.root)
    looks = []

    def check() -> None:
        looks.append(following.look())
        assert shown(following.view) == shown(view(planned.root))

    watched(planned, check)
    check()

    assert looks[0] is None, "there was no journal to read on in"
    assert all(look is not None for look in looks[2:]), "the rest was read on"
    named = set().union(*(look for look in looks if look))
    assert named >= {Key("demo", name) for name in ("two", "each-one")}
    assert following.look() == set()


def test_what_was_read_is_not_read_again(planned: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    watched(planned)
    following = Following(planned.root)
    taken: list[dict[str, Any]] = []

    def noting(record: dict[str, Any]) -> Transition:
        taken.append(record)
        return to_transition(record)

    monkeypatch.setattr(following_, "to_transition", noting)

    assert following.look() == set()
    planned.touch("idle", "release")
    planned.run("watch", planned.root, "--once")
    changed = following.look()

    assert changed == {Key("demo", "idle")}
    assert [(record["job"], record["to"]) for record in taken] == [("idle", "waiting")]


def test_a_study_planned_anew_is_read_anew(planned: "Room") -> None:
    watched(planned)
    following = Following(planned.root)

    planned.plan("other: {command: 'true'}\n")

    assert following.look() is None
    assert "other" in following.view.registry.ledgers["demo"].jobs


def test_another_journal_is_read_anew(planned: "Room") -> None:
    watched(planned)
    following = Following(planned.root)

    shutil.rmtree(planned.var / "journal")

    assert following.look() is None
    assert shown(following.view) == shown(view(planned.root))


def test_a_watcher_that_dies_is_noticed(planned: "Room") -> None:
    watcher = planned.watch()
    planned.wait_for({"two": "failed"})
    following = Following(planned.root)
    assert following.view.watcher is not None

    watcher.kill()
    watcher.wait()

    following.look()
    assert following.view.watcher is None


def test_progress_is_told_of_the_job_and_of_those_that_ask_about_it(room: "Room") -> None:
    room.write("train.py", "import time; time.sleep(60)")
    room.plan(TRAINING)
    room.watch()
    room.wait_for({"train": "running"})
    following = Following(room.root)
    path = room.var / "progress.json"
    said = json.loads(path.read_text())

    path.write_text(json.dumps({**said, "jobs": {"demo/train": {"iteration": 7}, "gone/job": {"iteration": 1}}}))

    assert following.look() == {Key("demo", "train"), Key("demo", "after")}
    assert following.view.iterations("demo") == {"train": 7}
