"""What a conversion is to write: every tensor's name, shape and source, known before one is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.conversion.source import refused
from autoexp.conversion.traits import Traits
from autoexp.conversion.weights import Weight, join


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One tensor of the result."""

    name: str
    weight: Weight
    transposed: bool = False
    plus_one: bool = False
    """1 is added to each element: the norm was kept as its distance from 1."""

    @property
    def dtype(self) -> str:
        """Its numbers' type, unless another is asked for: with 1 added, few are exact in fewer digits than these."""
        return "float32" if self.plus_one else self.weight.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the result."""
        return self.weight.shape[::-1] if self.transposed else self.weight.shape


@dataclass(slots=True)
class Inventory:
    """A checkpoint's weights, of which each is to be used."""

    weights: Mapping[str, Weight]
    _used: set[str] = field(default_factory=set)

    def take(self, name: str, shape: tuple[int, ...]) -> Weight:
        """Return a weight.

        Raises:
            AutoexpError: it is missing, or of another shape, or not all of it is there.
        """
        weight = self.weights.get(name)
        if weight is None:
            raise refused(f"{name} is missing", "the checkpoint's other weights and options ask for it")
        if weight.shape != shape:
            raise refused(f"{name} has shape {list(weight.shape)}", f"its options make it {list(shape)}")
        if not weight.is_whole():
            raise refused(f"{name} has holes", "its pieces do not cover it", "save the checkpoint again")
        self._used.add(name)
        return weight

    def check_all_used(self) -> None:
        """Make sure that nothing is left.

        Raises:
            AutoexpError: weights are left that the architecture has no place for.
        """
        left = sorted(self.weights.keys() - self._used)
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise refused(f"{left[0]}{more} would be left out", "the architecture has no place for it")


def queries_keys_values(weight: Weight, traits: Traits) -> tuple[Weight, Weight, Weight]:
    """Take the grouped rows of linear_qkv apart: for each group its queries' heads, its key, its value."""
    queries = traits.heads // traits.groups * traits.head
    parts = [_group(part, queries, traits.head) for part in weight.split(traits.groups)]
    q, k, v = zip(*parts, strict=True)
    return join(q), join(k), join(v)


def _group(part: Weight, queries: int, head: int) -> tuple[Weight, Weight, Weight]:
    key, value, end = queries, queries + head, queries + 2 * head
    return part.rows(0, key), part.rows(key, value), part.rows(value, end)


def norm(inventory: Inventory, traits: Traits, source: str, target: str, size: int) -> Iterator[Output]:
    """Yield a norm's weight, and its bias if it is a LayerNorm."""
    weight = inventory.take(f"{source}.weight", (size,))
    yield Output(name=f"{target}.weight", weight=weight, plus_one=traits.one_centred)
    if traits.norm == "LayerNorm":
        yield Output(name=f"{target}.bias", weight=inventory.take(f"{source}.bias", (size,)))
