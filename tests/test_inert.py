import contextlib
import pickle
import sys
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import inert


def test_a_foreign_class_becomes_an_inert_stand_in_and_nothing_is_imported() -> None:
    before = set(sys.modules)

    value = inert.unpickle(b"cantigravity\nfly\n)R.", "x")

    assert isinstance(value, inert.Inert)
    assert inert.state_of(value) == {}
    assert set(sys.modules) == before


def test_a_stand_in_keeps_the_state_of_the_object_it_replaces() -> None:
    error = OSError("x")
    error.extra = 3  # type: ignore[attr-defined]

    assert inert.state_of(inert.unpickle(pickle.dumps(error), "x")) == {"extra": 3}
    assert inert.state_of("plain") == {}


def test_a_damaged_pickle_is_named_in_the_error() -> None:
    with pytest.raises(inert.NotWholeError, match="shard cannot be unpickled"):
        inert.unpickle(b"", "shard")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(value=plain)
def test_plain_data_comes_through_unchanged(value: object) -> None:
    assert inert.unpickle(pickle.dumps(value), "x") == value
    assert inert.unpickle(pickle.dumps(OrderedDict(key=value)), "x") == {"key": value}


@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_one_error(data: bytes) -> None:
    with contextlib.suppress(inert.NotWholeError):
        inert.unpickle(data, "x")


def test_values_are_the_same_where_their_stand_ins_stand_for_the_same() -> None:
    def read(value: object) -> object:
        return inert.unpickle(pickle.dumps(value), "x")

    value = {"a": [1, (2.0, float("nan"))], "kind": OSError, "one": OSError("x"), "text": "t"}

    assert inert.same(read(value), read(value))
    others = ({"a": [1, (2.0, 3.0)]}, {"kind": ValueError}, {"one": OSError("y")}, {"text": None}, {"b": 1})
    for other in others:
        assert not inert.same(read(value), read({**value, **other})), other
    nested: list[object] = []
    nested.append(nested)
    assert not inert.same(nested, [nested])
