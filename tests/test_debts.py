"""What is still to be done."""

import pytest

from autoexp.debts import AT_A_TIME, MOST_TRIES, Debts
from autoexp.errors import AutoexpError
from autoexp.registry import Key

ONE, OTHER = Key("study", "one"), Key("study", "other")
FULL = OSError(28, "No space left on device")


def test_what_is_owed_is_due_a_part_at_a_time_in_its_order() -> None:
    keys = [Key("study", f"{number}") for number in range(AT_A_TIME + 1)]
    debts = Debts(dict.fromkeys(keys))

    assert [debts.due(), debts.due(), debts.due()] == [keys[:-1], keys[-1:], []]


def test_what_failed_is_owed_again_at_the_next_sweep_and_not_before() -> None:
    debts = Debts()
    debts.failed("study: submit one", ONE, FULL)

    assert debts.due() == []
    assert (debts.try_again(), debts.due()) == (["study: submit one"], [ONE])
    assert (debts.try_again(), debts.due()) == ([], [])


def test_two_actions_of_one_job_are_owed_once() -> None:
    debts = Debts()
    debts.failed("study: link one", ONE, FULL)
    debts.failed("study: submit one", ONE, FULL)

    assert (len(debts.try_again()), debts.due()) == (2, [ONE])


def test_an_action_is_waited_for_until_it_was_tried_often_enough() -> None:
    debts, waited = Debts(), 0
    debts.failed("study: submit one", ONE, FULL)
    while list(debts.hopeful()):
        waited += 1
        debts.try_again()
        debts.due()
        debts.failed("study: submit one", ONE, FULL)

    assert waited == MOST_TRIES


def test_an_action_that_came_off_is_waited_for_anew_when_it_fails_later() -> None:
    debts = Debts()
    for _ in range(MOST_TRIES):
        debts.failed("study: submit one", ONE, FULL)
        debts.try_again()
        debts.due()
    debts.try_again()
    debts.failed("study: submit one", ONE, FULL)

    assert list(debts.hopeful()) == [ONE]


@pytest.mark.parametrize(("error", "waited_for"), [(FULL, [ONE]), (AutoexpError("no", why="so", fix="do"), [])])
def test_only_what_the_system_keeps_from_being_done_is_waited_for(error: Exception, waited_for: list[Key]) -> None:
    debts = Debts()
    debts.failed("study: submit one", ONE, error)

    assert list(debts.hopeful()) == waited_for
    assert debts.try_again() == ["study: submit one"]


def test_what_is_owed_is_always_waited_for() -> None:
    assert list(Debts({OTHER: None}).hopeful()) == [OTHER]
