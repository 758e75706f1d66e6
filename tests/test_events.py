import dataclasses
import inspect

from autoexp import events
from autoexp.events import EVENTS, Ended, Event, Planned, Requested, SubmitRefused
from autoexp.model import EndingClass, Verb


def test_the_alphabet_holds_every_kind_of_event_under_its_own_trigger() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(events, inspect.isclass)
        if kind is not Event and Event in kind.__mro__ and dataclasses.is_dataclass(kind)
    }

    assert set(EVENTS.values()) == kinds
    assert all(kind.trigger_name == trigger for trigger, kind in EVENTS.items() if kind is not Requested)


def test_each_verb_has_a_trigger_of_its_own() -> None:
    assert {verb.trigger for verb in Verb} == {t for t, kind in EVENTS.items() if kind is Requested}
    assert Requested(at=0.0, verb=Verb.HOLD).trigger == "hold_requested"


def test_evidence_keeps_only_what_says_something() -> None:
    assert Planned(at=1.0).evidence() == {}
    assert Ended(at=1.0, attempt=2, ending=EndingClass.CRASHED, reason="", code=1).evidence() == {
        "ending": "crashed",
        "code": 1,
    }


def test_evidence_keeps_zeros_and_no() -> None:
    ended = Ended(at=1.0, ending=EndingClass.SUCCESS, reason="done", code=0)
    refused = SubmitRefused(at=1.0, reason="full")

    assert ended.evidence()["code"] == 0
    assert refused.evidence() == {"reason": "full", "temporary": False}


def test_a_request_says_which_marker_file_it_came_from() -> None:
    asked = Requested(at=1.0, verb=Verb.FAIL, reason="wrong data", inode=7, ctime_ns=8)

    assert asked.evidence() == {"verb": "fail", "reason": "wrong data", "inode": 7, "ctime_ns": 8}
