"""Calling what takes its time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from autoexp.clients import Call, at_once, in_background


def fail() -> None:
    raise OSError("broken")


def test_what_is_called_at_once_is_done_when_the_call_returns() -> None:
    assert at_once(lambda: 7).done()


def test_nobody_waits_for_what_is_called_in_the_background() -> None:
    go = threading.Event()

    coming = in_background(lambda: go.wait(30) and threading.current_thread().daemon)

    assert not coming.done()
    go.set()
    assert coming.result(30) is True, "and it ends with the process"


@pytest.mark.parametrize("call", [at_once, in_background])
def test_an_exception_is_raised_where_the_result_is_asked_for(call: Call) -> None:
    coming: Future[Any] = call(fail)

    with pytest.raises(OSError, match="broken"):
        coming.result(30)


def test_results_come_back_in_any_order() -> None:
    gates = [threading.Event() for _ in range(3)]
    works: list[Callable[[], int]] = [lambda n=n: gates[n].wait(30) and n for n in range(3)]  # type: ignore[misc]
    coming = [in_background(work) for work in works]

    for number in (2, 0, 1):
        gates[number].set()
        assert coming[number].result(30) == number
