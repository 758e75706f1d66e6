import time

from autoexp import clock


def test_it_tells_the_time_of_day() -> None:
    assert abs(clock.now() - time.time()) < 1.0


def test_it_runs_as_the_steady_clock_does() -> None:
    began, steady = clock.now(), time.clock_gettime(time.CLOCK_BOOTTIME)
    while time.clock_gettime(time.CLOCK_BOOTTIME) - steady < 0.05:
        pass

    assert abs((clock.now() - began) - (time.clock_gettime(time.CLOCK_BOOTTIME) - steady)) < 0.02


def test_it_may_be_told_by_somebody_else_for_a_while() -> None:
    with clock.simulated(lambda: 12.3456789):
        assert clock.now() == 12.345679

    assert abs(clock.now() - time.time()) < 1.0


def test_it_never_goes_back() -> None:
    told = [clock.now() for _ in range(1000)]

    assert told == sorted(told)
