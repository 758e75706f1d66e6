import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoexp.model import Job, JobSpec, State, Verb
from autoexp.readback import lost_wishes
from autoexp.registry import Key, Ledger

NOW = 1_795_210_801.0


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger], make_spec: Callable[..., JobSpec]) -> Ledger:
    return make_ledger(*(Job(spec=make_spec(name), state=State.WAITING) for name in ("one", "two")))


def take(folder: Path, verb: str, inode: int, at: str = "20261120T214000.000000Z", **more: Any) -> None:
    """Write the answer to a marker that was taken."""
    (folder / "markers" / "taken").mkdir(parents=True, exist_ok=True)
    said = {"at": at, "marker": verb, "inode": inode, "ctime_ns": 5, **more}
    (folder / "markers" / "taken" / f"{at}-{verb}.json").write_text(json.dumps(said))


def asked(ledger: Ledger, *known: tuple[str, int], told: dict[str, str] | None = None) -> dict[str, str]:
    obeyed = {(Key("demo", job), inode, 5) for job, inode in known}
    tell = ({} if told is None else told).__setitem__
    found = list(lost_wishes(ledger, ["one", "two"], obeyed, NOW, tell))
    assert all(event.verb is Verb.HOLD for _, event in found)
    return {key.job: event.reason.partition(" was")[0] for key, event in found}


def test_where_nobody_ever_asked_nothing_is_lost(ledger: Ledger) -> None:
    assert asked(ledger) == {}


def test_an_answer_that_the_journal_knows_is_not_lost(ledger: Ledger) -> None:
    take(ledger.dir_of("one"), "cancel", 7)

    assert asked(ledger, ("one", 7)) == {}
    assert asked(ledger, ("one", 8)) == {"one": "cancel"}


@pytest.mark.parametrize("verb", Verb)
def test_only_what_halts_a_job_is_worth_holding_it(ledger: Ledger, verb: Verb) -> None:
    take(ledger.dir_of("one"), verb, 7)

    assert asked(ledger) == ({"one": verb} if verb in ("hold", "save", "cancel", "succeed", "fail") else {})


def test_only_the_newest_answer_counts(ledger: Ledger) -> None:
    take(ledger.dir_of("one"), "cancel", 7, at="20261120T214000.000000Z")
    take(ledger.dir_of("one"), "retry", 8, at="20261120T214001.000000Z")

    assert asked(ledger) == {}


def test_of_what_was_asked_of_a_job_and_of_its_study_the_newest_counts(ledger: Ledger) -> None:
    take(ledger.dir_of("one"), "hold", 7)
    take(ledger.dir_of("two"), "hold", 8)
    take(ledger.study.dir, "cancel", 9, at="20261120T214001.000000Z", taken={"one": {"attempt": 0}})
    assert asked(ledger) == {"one": "cancel", "two": "hold"}

    take(ledger.dir_of("one"), "retry", 10, at="20261120T214002.000000Z", attempt=0)
    assert asked(ledger) == {"two": "hold"}


def test_what_was_asked_of_the_study_was_asked_of_every_job(ledger: Ledger) -> None:
    take(ledger.study.dir, "cancel", 7)

    assert asked(ledger) == {"one": "cancel", "two": "cancel"}
    assert asked(ledger, ("one", 7)) == {}, "the others refused it"


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.RETRY])
@pytest.mark.parametrize("to", ["one", "the study"])
def test_another_attempt_that_was_asked_for_is_lost_until_it_has_begun(ledger: Ledger, verb: Verb, to: str) -> None:
    said = {"from": "failed", "to": "waiting", "attempt": 1}
    for_all = to == "the study"
    folder = ledger.study.dir if for_all else ledger.dir_of("one")
    take(folder, verb, 7, **({"taken": {"one": said}} if for_all else said))
    attempts = ledger.dir_of("one") / "attempts"
    (attempts / "001").mkdir(parents=True)
    assert asked(ledger) == {"one": verb}

    (attempts / "002").mkdir()
    (attempts / "002" / "run.one.2.0000").write_text("withdrawn\n")
    assert asked(ledger) == {"one": verb}

    (attempts / "003").mkdir()
    assert asked(ledger) == {}


def test_a_retry_of_what_never_ran_is_no_loss(ledger: Ledger) -> None:
    take(ledger.dir_of("one"), "retry", 7, attempt=0)

    assert asked(ledger) == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"marker": [], "inode": 1}', '{"marker": "hold", "inode": "1"}', '{"marker": "hold"}']
)
def test_an_answer_that_cannot_be_read_is_none_and_told_and_hides_no_other(ledger: Ledger, text: str) -> None:
    take(ledger.dir_of("one"), "cancel", 7)
    odd = ledger.dir_of("two") / "markers" / "taken" / "x.json"
    take(ledger.dir_of("two"), "hold", 8)
    odd.write_text(text)
    told: dict[str, str] = {}

    assert asked(ledger, told=told) == {"one": "cancel", "two": "hold"}
    assert list(told) == [f"demo: {odd}"]


def test_an_answer_that_is_no_file_is_none_and_told(ledger: Ledger) -> None:
    odd = ledger.dir_of("one") / "markers" / "taken" / "x.json"
    odd.parent.mkdir(parents=True)
    os.mkfifo(odd)
    told: dict[str, str] = {}

    assert asked(ledger, told=told) == {}
    assert told[f"demo: {odd}"].startswith("it is no regular file")
