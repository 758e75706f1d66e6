"""Checkpoint formats, one module each: what makes a folder of that format whole.

Nothing from a file runs, and no tensor is read unless a deep look was asked for. `autoexp.checkpoints` chooses the
module.
"""

from dataclasses import dataclass, replace
from typing import Literal

from autoexp.inert import NotWholeError

TRACKER = "latest_checkpointed_iteration.txt"
"""Beside the folders of the iterations; Megatron-LM writes it last, when every rank has written."""
Format = Literal["torch", "torch_dist", "torch_dcp", "fsdp_dtensor", "zarr", "hf", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a checkpoint folder is good for; `why` says what is missing."""

    format: Format
    iteration: int | None
    complete: bool
    """Every file that belongs to the save is there and whole."""
    convertible: bool
    """The weights are whole, in a format whose weights can be converted."""
    resumable: bool
    """Training can go on from here: complete, and the optimizer's state was saved."""
    why: str


def whole(judgement: Judgement, *, convertible: bool, resumable: bool, advice: str = "") -> Judgement:
    """Judge a complete checkpoint; `advice` says what to do where it cannot be converted."""
    why = "whole" if resumable else "whole, but saved without the optimizer's state"
    why = f"{why}; {advice}" if advice else why
    return replace(judgement, complete=True, convertible=convertible, resumable=resumable, why=why)


def with_iteration(judgement: Judgement, inside: object) -> Judgement:
    """Take the iteration from the file where the name has none.

    Raises:
        NotWholeError: the file contradicts the name.
    """
    if not isinstance(inside, int):
        return judgement
    if judgement.iteration not in {None, inside}:
        raise NotWholeError(f"the folder's name says iteration {judgement.iteration}, the file inside {inside}")
    return replace(judgement, iteration=inside)
