"""Reads pickles without running anything they contain.

A pickle is a program: it may import and call what it likes. The unpickler here hands out a harmless class for
every name a pickle asks for, so plain data (numbers, strings, lists, dictionaries) comes through, and what
else there is becomes an `Inert` that only remembers what it was given.
"""

import gc
import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Self


class NotWholeError(Exception):
    """A file that is absent, cut short or damaged; the text says which and how."""


class Inert:
    """Stands in for whatever a pickle names: keeps its arguments and its state, and does nothing."""

    named: ClassVar[str] = ""
    """What the pickle asked for, as module.name."""
    args: tuple[object, ...] = ()
    state: object = None

    def __new__(cls, *args: object, **_kwargs: object) -> Self:
        """Take any arguments."""
        self = super().__new__(cls)
        self.args = args
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Take an item, as a mapping would."""

    def append(self, item: object) -> None:
        """Take an item, as a list would."""

    extend = add = append


class Stored(Inert):
    """Stands in for what a pickle keeps outside of itself; its only argument is the reference."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, classes: Mapping[str, type]) -> None:
        super().__init__(io.BytesIO(data))
        self._classes: dict[str, type] = {"collections.OrderedDict": OrderedDict, **classes}

    def find_class(self, module: str, name: str, /) -> type:
        """Import nothing: a mapping that keeps its order, or a stand-in of that name."""
        named = f"{module}.{name}"
        if named not in self._classes:
            self._classes[named] = type("Inert", (Inert,), {"named": named})
        return self._classes[named]

    def persistent_load(self, reference: object, /) -> Stored:
        """Leave a tensor's data where it is."""
        return Stored(reference)


def unpickle(data: bytes, label: str, classes: Mapping[str, type] | None = None) -> object:
    """Return what a pickle holds, with stand-ins for all that is not plain data.

    `classes` are the caller's own harmless ones, by the name that a pickle asks for.

    Raises:
        NotWholeError: The pickle is damaged; `label` names it in the text.
    """
    try:
        with uncollected():
            return _Unpickler(data, classes or {}).load()
    except Exception as error:  # a damaged or hostile pickle may raise anything at all
        raise NotWholeError(f"{label} cannot be unpickled: {type(error).__name__}: {error}") from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage while a great many objects are made that stay: looking takes longer than making them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def same(one: object, other: object) -> bool:
    """Compare two values; stand-ins for the same thing that were given the same are the same."""
    try:
        if isinstance(one, Inert) and isinstance(other, Inert):
            return one.named == other.named and same((one.args, one.state), (other.args, other.state))
        if isinstance(one, type) and isinstance(other, type):
            return bool(getattr(one, "named", one) == getattr(other, "named", other))
        if isinstance(one, list | tuple) and isinstance(other, list | tuple):
            return len(one) == len(other) and all(same(*each) for each in zip(one, other, strict=True))
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        return type(one) is type(other) and (bool(one == other) or (one != one and other != other))  # noqa: PLR0124
    except RecursionError:  # no save has values within values to that depth
        return False


def state_of(value: object) -> dict[str, object]:
    """Return the attributes a stand-in was given; empty when it was given none, or is none."""
    state = value.state if isinstance(value, Inert) else None
    return state if isinstance(state, dict) else {}
