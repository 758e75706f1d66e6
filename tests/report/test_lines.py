from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from autoexp.report import lines
from autoexp.report.lines import Spread
from autoexp.report.results import Results, Run
from autoexp.scaling import interval
from tests.report.test_ladders import run


def results(*runs: Run) -> Results:
    return Results(study=None, runs=tuple(replace(each, family=each.job) for each in runs))  # type: ignore[arg-type]


def test_a_ladder_is_a_line_with_its_ideal_and_its_efficiency() -> None:
    (line,) = lines.lines(results(run("one", 1, 8.0), run("two", 2, 5.0, tflops=8.0), run("four", 4, None)))

    assert line.rates == ((1, 64 * 128 / 8), (2, 64 * 128 / 5))
    assert (line.ideal(1), line.ideal(4)) == (1024.0, 4096.0)
    assert [devices for devices, _ in line.efficiencies] == [1, 2]
    assert line.efficiencies[1][1] == pytest.approx(0.8)
    assert (line.label, line.family) == ("train", 2)


def test_lines_are_told_apart_by_what_their_runs_share() -> None:
    runs = [run(f"{size}{n}", n, 8.0 / n, model=size, width=8) for size in ("s", "l") for n in (1, 2)]

    assert [line.label for line in lines.lines(results(*runs))] == ["s", "l"]
    other = [replace(each, job=f"{each.job}x", stage="other") for each in runs[:2]]
    assert [line.label for line in lines.lines(results(*runs, *other))] == ["train s", "train l", "other"]


def test_of_several_on_as_many_devices_the_line_has_the_fastest() -> None:
    layouts: dict[str, Any] = {name: {"layout": {"s": name}, "strategy": name} for name in ("a", "b")}
    base = run("base", 1, 8.0, stage="baseline")
    (line,) = lines.lines(results(base, run("a", 4, 4.0, **layouts["a"]), run("b", 4, 2.0, **layouts["b"])))

    assert [devices for devices, _ in line.rates] == [1, 4]
    assert line.rates[1] == (4, 64 * 128 / 2)
    assert line.others == ((4, 64 * 128 / 4),)


def test_ladders_that_differ_in_a_seed_are_one_line_of_means_with_their_intervals() -> None:
    runs = [run(f"{n}-{seed}", n, 8.0 / n + late, seed=seed) for seed, late in ((1, 0.0), (2, 1.0)) for n in (1, 2)]

    (line,) = lines.lines(results(*runs))

    ones, twos = [64 * 128 / 8, 64 * 128 / 9], [64 * 128 / 4, 64 * 128 / 5]
    assert line.label == "train"
    assert line.rates == ((1, fmean(ones)), (2, fmean(twos)))
    assert line.others == ()
    assert line.rate_halves == {1: interval(ones)[1], 2: interval(twos)[1]}
    assert set(line.efficiency_halves) == {1, 2}


def test_a_number_of_devices_that_one_repeat_alone_has_has_no_interval() -> None:
    runs = [
        run(f"{n}-{seed}", n, 8.0 / n, seed=seed) for seed, most in ((1, 4), (2, 2)) for n in (1, 2, 4) if n <= most
    ]

    (line,) = lines.lines(results(*runs))

    assert [devices for devices, _ in line.rates] == [1, 2, 4]
    assert set(line.rate_halves) == {1, 2}


def test_the_unit_is_one_that_all_runs_have() -> None:
    pair = run("one", 1, 8.0), run("two", 2, 4.0)
    lengthless = [replace(each, seq_length=None) for each in pair]
    batchless = [replace(each, seq_length=None, global_batch_size=None) for each in pair]

    assert lines.unit(results(*pair)) == "tokens per second"
    assert lines.unit(results(*lengthless)) == "samples per second"
    assert lines.unit(results(*batchless)) == "TFLOP/s of all devices"
    assert lines.lines(results(*lengthless))[0].rates == ((1, 8.0), (2, 16.0))
    assert lines.lines(results(*batchless))[0].rates == ((1, 10.0), (2, 20.0))


def test_memory_and_steps_are_those_of_the_compared_runs() -> None:
    found = results(run("one", 1, 8.0), run("two", 2, 4.0), replace(run("alone", 2, 4.0), work={}, stage="other"))

    assert [each.values for each in lines.memory(found)] == [(1.0, 3.0)] * 2
    assert [set(each.values) for each in lines.steps(found)] == [{8.0}, {4.0}]


def test_a_box_holds_the_middle_of_the_values() -> None:
    spread = Spread(label="a", family=0, values=tuple(map(float, range(101))))

    assert spread.box == pytest.approx((5, 25, 50, 75, 95))
    assert Spread(label="a", family=0, values=(2.0,)).box == (2.0,) * 5
