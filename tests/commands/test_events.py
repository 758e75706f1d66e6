import json
import re
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.commands.events import moment
from autoexp.errors import AutoexpError

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

Settle = Callable[[], None]
TWO = "one: {command: 'true'}\ntwo: {needs: one, command: 'exit 3'}\n"


@pytest.fixture
def done(here: "Room", settle: Settle) -> "Room":
    """A study that is over."""
    here.plan(TWO)
    settle()
    return here


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_the_journals_own_lines(done: "Room", say: "Say") -> None:
    assert records(say("events", done.root, "--json").out) == done.journal()
    assert [record["seq"] for record in done.journal()] == list(range(1, len(done.journal()) + 1))


def test_every_move_is_a_line_for_people(done: "Room", say: "Say") -> None:
    lines = say("events", done.root).out.splitlines()

    assert len(lines) == len(done.journal())
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
    assert re.fullmatch(f"{time}demo/one planned: waiting", lines[0])
    assert re.fullmatch(
        f"{time}demo/two ended: running -> failed ending=crashed reason=exit code 3 code=3 .*", lines[-1]
    )
    submitting = next(line for line in lines if "demo/two conditions_met" in line)
    assert submitting.endswith("waiting -> submitting reason=one is succeeded [submit two attempt 1]")


@pytest.mark.parametrize("name", ["demo/two", "experiments/demo/jobs/two"])
def test_one_job_s_moves_can_be_asked_for(done: "Room", say: "Say", name: str) -> None:
    told = records(say("events", done.root, "--json", "--job", name).out)

    assert told == [record for record in done.journal() if record["job"] == "two"]


def test_what_came_later_can_be_asked_for(done: "Room", say: "Say") -> None:
    middle = done.journal()[4]["at"]

    told = records(say("events", done.root, "--json", "--since", middle).out)

    assert told == [record for record in done.journal() if record["at"] >= middle]
    assert say("events", done.root, "--since", "2100-01-01").out == ""


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        pytest.param("2026-11-20T21:40", "2026-11-20T21:40:00.000000Z", id="UTC unless it says otherwise"),
        pytest.param("2026-11-20T21:40:01.5+02:00", "2026-11-20T19:40:01.500000Z", id="a zone"),
        pytest.param("2026-11-20T21:40Z", "2026-11-20T21:40:00.000000Z", id="as the journal spells it"),
        pytest.param("2026-11-20", "2026-11-20T00:00:00.000000Z", id="a day"),
    ],
)
def test_a_time_is_read_as_the_journal_spells_it(text: str, spelled: str) -> None:
    assert moment(text) == spelled


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(AutoexpError, match="'yesterday' is no time"):
        moment("yesterday")


def test_following_goes_on_with_what_comes_under_the_next_watcher_too(here: "Room") -> None:
    here.plan("one: {command: 'true'}\nlate: {start: {file_exists: {path: go}}, command: 'true'}\n")
    follower = here.start("events", here.root, "--follow", "--json", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    told: list[dict[str, Any]] = []
    with follower.stdout:
        for word in ("one", "late"):
            (here.job_dir(word) / "go").touch()
            watcher = here.watch()
            while not told or (told[-1]["job"], told[-1]["to"]) != (word, "succeeded"):
                told.append(json.loads(follower.stdout.readline()))
            here.stop(watcher)
        status = here.stop(follower, signal.SIGINT)

    assert status == 130
    assert told == here.journal()


def test_a_root_that_nobody_watched_has_no_events(here: "Room", say: "Say") -> None:
    here.plan(TWO)

    assert say("events", here.root) == (0, "", "")


def test_who_only_looks_reads_sealed_files_and_needs_to_write_nothing(done: "Room", humble: tuple[str, ...]) -> None:
    done.run("watch", done.root, "--once")
    journal = done.var / "journal"
    assert (journal / "1.jsonl.gz").exists()
    for path in (*journal.iterdir(), journal, done.var):
        path.chmod(0o500 if path.is_dir() else 0o400)
    done.prefix = humble

    told = [done.run(*words) for words in (("events", done.root, "--json"), ("status", done.root), ("why", "demo/one"))]
    checked = done.run("replay", done.root, "--check")

    done.var.chmod(0o700)
    journal.chmod(0o700)
    assert [(said.returncode, said.stderr) for said in (*told, checked)] == [(0, "")] * 4
    assert records(told[0].stdout) == done.journal()
    assert "snapshot.json: agrees" in checked.stdout


def test_a_damaged_journal_stops_with_file_line_and_fix(done: "Room", say: "Say") -> None:
    path = done.var / "journal" / "1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b"demo", b"dome"), *lines[4:]]))

    for words in (("events", done.root), ("status", done.root), ("why", "demo/one"), ("watch", done.root, "--once")):
        said = say(*words)
        assert (said.status, f"{path}:4: the journal is damaged here" in said.err) == (1, True), words
        assert "restore 1.jsonl from a backup" in said.err
