import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.journal import from_line, to_line
from autoexp.recall import SNAPSHOT, load, save

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

Settle = Callable[[], None]
STAGES = """
one: {retry: {backoff: 0.05s}, command: 'test $AUTOEXP_ATTEMPT = 2'}
eval: {each: {job: one}, command: 'true'}
bad: {command: 'exit 3'}
after: {needs: bad, command: 'true'}
held: {command: 'true'}
"""


@pytest.fixture
def done(here: "Room", settle: Settle) -> "Room":
    """A study that has come to all kinds of ends."""
    here.plan(STAGES)
    here.touch("held", "hold")
    settle()
    return here


def test_replay_says_what_status_says(done: "Room", say: "Say") -> None:
    told = json.loads(say("replay", done.root, "--json").out)

    assert told == json.loads(say("status", done.root, "--json").out)
    assert set(say("replay", done.root).out.splitlines()) == {
        "demo/one succeeded (attempt 2)",
        "demo/eval-one succeeded (attempt 1)",
        "demo/bad failed (attempt 1)",
        "demo/after skipped (attempt 0)",
        "demo/held held (attempt 0)",
    }


def test_replay_shows_any_moment(done: "Room", say: "Say") -> None:
    moves = [record for record in done.journal() if record["job"] == "one"]

    for record in moves:
        rows = json.loads(say("replay", done.root, "--at", record["at"], "--json").out)["studies"][0]["jobs"]
        last = [move for move in moves if move["at"] <= record["at"]][-1]
        assert next(row["state"] for row in rows if row["job"] == "one") == last["to"]

    before = say("replay", done.root, "--at", "2020-01-01").out
    assert before.strip() == "", "none of its jobs had been born"


def test_a_journal_that_adds_up_passes_the_check(done: "Room", say: "Say") -> None:
    told = json.loads(say("replay", done.root, "--check", "--json").out)

    count = len(done.journal())
    assert told == {"moves": count, "breaks": [], "differences": [], "snapshot": "agrees"}
    assert say("replay", done.root, "--check") == (
        0,
        f"{count} moves, 0 breaks, 0 decided otherwise by today's table\nsnapshot.json: agrees\n",
        "",
    )


def forge(path: Path, number: int, **changes: Any) -> None:
    """Change a line of a journal so that it still looks whole."""
    lines = path.read_bytes().splitlines(keepends=True)
    record = {**from_line(lines[number].rstrip()), **changes}
    del record["crc"]
    lines[number] = to_line(record)
    path.write_bytes(b"".join(lines))


def test_a_move_that_begins_where_its_job_was_not_is_a_break(done: "Room", say: "Say") -> None:
    path = done.var / "journal" / "1.jsonl"
    last = len(done.journal())
    forge(path, last, **{"from": "queued"})

    said = say("replay", done.root, "--check")
    told = json.loads(say("replay", done.root, "--check", "--json").out)

    assert said.status == 1
    assert [found["seq"] for found in told["breaks"]] == [last]
    assert "begins at queued, where it was" in said.out


def test_a_snapshot_that_says_something_else_than_the_journal_fails_the_check(done: "Room", say: "Say") -> None:
    mark, standings = load(done.var)
    standings.studies["demo"].jobs["bad"].state = "succeeded"
    save(done.var, mark, standings)

    said = say("replay", done.root, "--check")

    assert said.status == 1
    assert said.out.endswith(f"snapshot.json: differs from the first {mark.seq} moves; delete it\n")


def test_a_snapshot_that_does_not_count_is_told_and_is_no_error(done: "Room", say: "Say") -> None:
    snapshot = done.var / SNAPSHOT
    snapshot.write_text("{}")
    damaged = say("replay", done.root, "--check")
    snapshot.unlink()
    missing = say("replay", done.root, "--check")

    assert (damaged.status, missing.status) == (0, 0)
    assert damaged.out.endswith("snapshot.json: left aside: it has no checksum at its end\n")
    assert missing.out.endswith("snapshot.json: none\n")


def test_replay_reads_the_journal_whatever_the_snapshot_says(done: "Room", say: "Say") -> None:
    mark, standings = load(done.var)
    standings.studies["demo"].jobs["bad"].state = "succeeded"
    save(done.var, mark, standings)

    assert "demo/bad failed (attempt 1)" in say("replay", done.root).out


def test_a_move_that_today_s_table_decides_otherwise_is_told_and_is_no_error(done: "Room", say: "Say") -> None:
    number, ended = next((n, record) for n, record in enumerate(done.journal(), start=1) if record["to"] == "failed")
    forge(done.var / "journal" / "1.jsonl", number, to="cancelled")

    said = say("replay", done.root, "--check")

    assert said.status == 0
    assert f"  seq {ended['seq']}: demo/bad ended went to cancelled; today's table says failed" in said.out
