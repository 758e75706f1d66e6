"""What a training does, and how it is laid out over devices: its arguments, told apart by their names. Pure.

Two trainings of the same work compare whatever their layouts are: how many GPUs, how the model is shared among them,
how many samples one of them takes. An argument that names the job's own directory says nothing of either.
"""

import re
from collections.abc import Mapping
from typing import Any

_LAYOUT = re.compile(
    r"batch|shard|off_?load|recompute|checkpointing|activation|parallel|strateg|accumul|fsdp|ddp|deepspeed|distributed"
    r"|prefetch|overlap|devices|num_nodes|compile|bf16|fp16|fp8|precision|use_cpu"
)
"""Flags of Megatron-LM, of transformers' Trainer, torchtitan, NeMo and our own trainers."""


def split(args: Mapping[str, Any], own_dir: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return a training's work and its layout, each by the names of arguments, values as text."""
    said = {name: repr(value) for name, value in args.items() if value is not None and own_dir not in str(value)}
    layout = {name: value for name, value in said.items() if _LAYOUT.search(name.lower().replace("-", "_"))}
    return {name: value for name, value in said.items() if name not in layout}, layout
