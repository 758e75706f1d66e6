"""Doing one thing while the next is prepared."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def ahead(calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Yield what each call returns; the next one is made in a thread while its predecessor's result is dealt with."""
    if len(calls) <= 1:
        yield from (call() for call in calls)
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - slow to load, and mostly not needed

    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(calls[0])
        for call in calls[1:]:
            found, coming = coming.result(), pool.submit(call)
            yield found
        yield coming.result()
