from hypothesis import given
from hypothesis import strategies as st

from autoexp.alarms import Alarms

KEYS = st.sampled_from([("a",), ("b",), ("c",)])
TIMES = st.integers(0, 20).map(float)


def test_nothing_is_due_where_nothing_was_set() -> None:
    assert Alarms[tuple[str]]().next_at() is None
    assert list(Alarms[tuple[str]]().due(1e9)) == []


def test_an_alarm_rings_once_when_its_time_has_come() -> None:
    alarms = Alarms[tuple[str]]()
    alarms.set(("a",), 5.0)

    assert list(alarms.due(4.9)) == []
    assert alarms.next_at() == 5.0
    assert list(alarms.due(5.0)) == [("a",)]
    assert list(alarms.due(9.0)) == []


def test_a_thousand_looks_at_one_thing_are_one_alarm() -> None:
    alarms = Alarms[tuple[str]]()
    for later in range(1000):
        alarms.set(("a",), 5.0 + later)

    assert len(alarms._queue) == 1
    assert list(alarms.due(1e9)) == [("a",)]


@given(st.lists(st.tuples(KEYS, TIMES)), st.lists(TIMES).map(sorted))
def test_each_key_rings_at_the_earliest_time_asked_for_in_order(
    asked: list[tuple[tuple[str], float]], looks: list[float]
) -> None:
    alarms = Alarms[tuple[str]]()
    earliest: dict[tuple[str], float] = {}
    for key, when in asked:
        alarms.set(key, when)
        earliest[key] = min(when, earliest.get(key, when))

    rung = [(key, now) for now in (*looks, 99.0) for key in alarms.due(now)]

    assert sorted(key for key, _ in rung) == sorted(earliest)
    for key, now in rung:
        assert now == next(look for look in (*looks, 99.0) if look >= earliest[key])
    assert [earliest[key] for key, _ in rung] == sorted(earliest.values())
    assert alarms.next_at() is None
