"""How jobs are named: the stage and every sweep axis with its value, so that adding a value renames nothing."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

LONGEST_ID = 180
"""Ids become file names, with an attempt and the study's mark behind them; file systems end at 255."""


def job_id(stage: str, axes: Mapping[str, Any], parent: str | None = None) -> str:
    """Name a job: `pretrain-model10M-lr0.001`, with its parent's id behind it if it appeared for one."""
    parts = (stage, *(f"{safe(axis)}{label(value)}" for axis, value in axes.items()), *((parent,) if parent else ()))
    return "-".join(parts)


def label(value: Any) -> str:
    """Spell an axis value: integral numbers without `.0`, lists joined, nothing that a path could not hold."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:  # noqa: PLR2004 - exact in a float
        return str(int(value))
    if isinstance(value, list | tuple):
        return "_".join(label(item) for item in value)
    return safe(str(value))


@lru_cache(maxsize=4096)
def safe(text: str) -> str:
    """Replace whatever has a meaning to shells, paths or our own ids."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "_" for c in text)
