from pathlib import Path

import pytest

from autoexp.conversion.outputs import Inventory, Output
from autoexp.conversion.weights import Piece, Weight
from autoexp.errors import AutoexpError


def weight(*shape: int) -> Weight:
    return Weight("float32", shape, (Piece(Path("f"), 0, (0,) * len(shape), shape),))


def test_a_weight_that_is_missing_of_another_shape_or_full_of_holes_is_refused_by_its_name() -> None:
    inventory = Inventory({"a": weight(2, 3), "holes": Weight("float32", (2, 3), ())})

    assert inventory.take("a", (2, 3)) == weight(2, 3)
    for name, shape, what in (("b", (2, 3), "b is missing"), ("a", (3, 2), "a has shape"), ("holes", (2, 3), "holes")):
        with pytest.raises(AutoexpError, match=what):
            inventory.take(name, shape)


def test_what_would_be_left_out_is_refused_by_its_name() -> None:
    inventory = Inventory({"a": weight(1), "b": weight(1), "c": weight(1)})
    inventory.take("b", (1,))

    with pytest.raises(AutoexpError, match="a and 1 more would be left out"):
        inventory.check_all_used()


def test_a_transposed_tensor_has_the_other_shape() -> None:
    assert Output(name="x", weight=weight(2, 3), transposed=True).shape == (3, 2)
