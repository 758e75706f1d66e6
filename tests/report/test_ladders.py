from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from autoexp.model import State
from autoexp.report import ladders
from autoexp.report.metrics import Metrics
from autoexp.report.results import Results, Run
from autoexp.report.series import Attempt, Point
from autoexp.report.spelling import as_json


def run(
    job: str,
    devices: int,
    step_s: float | None,
    *,
    tflops: float | None = 10.0,
    batch: int = 64,
    stage: str = "train",
    layout: Mapping[str, str] = MappingProxyType({}),
    **axes: Any,
) -> Run:
    """Make a run whose steps all took the same, but for the slow ones at its start."""
    times = [] if step_s is None else [9 * step_s, 5 * step_s, *[step_s] * 6]
    points = tuple(Point(iteration=n, loss=3.0, seconds=s, tflops=tflops) for n, s in enumerate(times, 1))
    return Run(
        job=job,
        stage=stage,
        values={"world": devices, **axes},
        state=State.SUCCEEDED,
        attempts=(Attempt(number=1, points=points),) if points else (),
        series=points,
        seq_length=128,
        global_batch_size=batch,
        devices=devices,
        layout=layout,
        work={"model": "'m'"},
        metrics=Metrics(allocated=(1 << 30, 3 << 30)),
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


def test_other_models_by_name_have_no_efficiency_and_say_why() -> None:
    large = replace(run("large", 1, 2.0, model="large"), work={"model": "'large'"})
    small = replace(run("small", 2, 1.0, tflops=4.0, model="small"), work={"model": "'small'"})
    rows = table(large, small)

    assert (rows["large"]["scaling"], rows["large"]["efficiency"]) == ("base", 1.0)
    assert (rows["small"]["scaling"], rows["small"]["efficiency"], rows["small"]["speedup"]) == ("mixed", None, None)
    assert rows["small"]["notes"] == [
        "model small does other work than large, so no efficiency compares the two",
    ]


def test_a_larger_batch_is_no_other_model() -> None:
    one, two = run("one", 1, 2.0, setup="one"), run("two", 2, 2.0, batch=128, setup="two")
    rows = table(*(replace(each, work={**each.work, "global-batch-size": each.job}) for each in (one, two)))

    assert (rows["two"]["scaling"], rows["two"]["efficiency"], rows["two"]["notes"]) == ("weak", 1.0, [])


def test_a_sample_is_of_all_devices_that_share_a_copy_of_the_model() -> None:
    split = replace(run("four", 4, 1.0, tp=2), devices_a_copy=2)

    assert table(run("one", 1, 4.0, tp=1), split)["four"]["samples_per_device"] == 32.0


def test_each_combination_of_the_other_axes_is_a_ladder_of_its_own() -> None:
    runs = [run(f"{n}-{lr}", n, 8.0 / n, lr=lr, layers=3 * n) for n in (1, 2) for lr in (1e-2, 1e-3)]

    found = [[one.job for one in ladder] for ladder in ladders.of(runs)]

    assert found == [["1-0.01", "2-0.01"], ["1-0.001", "2-0.001"]]


def test_runs_on_the_same_number_of_devices_are_no_ladder() -> None:
    assert table(run("one", 1, 1.0, lr=1e-2), run("other", 1, 1.0, lr=1e-3)) == {}


def test_a_log_without_operations_is_compared_by_samples_and_says_so_unless_the_work_is_the_same() -> None:
    pair = run("one", 1, 8.0, tflops=None), run("two", 2, 5.0, tflops=0.0)
    rows = table(*pair)
    assert (rows["two"]["efficiency"], rows["two"]["notes"]) == (pytest.approx(0.8), [])

    rows = table(pair[0], replace(pair[1], work={"model": "'larger'"}))
    assert rows["two"]["notes"] == [ladders.BY_SAMPLES]


def test_a_run_without_steps_has_no_numbers_and_the_next_one_is_the_base() -> None:
    rows = table(run("one", 1, None), run("two", 2, 5.0), run("four", 4, 2.5))

    assert rows["one"]["notes"] == ["no step of it was measured"]
    assert (rows["one"]["efficiency"], rows["two"]["scaling"], rows["four"]["speedup"]) == (None, "base", 2.0)


def test_what_is_missing_says_why() -> None:
    failed = replace(run("two", 2, None), state=State.FAILED, reason="gpu_oom: CUDA out of memory")
    waits = replace(run("four", 4, None), state=State.WAITING, reason="")
    begun = replace(run("eight", 8, None), state=State.RUNNING, problems=("its log has no report yet",))
    rows = table(run("one", 1, 8.0), failed, waits, begun)

    assert (rows["two"]["state"], rows["two"]["efficiency"]) == ("failed", None)
    assert rows["two"]["notes"] == ["failed: gpu_oom: CUDA out of memory", "no step of it was measured"]
    assert rows["four"]["notes"] == ["waiting", "no step of it was measured"]
    assert rows["eight"]["notes"] == ["its log has no report yet"]


def test_layouts_of_the_same_work_stand_beside_each_other() -> None:
    rows = table(
        *(
            run(name, 8, s, tflops=40 / s, layout={"strategy": name}, strategy=name)
            for name, s in (("a", 4.0), ("b", 2.0))
        )
    )

    assert (rows["a"]["scaling"], rows["b"]["base"], rows["b"]["speedup"]) == ("base", "a", 2.0)
    assert rows["b"]["serial_fraction"] is None


def test_a_grid_of_tensors_and_experts_is_compared_with_its_fewest_devices() -> None:
    grid = [(2, 2), (4, 2), (2, 1)]
    rows = table(
        *(run(f"{tp}x{ep}", tp * ep, 8.0, layout={"tp": str(tp), "ep": str(ep)}, tp=tp, ep=ep) for tp, ep in grid)
    )

    assert {row["base"] for row in rows.values()} == {"2x1"}


def test_models_that_split_by_different_numbers_are_ladders_of_their_own() -> None:
    dense = [run(f"dense{tp}", tp, 8.0, model="dense", tp=tp) for tp in (2, 4, 8)]
    experts = [run(f"moe{tp}", 2 * tp, 8.0, model="moe", tp=tp, ep=2) for tp in (2, 4)]

    assert [[one.job for one in found] for found in ladders.of([*dense, *experts])] == [
        ["dense2", "dense4", "dense8"],
        ["moe2", "moe4"],
    ]


def test_a_baseline_of_another_stage_is_the_base_where_it_does_the_same_work() -> None:
    baseline = run("baseline", 1, 8.0, stage="baseline")
    shared = [run(f"w{n}", n, 8.0 / n, layout={"strategy": "full"}) for n in (2, 4)]
    single = run("single", 1, 9.0, stage="single", layout={"strategy": "full"})
    other = replace(run("other", 1, 9.0, stage="other", layout={"strategy": "full"}), work={"model": "'else'"})
    rows = table(baseline, single, *shared, other)

    assert list(rows) == ["baseline", "single", "w2", "w4"]
    assert {row["base"] for row in rows.values()} == {"baseline"}
    assert rows["w4"]["speedup"] == 4.0


def test_the_whole_time_is_compared_where_all_of_the_work_is_the_same() -> None:
    def lasting(made: Run, seconds: float) -> Run:
        return replace(made, attempts=tuple(replace(each, lasted_s=seconds) for each in made.attempts))

    rows = table(
        lasting(run("one", 1, 8.0), 100.0),
        lasting(run("two", 2, 4.0), 80.0),
        lasting(run("four", 4, 2.0, batch=128), 50.0),
    )

    assert (rows["two"]["runtime_s"], rows["two"]["runtime_factor"], rows["two"]["samples_factor"]) == (80.0, 1.25, 2.0)
    assert rows["two"]["memory_factor"] == 1.0
    running = replace(lasting(run("two", 2, 4.0), 80.0), state=State.RUNNING)
    assert table(lasting(run("one", 1, 8.0), 100.0), running)["two"]["runtime_factor"] is None


def test_a_whole_time_of_which_a_part_was_lost_says_so() -> None:
    lost = Attempt(number=1, spoke_s=30.0)
    two = run("two", 2, 4.0)
    rows = table(run("one", 1, 8.0), replace(two, attempts=(lost, replace(two.attempts[0], number=2, lasted_s=50.0))))

    assert rows["two"]["runtime_s"] == 80.0
    assert rows["two"]["notes"] == [
        "attempt 1 did not say when it ended: the whole time counts up to the last that it wrote"
    ]


def test_a_program_that_tells_only_its_rate_has_an_efficiency_and_no_speed_up() -> None:
    def telling(job: str, devices: int, rate: float) -> Run:
        points = tuple(Point(iteration=n, loss=3.0, samples_per_s=rate) for n in range(1, 4))
        return replace(run(job, devices, None), attempts=(Attempt(number=1, points=points),), global_batch_size=None)

    rows = table(telling("one", 1, 10.0), telling("two", 2, 16.0))

    assert (rows["two"]["scaling"], rows["two"]["speedup"], rows["two"]["samples_per_s"]) == (None, None, 16.0)
    assert (rows["two"]["efficiency"], rows["two"]["samples_factor"]) == (0.8, 1.6)


def test_arguments_that_do_not_tell_the_work_make_no_base_of_another_stage() -> None:
    runs = (run("one", 1, 8.0, stage="a"), run("two", 2, 8.0, stage="b"))

    assert [len(found) for found in ladders.of([replace(each, work={}) for each in runs])] == []
