"""How many jobs a scheduler may have of ours."""

from autoexp.throttle import ALL, Throttle


def test_without_limits_nothing_is_held_back() -> None:
    assert Throttle().full("main") == ""


def test_nothing_is_submitted_before_it_is_known_how_many_there_are() -> None:
    throttle = Throttle({ALL: 3})

    assert "not said yet" in throttle.full("main")
    throttle.heard({ALL: 2})
    assert throttle.full("main") == ""


def test_what_was_submitted_since_the_answer_counts_and_what_is_over_does_not() -> None:
    throttle = Throttle({ALL: 3})
    throttle.heard({ALL: 2, "main": 2})

    throttle.took("main")
    assert throttle.full("main") == "3 jobs may be queued or run, and there are as many (max_submitted)"
    throttle.left("main")
    assert throttle.full("main") == ""


def test_a_partition_has_a_limit_of_its_own() -> None:
    throttle = Throttle({"small": 1})
    throttle.heard({ALL: 9, "large": 9})

    throttle.took("small")

    assert "in partition small" in throttle.full("small")
    assert throttle.full("large") == throttle.full("") == ""


def test_what_was_submitted_while_the_question_was_under_way_counts_all_the_same() -> None:
    throttle = Throttle({ALL: 2})
    throttle.heard({})
    throttle.asking([])
    throttle.took("")

    throttle.heard({ALL: 1})

    assert throttle.full("")


def test_a_submission_that_is_under_way_when_the_question_is_asked_counts_too() -> None:
    throttle = Throttle({ALL: 2})
    throttle.heard({})
    throttle.took("main")
    throttle.asking(["main"])

    throttle.heard({ALL: 1})

    assert throttle.full("")
