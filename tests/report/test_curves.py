import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.report import curves
from autoexp.report.curves import Curve, Mark
from autoexp.report.results import Run, read
from autoexp.report.series import Attempt, Point


def curve(*losses: float | None, cooldown: bool = False) -> Curve:
    tokens = tuple(100 * number for number in range(1, len(losses) + 1))
    return Curve(job="a", family=0, is_cooldown=cooldown, tokens=tokens, raw=losses, smooth=None)


def noisy(number: int) -> list[float]:
    rng = random.Random(1)  # noqa: S311 - noise, no secret
    return [3 + 5 / (i + 2) + rng.gauss(0, 0.05) for i in range(number)]


def test_a_cooldown_leaves_its_parents_curve_at_the_branch(ladder: Any) -> None:
    pretrain, cooldown = curves.loss_curves(read(ladder))
    assert (pretrain.start, pretrain.is_cooldown) == (None, False)
    assert cooldown.start is not None
    assert cooldown.start == pytest.approx((600 * 512, 2 + 40 / 605))
    assert cooldown.tokens[0] == 610 * 512
    assert (cooldown.is_cooldown, cooldown.family) == (True, pretrain.family)


def test_a_run_without_a_loss_or_without_tokens_has_no_curve(maker: Any) -> None:
    maker.losses(maker.train("nothing"), {10: None})
    maker.losses(maker.train("unknown", seq_length=None), {10: 2.0})
    assert curves.loss_curves(read(maker.study())) == []


def test_a_cooldown_whose_parent_has_no_curve_starts_at_its_own_first_report(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600)
    maker.losses("cooldown", {610: 2.0, 620: 1.9})
    (made,) = curves.loss_curves(read(maker.study()))
    assert made.start is None


def test_a_curve_is_read_between_its_points() -> None:
    made = curve(3.0, None, 2.0)
    assert [made.at(x) for x in (100, 200, 300, 400, 50)] == [3.0, 2.5, 2.0, 2.0, None]


def test_a_curve_that_ends_without_a_number_has_diverged() -> None:
    assert curve(3.0, None).diverged
    assert not curve(None, 3.0).diverged


def test_noise_is_told_from_a_course() -> None:
    assert curves.is_noisy(noisy(100))
    assert not curves.is_noisy([3 + 5 / (i + 2) for i in range(100)])
    assert not curves.is_noisy([1.0, 2.0, 1.0])
    assert not curves.is_noisy([None] * 50)


def test_smoothing_comes_closer_to_the_course_also_at_the_ends() -> None:
    raw = noisy(400)
    course = [3 + 5 / (i + 2) for i in range(400)]
    smooth = curves.smoothed(raw, range(400), range(1, 401))
    for part in (slice(0, 400), slice(380, 400)):
        was = [abs(a - b) for a, b in zip(raw[part], course[part], strict=True)]
        now = [abs(a - b) for a, b in zip(smooth[part], course[part], strict=True) if a is not None]
        assert sum(now) < 0.6 * sum(was)


def test_smoothing_leaves_the_first_steps_alone() -> None:
    raw: list[float | None] = [10.0, 7.0, 5.0, 4.5, 4.2, 4.1, 4.05, 4.0]
    assert curves.smoothed(raw, [0], range(1, 9))[0] == pytest.approx(10.0)


@given(st.lists(st.none() | st.floats(0, 20), min_size=1, max_size=60))
def test_smoothing_keeps_gaps_and_makes_no_numbers_of_its_own(raw: list[float | None]) -> None:
    smooth = curves.smoothed(raw, range(len(raw)), range(1, len(raw) + 1))
    assert [value is None for value in smooth] == [value is None for value in raw]
    assert all(value is None or math.isfinite(value) for value in smooth)


@given(st.integers(1, 5000))
def test_thinning_keeps_both_ends_and_the_order(number: int) -> None:
    kept = curves.thinned(number)
    assert (kept[0], kept[-1]) == (0, number - 1)
    assert kept == sorted(set(kept))
    assert len(kept) <= curves.MOST_POINTS


