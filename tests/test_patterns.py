import re
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from autoexp import patterns
from autoexp.patterns import TooSlow, problem, search

RUNAWAY = "(a+)+$"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.05)
    yield
    patterns._given_up.clear()


def test_a_line_is_searched_as_by_pythons_own_engine() -> None:
    found = search("loss: (?P<loss>[0-9.]+)", "lm loss: 3.25 |")

    assert found is not None
    assert found["loss"] == "3.25"
    assert search("nan", "lm loss: 3.25 |") is None
    with pytest.raises(re.error):
        search("(", "")


def test_a_search_without_end_is_ended_and_not_begun_again() -> None:
    with pytest.raises(TooSlow):
        search(RUNAWAY, "a" * 64 + "!")
    began = time.process_time()
    with pytest.raises(TooSlow):
        search(RUNAWAY, "b")

    assert time.process_time() - began < patterns.LIMIT_S
    said = problem(RUNAWAY)
    assert said is not None
    assert said.startswith("'(a+)+$' took more than")
    assert problem("a") is None


def test_a_signal_that_comes_when_a_search_is_over_harms_nothing() -> None:
    search("a", "a")

    signal.raise_signal(signal.SIGVTALRM)

    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_another_thread_searches_without_a_limit() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(search("b", "abc")))
    thread.start()
    thread.join()

    assert found[0] is not None
