import json
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from autoexp import outlook
from autoexp.errors import AutoexpError
from autoexp.page import live
from autoexp.page.live import Live, course

if TYPE_CHECKING:
    from tests.conftest import Room

STAGES = """
one: {sweep: {params: {n: [1, 2]}}, start: {file_exists: {path: go}}, command: 'true'}
bad: {command: 'exit 3'}
"""


@pytest.fixture
def planned(room: "Room") -> "Room":
    """A study that nobody watched yet."""
    room.plan(STAGES)
    return room


def names(told: dict[str, Any]) -> set[str]:
    return {row["job"] for row in told["rows"]}


def test_at_first_everything_is_new_and_says_what_status_says(planned: "Room") -> None:
    shown = Live(planned.root, may_mark=True)
    shown.look()

    told = shown.since(0)
    status = planned.inside("status", planned.root, "--json")

    assert (told["watcher"], told["error"], told["may_mark"]) == (None, "", True)
    assert told["studies"][0]["stages"] == ["one", "bad"]
    rows = {row["job"]: row for row in told["rows"]}
    for job in status["studies"][0]["jobs"]:
        assert job.items() <= rows[job["job"]].items()


def test_whoever_asks_for_a_job_first_has_all_lines_later(planned: "Room") -> None:
    shown = Live(planned.root)

    assert shown.chosen("stage == 'bad'") == [["demo", "bad"]]
    shown.look()

    assert names(shown.since(0)) == {"one-n1", "one-n2", "bad"}


def test_when_a_study_will_be_done_is_reckoned_from_its_pace(planned: "Room") -> None:
    shown = Live(planned.root)
    shown.look()
    assert shown.since(0)["studies"][0]["done_at"] is None

    with patch.object(outlook, "done_at", lambda rows, _: 1000.4 + len(rows)):
        shown = Live(planned.root)
        shown.look()

    assert shown.since(0)["studies"][0]["done_at"] == 1003


def test_only_what_has_changed_is_new(planned: "Room") -> None:
    shown = Live(planned.root)
    version = shown.look()
    assert shown.since(version)["rows"] == []
    assert shown.look() == version

    planned.watch()
    planned.wait_for({"bad": "failed"})
    later = shown.look()

    told = shown.since(version)
    assert later > version
    assert "bad" in names(told)
    assert next(row for row in told["rows"] if row["job"] == "bad")["ending"] == "crashed"
    assert told["watcher"]["pid"] == planned.watchers[0].pid
    planned.touch("one-n1", "hold")
    planned.wait_for({"one-n1": "held"})
    shown.look()
    assert names(shown.since(later)) == {"one-n1"}


def test_what_a_new_plan_drops_is_gone(planned: "Room") -> None:
    shown = Live(planned.root)
    version = shown.look()

    planned.plan(STAGES.replace("[1, 2]", "[1]"))
    shown.look()

    assert shown.since(version)["gone"] == [["demo", "one-n2"]]


def test_a_reason_that_changes_by_itself_is_asked_again(planned: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASKED_S", 0.0)
    monkeypatch.setattr(live, "SHARE", 0)
    shown = Live(planned.root)
    version = shown.look()

    (planned.job_dir("one-n2") / "go").touch()
    shown.look()

    assert names(shown.since(version)) == {"one-n2"}


def test_a_root_that_cannot_be_read_says_why_until_it_can_be(planned: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "AGAIN_S", 0.0)
    planned.run("watch", planned.root, "--once")
    shown = Live(planned.root)
    shown.look()
    (path,) = (planned.var / "journal").glob("*.jsonl")
    whole = path.read_bytes()

    path.write_bytes(whole[:-40] + b"x" + whole[-39:])
    (planned.var / "snapshot.json").unlink(missing_ok=True)
    version = shown.look()
    assert "the journal is damaged here" in shown.since(version)["error"]

    never = Live(planned.root)
    never.look()
    assert never.since(0).keys() == shown.since(0).keys()
    path.write_bytes(whole)
    shown.look()
    assert shown.since(0)["error"] == ""
    assert len(shown.since(0)["rows"]) == 3


def test_jobs_are_chosen_as_where_does(planned: "Room") -> None:
    shown = Live(planned.root)

    assert shown.chosen("n > 1") == [["demo", "one-n2"]]
    with pytest.raises(AutoexpError, match="no job has a 'm'"):
        shown.chosen("m > 1")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({}, {}),
        ({"iteration": 10, "train_iters": 40}, {"share": 0.25}),
        ({"iteration": 10, "train_iters": 40, "seconds_per_iteration": 2.0}, {"share": 0.25, "left_s": 60}),
        ({"iteration": 50, "train_iters": 40, "seconds_per_iteration": 2.0}, {"share": 1.0}),
        ({"iteration": 1, "train_iters": 0}, {}),
        ({"iteration": "1", "train_iters": 4}, {}),
    ],
)
def test_how_much_is_done_is_only_said_where_it_is_known(training: dict[str, Any], said: dict[str, Any]) -> None:
    assert course(training) == said


def test_what_is_told_is_json(planned: "Room") -> None:
    shown = Live(planned.root)
    shown.look()

    json.dumps(shown.since(0), allow_nan=False)
