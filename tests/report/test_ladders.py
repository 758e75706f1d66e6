from typing import Any

import pytest

from autoexp.report import ladders
from autoexp.report.results import Results, Run
from autoexp.report.series import Attempt, Point
from autoexp.report.spelling import as_json


def run(
    job: str, devices: int, step_s: float | None, *, tflops: float | None = 10.0, batch: int = 64, **axes: Any
) -> Run:
    """Make a run whose steps all took the same, but for the slow ones at its start."""
    times = [] if step_s is None else [9 * step_s, 5 * step_s, *[step_s] * 6]
    points = tuple(Point(iteration=n, loss=3.0, seconds=s, tflops=tflops) for n, s in enumerate(times, 1))
    return Run(
        job=job,
        stage="train",
        values={"world": devices, **axes},
        attempts=(Attempt(number=1, points=points),) if points else (),
        series=points,
        seq_length=128,
        global_batch_size=batch,
        devices=devices,
        peak_memory=(1 << 30, 3 << 30),
    )


def table(*runs: Run) -> dict[str, dict[str, Any]]:
    found: Any = as_json(ladders.table(Results(study=None, runs=runs)))  # type: ignore[arg-type]  # it is not asked for
    return {row["job"]: row for row in found}


def test_a_strong_ladder_is_compared_with_its_fewest_devices() -> None:
    rows = table(run("four", 4, 2.5, tflops=8.0), run("one", 1, 8.0, tflops=10.0))

    assert list(rows) == ["one", "four"]
    assert (rows["one"]["scaling"], rows["one"]["speedup"], rows["one"]["efficiency"]) == ("base", 1.0, 1.0)
    four = rows["four"]
    assert (four["scaling"], four["speedup"], four["efficiency"]) == ("strong", 3.2, 0.8)
    assert four["serial_fraction"] == pytest.approx((1 / 3.2 - 0.25) / 0.75)
    assert (four["step_s"], four["step_spread_s"], four["samples_per_s"], four["tokens_per_s"]) == (
        *(2.5, 0.0, 64 / 2.5, 64 * 128 / 2.5),
    )
    assert (four["peak_memory_gib"], four["least_memory_gib"], four["samples_per_device"]) == (3.0, 1.0, 16.0)


def test_a_weak_ladder_has_an_efficiency_and_no_speed_up() -> None:
    rows = table(run("one", 1, 8.0), run("four", 4, 10.0, tflops=8.0, batch=256))

    assert (rows["four"]["scaling"], rows["four"]["speedup"]) == ("weak", None)
    assert rows["four"]["efficiency"] == pytest.approx(0.8)


def test_work_that_grows_otherwise_is_compared_by_operations_only() -> None:
    rows = table(run("two", 2, 1.0, layers=3), run("four", 4, 1.0, tflops=6.1, layers=6))

    assert (rows["four"]["scaling"], rows["four"]["speedup"], rows["four"]["serial_fraction"]) == ("mixed", None, None)
    assert rows["four"]["efficiency"] == pytest.approx(0.61)


def test_each_combination_of_the_other_axes_is_a_ladder_of_its_own() -> None:
    runs = [run(f"{n}-{lr}", n, 8.0 / n, lr=lr, layers=3 * n) for n in (1, 2) for lr in (1e-2, 1e-3)]

    found = [[one.job for one in ladder] for ladder in ladders.of(runs)]

    assert found == [["1-0.01", "2-0.01"], ["1-0.001", "2-0.001"]]


def test_runs_on_the_same_number_of_devices_are_no_ladder() -> None:
    assert table(run("one", 1, 1.0, lr=1e-2), run("other", 1, 1.0, lr=1e-3)) == {}


def test_a_log_without_operations_is_compared_by_samples_and_says_so() -> None:
    rows = table(run("one", 1, 8.0, tflops=None), run("two", 2, 5.0, tflops=0.0))

    assert rows["two"]["efficiency"] == pytest.approx(0.8)
    assert rows["two"]["notes"] == [ladders.BY_SAMPLES]


def test_a_run_without_steps_has_no_numbers_and_the_next_one_is_the_base() -> None:
    rows = table(run("one", 1, None), run("two", 2, 5.0), run("four", 4, 2.5))

    assert rows["one"]["notes"] == ["no step of it was measured"]
    assert (rows["one"]["efficiency"], rows["two"]["scaling"], rows["four"]["speedup"]) == (None, "base", 2.0)
