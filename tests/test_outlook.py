from typing import Any

import pytest

from autoexp.journal import stamp
from autoexp.outlook import done_at

NOW = 1_795_000_000.0


def row(state: str, *, stage: str = "train", ago_s: float = 0.0, left_s: float | None = None) -> dict[str, Any]:
    told = {} if left_s is None else {"left_s": left_s}
    return {"stage": stage, "state": state, "since": stamp(NOW - ago_s), **told}


def left_s(*rows: dict[str, Any]) -> float | None:
    at = done_at(rows, NOW)
    return None if at is None else at - NOW


def test_trainings_that_run_take_as_long_as_they_say() -> None:
    assert left_s(row("running", left_s=90.0), row("running", left_s=600.0), row("succeeded")) == 600.0


def test_what_waits_goes_on_at_the_pace_of_its_stage_so_far() -> None:
    ended = [row("succeeded", ago_s=seconds) for seconds in (300.0, 200.0, 100.0)]

    assert left_s(*ended, *[row("waiting")] * 4, row("running")) == pytest.approx(5 * 150.0)


def test_the_slowest_stage_counts() -> None:
    ended = [row("succeeded", ago_s=seconds, stage="score") for seconds in (30.0, 20.0, 10.0)]

    assert left_s(*ended, row("queued", stage="score"), row("running", left_s=500.0)) == 500.0
    assert left_s(*ended, row("queued", stage="score"), row("running", left_s=5.0)) == pytest.approx(15.0)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no jobs"),
        pytest.param([row("succeeded"), row("failed")], id="all are over"),
        pytest.param([row("succeeded", ago_s=9.0)] * 2 + [row("waiting")], id="two ends tell no pace"),
        pytest.param([row("running", left_s=5.0), row("waiting", stage="score")], id="one stage is unknown"),
        pytest.param([row("held"), row("stalled"), row("succeeded")], id="the rest needs a person"),
        pytest.param([row("succeeded")] * 3 + [row("waiting")], id="no time has passed"),
    ],
)
def test_where_nobody_can_tell_nothing_is_said(rows: list[dict[str, Any]]) -> None:
    assert left_s(*rows) is None


def test_a_stage_that_stands_still_gets_no_nearer() -> None:
    ended = [row("succeeded", ago_s=seconds) for seconds in (300.0, 200.0, 100.0)]
    soon, later = done_at([*ended, row("waiting")], NOW), done_at([*ended, row("waiting")], NOW + 3000)

    assert soon is not None
    assert later is not None
    assert later - (NOW + 3000) > soon - NOW
