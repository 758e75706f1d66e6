from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoexp.events import Ended, Planned, Requested
from autoexp.facts import Fact, as_dropped
from autoexp.model import EndingClass, Verb
from autoexp.registry import Key

ONE, TWO = Key("demo", "one"), Key("demo", "two")
FACTS = st.builds(
    lambda key, dropped: Fact(key, Requested(at=0.0, verb=Verb.HOLD, ctime_ns=dropped) if dropped else Planned(at=0.0)),
    st.sampled_from([ONE, TWO]),
    st.integers(0, 5),
)


def times(facts: list[Fact], key: Key) -> list[Any]:
    return [getattr(fact.event, "ctime_ns", None) for fact in facts if fact.key == key]


@given(st.lists(FACTS))
def test_requests_to_a_job_come_as_they_were_dropped_and_nothing_else_moves(facts: list[Fact]) -> None:
    ordered = as_dropped(facts)

    assert [(fact.key, type(fact.event)) for fact in ordered] == [(fact.key, type(fact.event)) for fact in facts]
    for key in (ONE, TWO):
        asked = [at for at in times(ordered, key) if at]
        assert asked == sorted(at for at in times(facts, key) if at)


def test_what_was_asked_after_an_attempt_had_ended_comes_behind_that() -> None:
    before, after = (Fact(ONE, Requested(at=0.0, verb=Verb.CANCEL, ctime_ns=at)) for at in (2, 4))
    end = Fact(ONE, Ended(at=0.0, ending=EndingClass.SUCCESS, reason="exit code 0", ctime_ns=3))
    others = Fact(TWO, Requested(at=0.0, verb=Verb.CANCEL, ctime_ns=5))

    assert as_dropped([after, before, others, end]) == [before, others, end, after]
