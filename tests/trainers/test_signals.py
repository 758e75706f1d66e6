"""The signals that ask a training to end."""

import os
import signal
from collections.abc import Iterator

import pytest

from autoexp.trainers.signals import Signals


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_is_remembered_and_ends_nothing(number: signal.Signals) -> None:
    signals = Signals()
    before = signals.received

    os.kill(os.getpid(), number)

    assert (before, signals.received) == (False, True)
