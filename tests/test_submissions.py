"""What is known of one submission; what is made of it stands in test_scheduling."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autoexp.endings import Said
from autoexp.files import write_json
from autoexp.model import EndingClass
from autoexp.orders import Order
from autoexp.submissions import Attempt, Entry, Question

TOKEN = "one.1.k3y"


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    folder = tmp_path / "attempts" / "001"
    folder.mkdir(parents=True)
    order = Order(token=TOKEN, attempt=1, job_dir=tmp_path, attempt_dir=folder, scheduler_id="5")
    write_json(order.submission, {"v": 1, "token": TOKEN, "at": "2026-11-21T16:00:00.000000Z"})
    return Attempt(order)


def entry(number: str, *, live: bool, ending: EndingClass | None = None, later_s: float = 0.0) -> Entry:
    return Entry(id=number, submitted_at=1795276800.0 + later_s, live=live, said=Said(ending=ending))


def test_a_question_names_the_id_that_is_known_and_the_first_submission(attempt: Attempt) -> None:
    assert attempt.question() == Question(name=TOKEN, id="5", since=1795276800.0)


def test_the_claim_says_best_what_it_is_called(attempt: Attempt) -> None:
    (attempt.order.attempt_dir / f"run.{TOKEN}").write_text("6\n")
    attempt.take([entry("7", live=True)], 1795276900.0)

    assert attempt.ids() == ["6", "5", "7"]


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"at": 5}', '{"at": "soon"}', '{"at": "0001-01-01T00:00:00"}'])
def test_a_submission_that_cannot_be_read_may_have_been_made_since_its_intent_was_written(
    attempt: Attempt, text: str
) -> None:
    intent = attempt.order.attempt_dir / "intent.json"
    intent.touch()
    os.utime(intent, (1000.0, 1000.0))
    attempt.order.submission.write_text(text)

    assert attempt.question().since == 1000.0
    assert attempt.doubt.startswith("submission.json: ")


def test_a_submission_that_is_no_file_keeps_nobody_from_asking(attempt: Attempt) -> None:
    attempt.order.submission.unlink()
    os.mkfifo(attempt.order.submission)

    assert attempt.question().name == TOKEN
    assert "no regular file" in attempt.doubt


def test_what_the_scheduler_says_is_said_of_the_job_that_counts(attempt: Attempt) -> None:
    (attempt.order.attempt_dir / f"run.{TOKEN}").write_text("6\n")

    attempt.take([entry("6", live=False, ending=EndingClass.NODE_FAIL), entry("7", live=True)], 1795276900.0)

    assert attempt.answer is not None
    assert (attempt.answer.said.ending, attempt.answer.live) == (EndingClass.NODE_FAIL, False)


def test_as_long_as_nothing_has_the_claim_the_one_that_lives_counts(attempt: Attempt) -> None:
    attempt.take(
        [entry("6", live=False, ending=EndingClass.NODE_FAIL, later_s=9.0), entry("7", live=True)], 1795276900.0
    )

    assert attempt.answer is not None
    assert (attempt.answer.said.ending, attempt.answer.live) == (None, True)


def test_that_a_job_waits_is_old_by_now_where_it_had_not_begun_when_that_was_asked(attempt: Attempt) -> None:
    waits = replace(entry("7", live=True), said=Said(waits=True))
    attempt.question()
    (attempt.order.attempt_dir / f"run.{TOKEN}").write_text("7\n")
    attempt.take([waits], 1795276900.0)
    first = attempt.answer
    attempt.question()
    attempt.take([waits], 1795276960.0)

    assert first is not None
    assert attempt.answer is not None
    assert (first.said.waits, attempt.answer.said.waits) == (False, True)


def test_who_needs_to_know_how_it_ended_waits_for_an_answer(attempt: Attempt) -> None:
    assert not attempt.is_tense
    attempt.awaited = True

    assert attempt.is_tense


def test_an_attempt_that_was_left_waits_for_nothing(attempt: Attempt) -> None:
    attempt.take([entry("6", live=False)], 1795276900.0)
    assert attempt.is_tense, "it is over, says one answer"
    attempt.left_at = 1795276901.0
    assert attempt.is_tense, "it said nothing: what is left of it may still run"
    (attempt.order.attempt_dir / "exit.json").write_text("{}")

    assert (attempt.is_tense, attempt.question().over) == (False, True)
