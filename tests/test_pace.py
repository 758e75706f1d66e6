"""How often a scheduler is asked."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from autoexp.pace import LONGEST_S, LONGEST_SILENT_S, Pace

HOUR_S = 3600.0


def play(pace: Pace, moods: list[str]) -> list[float]:
    """Ask whenever it is due, and answer in turn; return when it was asked."""
    now, asked = 0.0, list[float]()
    for mood in moods:
        now = max(now, pace.due_at())
        pace.asked(now)
        asked.append(now)
        getattr(pace, mood)()
    return asked


@given(st.lists(st.sampled_from(["hurry", "relax", "despair"]), max_size=400))
def test_no_more_than_sixty_questions_are_asked_in_any_hour(moods: list[str]) -> None:
    asked = play(Pace(), moods)

    for number, first in enumerate(asked):
        assert sum(first <= at < first + HOUR_S for at in asked[number:]) <= 60


@given(st.lists(st.sampled_from(["hurry", "relax", "despair"]), min_size=2, max_size=50), st.floats(1.0, 1200.0))
def test_a_site_says_how_often_it_may_be_asked_at_most(moods: list[str], shortest_s: float) -> None:
    asked = play(Pace(shortest_s), moods)

    assert all(later - before >= shortest_s * 0.999 for before, later in pairwise(asked))


def test_the_first_question_is_asked_at_once_and_the_next_soon() -> None:
    assert play(Pace(), ["hurry"] * 4) == [0.0, 15.0, 30.0, 45.0]


def test_where_nothing_happens_it_is_asked_less_and_less_up_to_a_limit() -> None:
    asked = play(Pace(), ["relax"] * 30)
    assert asked[-1] - asked[-2] == LONGEST_S

    silent = play(Pace(), ["despair"] * 30)
    assert silent[-1] - silent[-2] == LONGEST_SILENT_S


def test_a_scheduler_that_soon_forgets_is_asked_often_enough_to_hear_twice_of_every_end() -> None:
    pace = Pace()
    pace.keep_up_with(300.0)

    asked = play(pace, ["relax"] * 30)
    assert asked[-1] - asked[-2] == 100.0
    pace.keep_up_with(float("inf"))
    asked = play(pace, ["relax"] * 30)
    assert asked[-1] - asked[-2] == LONGEST_S


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=300))
def test_who_needs_an_answer_badly_asks_no_more_than_sixty_times_in_any_hour_either(waits: list[float]) -> None:
    pace, now, asked = Pace(), 0.0, list[float]()
    for wait in waits:
        now = max(now + wait, pace.soonest_at())
        pace.asked(now)
        asked.append(now)

    for number, first in enumerate(asked):
        assert sum(first <= at < first + HOUR_S for at in asked[number:]) <= 60
