from collections.abc import Callable
from pathlib import Path

import pytest

from autoexp import clock
from autoexp.asking import Asker, verdict
from autoexp.events import ConditionsDied, ConditionsMet, Requested
from autoexp.model import Condition, Job, JobSpec, State, Verb
from autoexp.registry import Key, Ledger, Registry

Specs = Callable[..., JobSpec]
GO = Condition(name="file_exists", params={"path": "go"})
AFTER = Condition(name="job_succeeded", params={"stage": "first"}, jobs=("first",))


@pytest.fixture
def asker(tmp_path: Path, make_ledger: Callable[..., Ledger], make_spec: Specs) -> Asker:
    """Two waiting jobs, one for a file and one for the other's success, and one that a file cancels."""
    second, doomed, first = (
        Job(spec=make_spec(name, **asked), state=State.WAITING)
        for name, asked in {
            "second": {"start": AFTER},
            "doomed": {"start": AFTER, "cancel": GO},
            "first": {"start": GO},
        }.items()
    )
    registry = Registry(tmp_path / "experiments")
    registry.ledgers["demo"] = make_ledger(first, second, doomed)
    for name in ("first", "doomed"):
        registry.ledgers["demo"].dir_of(name).mkdir(parents=True)
    return Asker(registry)


def drop(asker: Asker, job: str) -> None:
    (asker.registry.ledgers["demo"].dir_of(job) / "go").touch()


def test_a_condition_on_a_file_holds_once_the_file_is_in_the_jobs_folder(asker: Asker) -> None:
    ledger = asker.registry.ledgers["demo"]
    job = ledger.jobs["first"]

    assert not verdict(GO, ledger, job, {}).holds
    drop(asker, "first")
    assert verdict(GO, ledger, job, {}).holds


def test_a_job_that_waits_for_a_file_is_asked_at_every_sweep(asker: Asker) -> None:
    assert list(asker.again(clock.now(), everything=True)) == []
    drop(asker, "first")
    assert list(asker.again(clock.now(), everything=False)) == []
    [(key, event)] = asker.again(clock.now(), everything=True)

    assert key == Key("demo", "first")
    assert isinstance(event, ConditionsMet)


def test_who_is_to_be_asked_soon_is_asked_once_unless_it_is_gone(asker: Asker) -> None:
    drop(asker, "first")
    asker.soon(Key("demo", "first"))
    assert [key.job for key, _ in asker.again(clock.now(), everything=False)] == ["first"]
    assert list(asker.again(clock.now(), everything=False)) == []

    asker.soon(Key("demo", "first"))
    asker.forget(Key("demo", "first"))
    assert list(asker.again(clock.now(), everything=False)) == []


@pytest.mark.parametrize(("state", "event"), [(State.SUCCEEDED, ConditionsMet), (State.FAILED, ConditionsDied)])
def test_who_asks_about_a_job_is_asked_when_that_job_moves(asker: Asker, state: State, event: type) -> None:
    ledger = asker.registry.ledgers["demo"]
    ledger.put(Job(spec=ledger.jobs["first"].spec, state=state))
    said = dict(asker.touched([Key("demo", "first")]))

    assert isinstance(said[Key("demo", "second")], event)


def test_a_condition_that_cancels_comes_before_one_that_starts(asker: Asker) -> None:
    ledger = asker.registry.ledgers["demo"]
    ledger.put(Job(spec=ledger.jobs["first"].spec, state=State.SUCCEEDED))
    drop(asker, "doomed")
    said = dict(asker.touched([Key("demo", "first")]))[Key("demo", "doomed")]

    assert isinstance(said, Requested)
    assert said.verb is Verb.CANCEL
    assert said.reason.startswith("cancel: ")
