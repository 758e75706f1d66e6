"""How many jobs a scheduler may have of ours."""

from typing import Any

from autoexp.machine import Machine, Partition
from autoexp.throttle import ALL, Throttle, limits_of, places_of

ANYWHERE = places_of({})
MAIN, SMALL, LARGE = (places_of({"partition": name}) for name in ("main", "small", "large"))


def test_without_limits_nothing_is_held_back() -> None:
    assert Throttle().full(MAIN) == ""


def test_nothing_is_submitted_before_it_is_known_how_many_there_are() -> None:
    throttle = Throttle({ALL: 3})

    assert "not said yet" in throttle.full(MAIN)
    throttle.heard({ALL: 2})
    assert throttle.full(MAIN) == ""


def test_what_was_submitted_since_the_answer_counts_and_what_is_over_does_not() -> None:
    throttle = Throttle({ALL: 3})
    throttle.heard({ALL: 2, "partition main": 2})

    throttle.took(MAIN)
    assert throttle.full(MAIN) == "3 jobs may be queued or run, and there are as many (max_submitted)"
    throttle.left(MAIN)
    assert throttle.full(MAIN) == ""


def test_what_may_run_in_several_partitions_counts_in_each() -> None:
    throttle = Throttle({"partition small": 1})
    throttle.heard({ALL: 1, "partition small": 1})

    assert "in partition small" in throttle.full(places_of({"partition": "large, small"}))


def test_a_partition_has_a_limit_of_its_own() -> None:
    throttle = Throttle({"partition small": 1})
    throttle.heard({ALL: 9, "partition large": 9})

    throttle.took(SMALL)

    assert "in partition small" in throttle.full(SMALL)
    assert throttle.full(LARGE) == throttle.full(ANYWHERE) == ""


def test_a_qos_has_a_limit_of_its_own_in_any_partition() -> None:
    throttle = Throttle({"qos debug": 2})
    throttle.heard({ALL: 9, "qos debug": 1})

    throttle.took(places_of({"partition": "main", "qos": "debug"}))

    assert "in qos debug" in throttle.full(places_of({"partition": "other", "qos": "debug"}))
    assert throttle.full(MAIN) == ""


def test_what_was_submitted_while_the_question_was_under_way_counts_all_the_same() -> None:
    throttle = Throttle({ALL: 2})
    throttle.heard({})
    throttle.asking([])
    throttle.took(ANYWHERE)

    throttle.heard({ALL: 1})

    assert throttle.full(ANYWHERE)


def test_a_submission_that_is_under_way_when_the_question_is_asked_counts_too() -> None:
    throttle = Throttle({ALL: 2})
    throttle.heard({})
    throttle.took(MAIN)
    throttle.asking([MAIN])

    throttle.heard({ALL: 1})

    assert throttle.full(ANYWHERE)


def test_what_runs_has_a_limit_of_its_own_and_what_we_queue_may_run_at_any_moment() -> None:
    throttle = Throttle({"running": 5, "running partition small": 2})
    throttle.heard({ALL: 900, "partition small": 900, "running": 1, "running partition small": 1})

    assert throttle.full(SMALL) == ""
    throttle.took(SMALL)
    assert throttle.full(SMALL) == "2 jobs may run in partition small, and there are as many (max_running)"
    assert throttle.full(LARGE) == ""


def test_a_machine_file_has_limits_for_all_for_partitions_and_for_qos() -> None:
    partitions = {"big": Partition(max_submitted=3), "small": Partition(max_running=1)}
    qos: dict[str, Any] = {"qos_max_submitted": {"long": 2}, "qos_max_running": {"long": 1}}
    machine = Machine(name="cluster", partitions=partitions, max_submitted=9, max_running=4, **qos)

    submitted, running = {"partition big": 3, "qos long": 2, ALL: 9}, {"partition small": 1, "qos long": 1, "": 4}
    assert limits_of(machine) == {**submitted, **{f"running {place}".strip(): most for place, most in running.items()}}
    assert limits_of(Machine(name="cluster")) == {}
