from dataclasses import replace
from typing import Any

import pytest

from autoexp import scaling
from autoexp.model import State
from autoexp.report import ladders, repeats
from autoexp.report.results import Results, Run
from autoexp.report.spelling import as_json, as_markdown
from tests.report.test_ladders import run


def results(*runs: Run) -> Results:
    return Results(study=None, runs=runs)  # type: ignore[arg-type]  # it is not asked for


def made(*runs: Run) -> Any:
    found = results(*runs)
    return repeats.table(found, ladders.table(found))


def rows(*runs: Run) -> list[Any]:
    return list(as_json(made(*runs)))


def ladder(seed: int, two_s: float) -> list[Run]:
    return [run(f"one-{seed}", 1, 8.0, seed=seed), run(f"two-{seed}", 2, two_s, tflops=40 / two_s, seed=seed)]


def test_runs_of_several_seeds_have_a_mean_and_an_interval_and_each_seed_its_own_base() -> None:
    base, row = rows(*ladder(1, 5.0), *ladder(2, 4.0), *ladder(3, 4.5))

    assert (row["values"], row["devices"], row["repeats"]) == ({"world": 2}, 2, 3)
    assert (base["speedup"], base["efficiency"]) == (None, None)
    mean, half = scaling.interval([5.0, 4.0, 4.5])
    assert (row["step_s"], row["step_s_half"]) == (mean, half)
    assert row["speedup"] == pytest.approx((1.6 + 2.0 + 8 / 4.5) / 3)
    assert row["efficiency_half"] == pytest.approx(scaling.interval([0.8, 1.0, 4 / 4.5])[1])


def test_people_read_the_mean_with_what_it_may_be_off() -> None:
    assert "| 4.5 ± 1.2 |" in as_markdown(made(*ladder(1, 5.0), *ladder(2, 4.0), *ladder(3, 4.5)))


def test_the_loss_of_a_run_that_did_not_succeed_is_left_out_and_a_single_one_has_no_interval() -> None:
    runs = [run(f"r{seed}", 1, 8.0, seed=seed) for seed in (1, 2)]
    (row,) = rows(runs[0], replace(runs[1], state=State.FAILED))

    assert (row["loss"], row["loss_half"], row["repeats"]) == (3.0, None, 2)
    assert row["notes"] == ["1 of 2 did not succeed: their losses are left out"]


def test_other_axes_make_other_points_and_a_study_without_seeds_has_no_repeats() -> None:
    assert made(run("a", 1, 8.0, lr=0.1), run("b", 1, 8.0, lr=0.2)).rows == ()
    assert made(run("a", 1, 8.0, lr=0.1, seed=1), run("b", 1, 8.0, lr=0.2, seed=1)).rows == ()
