"""Frozen values to JSON and back: what is a default is left out, what is unknown is refused.

Both directions are driven by the dataclass's own annotations, so a field is declared once.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_PLAIN = frozenset({str, int, float, bool, NoneType})


def encode(value: Any) -> Any:
    """Turn a value into what `json.dumps` takes; a dataclass becomes a mapping without its default fields."""
    kind = type(value)
    if kind in _PLAIN:  # nearly all are, and asking what else they are takes long
        return value
    if (defaults := _defaults(cast(Hashable, kind))) is not None:
        made = {}
        for name, default in defaults:
            field = getattr(value, name)
            if field is not default and field != default:
                made[name] = encode(field)
        return made
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], data: object) -> T:
    """Build a value of `kind` from what `encode` made of it.

    Raises:
        ValueError: the data has a field that `kind` does not know, or a value that does not fit.
    """
    decoder: Callable[[object], T] = _decoder(cast(Hashable, kind))
    try:
        return decoder(data)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"this is no {getattr(kind, '__name__', kind)}: {error}") from error


@cache
def _defaults(kind: Any) -> tuple[tuple[str, object], ...] | None:
    """List a dataclass's fields with their defaults; None for what is no dataclass."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple((field.name, _default(field)) for field in dataclasses.fields(kind))


def _default(field: "dataclasses.Field[Any]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _optional_decoder(arguments)
    if origin is tuple:
        item = _decoder(arguments[0])
        return lambda data: tuple(item(entry) for entry in data)
    if origin is not None and issubclass(origin, Mapping):
        key, item = (_decoder(argument) for argument in arguments)
        if key is item is _as_it_is:
            return dict
        return lambda data: {key(k): item(v) for k, v in data.items()}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind
    return _as_it_is


def _optional_decoder(arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    kinds = [argument for argument in arguments if argument is not NoneType]
    if len(kinds) != 1:
        return _as_it_is  # JSON itself
    inner = _decoder(kinds[0])
    return inner if inner is _as_it_is else lambda data: None if data is None else inner(data)


def _as_it_is(data: Any) -> Any:
    return data


def _dataclass_decoder(kind: Any) -> Callable[[Any], Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    changing: dict[str, Any] | None = None

    def decoder(data: Any) -> Any:
        nonlocal changing
        if changing is None:
            hints = get_type_hints(kind)
            decoders = {name: _decoder(hints[name]) for name in names}
            changing = {name: found for name, found in decoders.items() if found is not _as_it_is}
        if not isinstance(data, Mapping):
            raise ValueError(f"{kind.__name__} is written as a mapping, not as {type(data).__name__}")  # noqa: TRY004 - bad data, not a bad call
        unknown = data.keys() - names
        if unknown:
            raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        return kind(**{name: changing[name](value) if name in changing else value for name, value in data.items()})

    return decoder