def test_the_steep_first_steps_do_not_flatten_the_rest() -> None:
    limits = curves.loss_limits([curve(*(2 + 8 / i**2 for i in range(1, 101)))], [])
    assert limits is not None
    assert limits[0] < 2 < limits[1] < 3


def test_a_loss_that_falls_evenly_is_shown_whole() -> None:
    assert curves.loss_limits([curve(4.0, 3.0, 2.0)], []) == pytest.approx((1.9, 4.1))


def test_held_out_losses_are_always_in_the_picture() -> None:
    mark = Mark(family=0, is_cooldown=False, tokens=100, loss=9.0)
    limits = curves.loss_limits([curve(*(2 + 8 / i**2 for i in range(1, 101)))], [mark])
    assert limits is not None
    assert limits[1] > 9


def test_equal_losses_still_have_a_range_and_no_losses_have_none() -> None:
    low, high = curves.loss_limits([curve(2.0, 2.0)], []) or (0, 0)
    assert low < 2 < high
    assert curves.loss_limits([], []) is None


def test_marks_are_the_held_out_losses_that_are_known(maker: Any) -> None:
    maker.train("pretrain")
    maker.evaluate("pretrain", 200, 2.0)
    maker.evaluate("pretrain", 400, b"torn")
    assert [(mark.tokens, mark.loss) for mark in curves.marks(read(maker.study()))] == [(200 * 512, 2.0)]


def run(job: str, **values: Any) -> Run:
    return Run(job=job, stage=job.split("-", maxsplit=1)[0], values=values, family=job)


def results(maker: Any, *runs: Run) -> Any:
    return replace(read(maker.study()), runs=runs)


def test_bars_hold_the_median_and_the_middle_of_the_reports(maker: Any) -> None:
    points = tuple(Point(iteration=i, seconds=1 / i, global_batch_size=1) for i in range(1, 12))
    made = replace(run("pretrain"), attempts=(Attempt(number=1, points=points),), seq_length=1)
    (bar,) = curves.bars(results(maker, made, run("waiting")))
    assert (bar.low, bar.median, bar.high) == pytest.approx((3.8, 7, 10.2))


def test_one_report_makes_a_bar_without_a_spread(maker: Any) -> None:
    points = (Point(iteration=1, seconds=0.5, global_batch_size=1),)
    made = replace(run("pretrain"), attempts=(Attempt(number=1, points=points),), seq_length=1)
    (bar,) = curves.bars(results(maker, made))
    assert (bar.low, bar.median, bar.high) == (2, 2, 2)


def test_families_are_named_by_what_they_differ_in(maker: Any) -> None:
    runs = [run(f"p-{model}-{lr}", model=model, lr=lr, seed=1) for model in ("10M", "25M") for lr in (0.01, 0.001)]
    named = curves.family_labels(results(maker, *runs))
    assert named == ["10M, lr 0.01", "10M, lr 0.001", "25M, lr 0.01", "25M, lr 0.001"]


def test_families_with_nothing_to_tell_them_apart_are_named_by_their_jobs(maker: Any) -> None:
    assert curves.family_labels(results(maker, run("a", lr=1), run("b", lr=1))) == ["a", "b"]
    assert curves.family_labels(results(maker, run("only"))) == ["only"]


@given(st.text(), st.text())
def test_names_are_made_of_letters_that_every_font_has_and_no_legend_hides(stage: str, text: str) -> None:
    made = Run(job=stage, stage=stage, values={"text": text}, family=stage)
    label = curves.run_label(made)
    assert label.replace("…", "").isascii()
    assert not label.startswith("_")
    assert "$" not in label


def test_long_names_are_cut() -> None:
    assert len(curves.run_label(run("p" * 180))) <= curves.LONGEST_LABEL
