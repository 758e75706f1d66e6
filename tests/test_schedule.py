import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.schedule import FALLS, STYLES, Schedule, learning_rate

WSD = Schedule(lr=0.01, min_lr=0.001, warmup=0, decay=11, wsd_decay=3, style="WSD", wsd_style="linear")


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    lr = draw(st.floats(1e-6, 10))
    decay = draw(st.integers(2, 10**6))
    return Schedule(
        lr=lr,
        min_lr=draw(st.floats(0, lr)),
        warmup=draw(st.integers(0, decay - 1)),
        decay=decay,
        wsd_decay=draw(st.integers(0, decay)),
        style=draw(st.sampled_from(STYLES)),
        wsd_style=draw(st.sampled_from(sorted(FALLS))),
    )


def rates(schedule: Schedule, *samples: int) -> list[float]:
    return [learning_rate(schedule, at) for at in samples]


def test_a_cooldown_of_three_steps_falls_as_megatron_lm_logged_it() -> None:
    assert rates(WSD, 8, 9, 10, 11) == pytest.approx([0.01, 0.007, 0.004, 0.001])


def test_a_run_of_megatron_lm_logged_these_rates() -> None:
    # six iterations of four samples, one of warm-up, two of linear decay
    run = Schedule(lr=2e-2, min_lr=2e-3, warmup=4, decay=24, wsd_decay=8, style="WSD", wsd_style="linear")
    assert rates(run, 4, 8, 12, 16, 20, 24) == pytest.approx([2e-2, 2e-2, 2e-2, 2e-2, 1.1e-2, 2e-3])


@pytest.mark.parametrize(
    ("style", "halfway"),
    [("linear", 0.5), ("cosine", 0.5), ("exponential", math.sqrt(2) - 1), ("minus_sqrt", 1 - math.sqrt(0.5))],
)
def test_each_decay_has_its_own_middle(style: str, halfway: float) -> None:
    course = replace(WSD, lr=1.0, min_lr=0.0, decay=100, wsd_decay=50, wsd_style=style)
    assert learning_rate(course, 75) == pytest.approx(halfway)


@pytest.mark.parametrize(("style", "middle"), [("linear", 0.55), ("cosine", 0.55), ("constant", 1.0)])
def test_the_other_styles_decay_from_the_end_of_the_warm_up(style: str, middle: float) -> None:
    course = replace(WSD, lr=1.0, min_lr=0.1, warmup=20, decay=120, style=style)
    assert learning_rate(course, 70) == pytest.approx(middle)


@given(schedules(), st.integers(0, 2 * 10**6))
def test_after_the_warm_up_the_rate_stays_between_its_bounds(schedule: Schedule, samples: int) -> None:
    rate = learning_rate(schedule, schedule.warmup + samples)
    assert schedule.min_lr <= rate * (1 + 1e-12)
    assert rate <= schedule.lr * (1 + 1e-12)


@given(schedules(), st.integers(0, 2 * 10**6), st.integers(0, 10**6))
def test_after_the_warm_up_the_rate_never_rises(schedule: Schedule, samples: int, more: int) -> None:
    earlier = learning_rate(schedule, schedule.warmup + samples)
    assert learning_rate(schedule, schedule.warmup + samples + more) <= earlier * (1 + 1e-12)


@given(schedules(), st.data())
def test_the_warm_up_is_linear_from_zero(schedule: Schedule, data: st.DataObject) -> None:
    course = replace(schedule, warmup=max(1, schedule.warmup))
    at = data.draw(st.integers(0, course.warmup))
    assert learning_rate(course, at) == pytest.approx(course.lr * at / course.warmup)


@given(schedules())
def test_past_the_decay_every_falling_style_stays_at_its_lowest(schedule: Schedule) -> None:
    lowest = schedule.lr if schedule.style == "constant" else schedule.min_lr
    assert rates(schedule, schedule.decay + 1, 10 * schedule.decay) == [lowest, lowest]


@given(schedules(), st.data())
def test_wsd_is_constant_until_its_decay(schedule: Schedule, data: st.DataObject) -> None:
    course = replace(schedule, style="WSD", warmup=0)
    at = data.draw(st.integers(0, course.decay - course.wsd_decay))
    assert learning_rate(course, at) == pytest.approx(course.lr, rel=1e-12)


@given(schedules(), st.integers(1, 10**6), st.data())
def test_a_cooldown_shares_the_stable_phase_of_a_longer_run(
    schedule: Schedule, longer: int, data: st.DataObject
) -> None:
    short = replace(schedule, style="WSD", warmup=min(schedule.warmup, schedule.decay - schedule.wsd_decay))
    long = replace(short, decay=short.decay + longer)
    at = data.draw(st.integers(0, short.decay - short.wsd_decay))
    assert learning_rate(short, at) == learning_rate(long, at)
