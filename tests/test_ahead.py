import threading
from functools import partial

import pytest

from autoexp.ahead import ahead


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_calls(count: int) -> None:
    assert list(ahead([partial(int, n) for n in range(count)])) == list(range(count))


def test_the_next_call_is_made_while_a_result_is_dealt_with() -> None:
    called = threading.Event()
    results = ahead([lambda: None, called.set])

    next(results)

    assert called.wait(timeout=30)


def test_what_goes_wrong_is_raised_where_its_result_is_due() -> None:
    results = ahead([partial(int, "1"), partial(int, "x")])

    assert next(results) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(results)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = ahead([lambda: 1, lambda: 2, lambda: 3])

    next(results)
    results.close()  # type: ignore[attr-defined]

    assert threading.active_count() == before
