"""A checkpoint as converters see it: what the training was told, and its weights under our names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoexp.conversion.weights import ITEM_BYTES, Weight
from autoexp.errors import AutoexpError
from autoexp.torchfile import Tensor

Zip = tuple[Path, int, int | None]
"""A torch.save zip: its file, where in it the zip begins, and how long it is, None for up to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint whose weights are known and not read."""

    format: str
    iteration: int | None
    args: Mapping[str, object]
    """Megatron-LM's own arguments of the training."""
    weights: Mapping[str, Weight]
    """By the names of `names.canonical`, each layer and expert for itself."""
    copies: tuple[tuple[str, Weight], ...] = ()
    """What other ranks hold, too, with the name of the weight that it has to be the same as, or begin with it."""
    differing: Mapping[str, str] = field(default_factory=dict)
    """The arguments that are others in a later rank than in the first one, and what they are there."""
    zips: tuple[Zip, ...]
    """What the weights are in, each with a checksum of every tensor."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that those are in."""
        return tuple(sorted({file for file, _, _ in self.zips}))


def refused(what: str, why: str, fix: str = "") -> AutoexpError:
    """Say why a checkpoint is not converted."""
    return AutoexpError(what, why=why, fix=fix or "convert it with another tool, or ask for the layout to be added")


def checked(key: str, tensor: Tensor | None) -> Tensor:
    """Make sure that a weight is one we can read.

    Raises:
        AutoexpError: it is no tensor, or of another number type or order.
    """
    if tensor is None:
        raise refused(f"{key} is no tensor", "weights are plain tensors of numbers")
    if tensor.dtype not in ITEM_BYTES or not tensor.contiguous:
        kind = tensor.dtype if tensor.contiguous else "not laid out in rows"
        raise refused(f"{key} is {kind}", f"weights in rows of {', '.join(ITEM_BYTES)} are read")
    return tensor


def check_version(version: object, of: str = "") -> None:
    """Before 2.0 the rows of query, key and value lay in another order (megatron/legacy/checkpointing.py)."""
    if not isinstance(version, int | float) or not 2.0 <= version < 4.0:  # noqa: PLR2004 - what is known
        raise refused(
            f"checkpoint_version is {version!r}{f' in {of}' if of else ''}",
            "the order of rows is known for 2.0 and 3.0",
            "load it and save it again with a newer Megatron-LM",
        )
