"""Calling the clients of a batch scheduler, which may take their time, without waiting for them."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol


class Call(Protocol):
    """Starts some work; its result, or its exception, is the future's."""

    def __call__(self, work: Callable[[], Any]) -> "Future[Any]":
        """Start it."""


def at_once(work: Callable[[], Any]) -> "Future[Any]":
    """Do it right now, for a scheduler that answers at once."""
    done: Future[Any] = Future()
    _do(work, done)
    return done


def in_background(work: Callable[[], Any]) -> "Future[Any]":
    """Do it in a thread of its own, which ends with the process: what it leaves undone is found out by the next one."""
    coming: Future[Any] = Future()
    Thread(target=_do, args=(work, coming), daemon=True, name="scheduler's client").start()
    return coming


def _do(work: Callable[[], Any], result: "Future[Any]") -> None:
    try:
        result.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
        result.set_exception(error)
