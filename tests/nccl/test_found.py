import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.nccl.found import Half, Log, Row, Run, Sweep


def halves(*pairs: tuple[float, float]) -> list[Row]:
    return [
        Row(size_bytes=1 << number, halves=(Half(algbw_gbps=algbw, busbw_gbps=busbw),))
        for number, (algbw, busbw) in enumerate(pairs)
    ]


@given(ranks=st.integers(1, 64), algbw=st.floats(50, 500), moves=st.sampled_from([1, 2]))
def test_the_ratio_of_the_bandwidths_never_excludes_the_ranks_that_made_it(
    ranks: int, algbw: float, moves: int
) -> None:
    busbw = algbw * moves * (ranks - 1) / ranks
    if ranks == 2 and moves == 2:
        busbw = algbw
    low, high = Run(rows=halves((round(algbw, 2), round(busbw, 2)))).implied_ranks()

    assert low <= ranks <= high or moves == 1


@pytest.mark.parametrize(("algbw", "busbw", "ranks"), [(47.94, 92.89, 32), (247.77, 464.57, 16), (134.58, 235.51, 8)])
def test_real_rows_leave_no_doubt_of_their_ranks(algbw: float, busbw: float, ranks: int) -> None:
    assert Log().ranks(Run(rows=halves((algbw, busbw)))) == ranks


def test_an_all_gather_s_ratio_is_below_one() -> None:
    assert Log().ranks(Run(rows=halves((100.0, 93.75)))) == 16


@pytest.mark.parametrize("busbw", [math.nan, math.inf])
def test_no_number_says_nothing_of_the_ranks(busbw: float) -> None:
    assert Run(rows=halves((100.0, busbw))).implied_ranks() == (1.0, math.inf)


def test_rows_of_slow_small_sizes_say_too_little() -> None:
    assert Log().ranks(Run(rows=halves((0.02, 0.02)))) is None
    assert Log().ranks(Run()) is None


def test_large_numbers_are_printed_with_fewer_decimals() -> None:
    low, high = Run(rows=halves((12345.0, 23147.4))).implied_ranks()

    assert low < 16 < high


@pytest.mark.parametrize(
    ("first", "last", "step", "by_factor", "count"),
    [(8, 64, 2, True, 4), (8, 65, 2, True, 4), (8, 64, 8, False, 8), (8, 8, 0, False, 1), (0, 8, 2, True, 1)],
)
def test_sizes_are_counted_as_the_tool_does(first: int, last: int, step: int, *, by_factor: bool, count: int) -> None:
    assert Sweep(first_bytes=first, last_bytes=last, step=step, by_factor=by_factor).count() == count


def test_a_test_is_thinned_where_its_sizes_follow_no_rule() -> None:
    def thinned(*sizes: int) -> bool:
        return Run(rows=[Row(size_bytes=size, halves=()) for size in sizes]).is_thinned()

    assert thinned(8, 16, 64)
    assert not thinned(8, 16, 32)
    assert not thinned(8, 16, 24, 32)
    assert not thinned(8)
    assert not thinned(0, 0, 0)
