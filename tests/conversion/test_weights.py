from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.conversion.weights import Piece, Weight, join

FILE = Path("file")
SIZES = st.integers(1, 4)


def whole(shape: tuple[int, ...], start: int = 0) -> Weight:
    return Weight("float32", shape, (Piece(FILE, 4 * start, (0,) * len(shape), shape),))


def values(weight: Weight) -> np.ndarray:
    """Read a weight out of a file whose elements are counted."""
    found = np.full(weight.shape, -1)
    for piece in weight.pieces:
        first = piece.start_bytes // 4
        place = tuple(slice(o, o + s) for o, s in zip(piece.offset, piece.shape, strict=True))
        found[place] = np.arange(first, first + int(np.prod(piece.shape))).reshape(piece.shape)
    return found


@given(rows=SIZES, columns=SIZES, data=st.data())
def test_rows_are_those_of_the_array(rows: int, columns: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, rows))
    last = data.draw(st.integers(first, rows))
    weight = whole((rows, columns))

    assert (values(weight.rows(first, last)) == values(weight)[first:last]).all()


@given(shape=st.tuples(SIZES, SIZES, SIZES), data=st.data())
def test_an_entry_of_the_first_axis_is_that_of_the_array(shape: tuple[int, int, int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, shape[0] - 1))

    taken = whole(shape).at(index)

    assert taken.shape == shape[1:]
    assert (values(taken) == values(whole(shape))[index]).all()


@given(rows=SIZES, columns=SIZES, axis=st.integers(0, 1), count=st.integers(1, 3))
def test_what_is_joined_lies_beside_each_other(rows: int, columns: int, axis: int, count: int) -> None:
    parts = [whole((rows, columns), start=100 * number) for number in range(count)]

    joined = join(parts, axis)

    assert joined.is_whole()
    assert (values(joined) == np.concatenate([values(part) for part in parts], axis)).all()


def test_what_does_not_fit_together_is_not_joined() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\], \[2, 4\] do not fit"):
        join([whole((2, 3)), whole((2, 4))])


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((), id="none"),
        pytest.param((Piece(FILE, 0, (0, 0), (1, 3)),), id="a hole"),
        pytest.param((Piece(FILE, 0, (0, 0), (1, 3)), Piece(FILE, 0, (0, 0), (1, 3))), id="the same twice"),
        pytest.param((Piece(FILE, 0, (0, 0), (1, 3)), Piece(FILE, 0, (1, 1), (1, 3))), id="outside"),
        pytest.param((Piece(FILE, 0, (0, 0), (2, 2)), Piece(FILE, 0, (1, 1), (1, 2))), id="one upon another"),
    ],
)
def test_pieces_that_do_not_cover_a_tensor_are_noticed(pieces: tuple[Piece, ...]) -> None:
    assert whole((2, 3)).is_whole()
    assert not Weight("float32", (2, 3), pieces).is_whole()
