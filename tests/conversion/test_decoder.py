from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autoexp.conversion import decoder
from autoexp.conversion.outputs import Inventory
from autoexp.conversion.traits import Traits
from autoexp.conversion.weights import Piece, Weight

FILE = Path("f")


def sizes(heads: int, groups: int, head: int, layers: int, *, tied: bool) -> Traits:
    return Traits(
        hidden=7, ffn=11, layers=layers, heads=heads * groups, groups=groups, head=head, vocab=13, positions=5,
        norm="RMSNorm", norm_epsilon=1e-5, one_centred=False, rotary=True, rotary_base=1e4, rotary_percent=1.0,
        rope_scaling=None, gated=True, activation="silu", qkv_bias=False, out_bias=False, mlp_bias=False,
        qk_norm=False, window=None, experts=0, experts_per_token=0, tied=tied, dtype="float32",
    )  # fmt: skip


class Counted(dict[str, Weight]):
    """Has whatever weight is asked for, and each element has a place of its own."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        at = 0
        for name, shape in shapes.items():
            self[name] = Weight("float32", shape, (Piece(FILE, at, (0,) * len(shape), shape),))
            at += 4 * count(shape)
        self.elements = at // 4


def count(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


@given(heads=st.integers(1, 4), groups=st.integers(1, 4), head=st.integers(1, 5), layers=st.integers(1, 3))
def test_every_element_of_the_source_is_used_exactly_once(heads: int, groups: int, head: int, layers: int) -> None:
    traits = sizes(heads, groups, head, layers, tied=False)
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (13, 7),
        "final_norm.weight": (7,),
        "output.weight": (13, 7),
    }
    for layer in range(layers):
        shapes |= {
            f"layers.{layer}.attention_norm.weight": (7,),
            f"layers.{layer}.attention.qkv.weight": ((heads * groups + 2 * groups) * head, 7),
            f"layers.{layer}.attention.out.weight": (7, heads * groups * head),
            f"layers.{layer}.mlp_norm.weight": (7,),
            f"layers.{layer}.mlp.fc1.weight": (22, 7),
            f"layers.{layer}.mlp.fc2.weight": (7, 11),
        }
    weights = Counted(shapes)
    inventory = Inventory(weights)

    used: Counter[int] = Counter()
    for output in decoder.outputs(traits, inventory):
        assert output.weight.is_whole()
        for piece in output.weight.pieces:
            used.update(range(piece.start_bytes // 4, piece.start_bytes // 4 + count(piece.shape)))

    inventory.check_all_used()
    assert used == Counter(range(weights.elements))
