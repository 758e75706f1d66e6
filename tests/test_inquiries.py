from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import clock
from autoexp.conditions import Question
from autoexp.hosts import carriers
from autoexp.inquiries import AGAIN_AFTER_S, Inquiries

if TYPE_CHECKING:
    from tests.conftest import Room

Wait = Callable[..., Any]


@pytest.fixture
def inquiries() -> Iterator[Inquiries[str]]:
    made = Inquiries[str]()
    yield made
    made.close()


def question(line: str, timeout_s: float = 60.0) -> Question:
    return Question(kind="runs", words=("bash", "-c", line), timeout_s=timeout_s)


@pytest.mark.parametrize(("line", "status"), [("test -d data", 1), ("exit 3", 0), ("kill -9 $$", 0)])
def test_a_program_is_asked_in_the_jobs_folder_and_not_waited_for(
    inquiries: Inquiries[str], tmp_path: Path, wait: Wait, line: str, status: int
) -> None:
    (tmp_path / "data").mkdir()

    assert inquiries.due_in_s() is None
    assert inquiries.answer("me", question(line), tmp_path) is None
    assert inquiries.due_in_s() is not None
    wait(lambda: list(inquiries.ended()) == ["me"])
    assert inquiries.answer("me", question(line), tmp_path) == status
    assert inquiries.due_in_s() is None


def test_it_is_asked_again_after_a_while_and_the_old_answer_stands_until_then(
    inquiries: Inquiries[str], tmp_path: Path, wait: Wait
) -> None:
    asked, now = question("echo >> asked; test -e ready"), clock.now()
    with clock.simulated(lambda: now):
        inquiries.answer("me", asked, tmp_path)
        wait(lambda: list(inquiries.ended()))
        assert [inquiries.answer("me", asked, tmp_path) for _ in range(3)] == [0, 0, 0]
        (tmp_path / "ready").touch()
        now += AGAIN_AFTER_S
        assert inquiries.answer("me", asked, tmp_path) == 0
        wait(lambda: list(inquiries.ended()))

        assert inquiries.answer("me", asked, tmp_path) == 1
    assert (tmp_path / "asked").read_text() == "\n\n"


def test_what_takes_too_long_is_ended_with_its_children_and_has_not_succeeded(
    inquiries: Inquiries[str], tmp_path: Path, wait: Wait
) -> None:
    slow = question(f"export MARK={tmp_path}; sleep 600 & sleep 600", timeout_s=0.5)
    inquiries.answer("me", slow, tmp_path)

    wait(lambda: list(inquiries.ended()) == ["me"])

    assert inquiries.answer("me", slow, tmp_path) == 0
    wait(lambda: not list(carriers("MARK", str(tmp_path))))


def test_who_closes_ends_what_runs(tmp_path: Path, wait: Wait) -> None:
    inquiries = Inquiries[str]()
    inquiries.answer("me", question(f"export MARK={tmp_path}; touch begun; sleep 600 & sleep 600"), tmp_path)
    wait((tmp_path / "begun").exists)

    inquiries.close()

    wait(lambda: not list(carriers("MARK", str(tmp_path))))


def test_jobs_start_once_a_program_succeeds_or_a_line_is_there_or_time_is_over(room: "Room") -> None:
    room.machine(sweep="1s")
    room.plan(
        """
        first: {command: "sleep 1; echo all is ready"}
        by_program: {start: {command_succeeds: {command: "test -e ../first/attempts/001/exit.json"}}, command: "true"}
        by_line: {start: {file_contains: {path: ../first/current.log, regex: "is ready$"}}, command: "true"}
        by_time: {start: {elapsed: {for: 2s}}, command: "true"}
        never: {start: {metadata_equals: {key: stage_of_mine, value: 1}}, command: "true"}
        """
    )

    room.run("watch", room.root, "--until-done")

    assert room.states() == {
        "first": "succeeded", "by_program": "succeeded", "by_line": "succeeded", "by_time": "succeeded",
        "never": "skipped",
    }  # fmt: skip
