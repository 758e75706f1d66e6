"""What a training does, and how it is laid out over devices: its arguments, told apart by their names. Pure.

Two trainings of the same work compare whatever their layouts are: how many GPUs, how the model is shared among them,
how many samples one of them takes. How many all of them take together is work. An argument that names the job's own
directory, or is a seed, says nothing of either.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from autoexp.report.numbers import whole

_LAYOUT = re.compile(
    r"batch|shard|off_?load|recompute|checkpointing|activation_?checkpoint|parallel|strateg|accumul|fsdp|ddp|deepspeed"
    r"|distributed|prefetch|overlap|devices|num_nodes|compile|bf16|fp16|fp8|precision|use_cpu"
)
"""Flags of Megatron-LM, of transformers' Trainer, torchtitan, NeMo and our own trainers."""
_OF_ALL = re.compile(r"(global|rampup)_batch|batch_size_ramp|(save|eval|evaluation|logging|hub)_strategy")
"""What sounds like layout, and is the same on any number of devices."""
_AGAIN = re.compile(r"(?:^|[._])(?:seed|repeat|repetition|trial)s?$")
"""What begins with other chance only."""
_A_STEP = re.compile(r"batch")
_SPLIT = re.compile(r"(?:^|\.)(?:tensor|pipeline|context)(?:_model)?_parallel_(?:size|degree)$")
"""By what a model's own copy takes several devices, in the words of Megatron-LM, NeMo and torchtitan."""


def split(args: Mapping[str, Any], own_dir: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return a training's work and its layout, each by the names of arguments, values as text."""
    told = {name: value for name, value in args.items() if value is not None and own_dir not in str(value)}
    said = {name: repr(value) for name, value in told.items() if not _AGAIN.search(_plain(name))}
    layout = {name: value for name, value in said.items() if _is_layout(_plain(name))}
    return {name: value for name, value in said.items() if name not in layout}, layout


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _is_layout(name: str) -> bool:
    return bool(_LAYOUT.search(name)) and not _OF_ALL.search(name)


def repeat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes of a sweep that do the same once more."""
    return {name: value for name, value in values.items() if _AGAIN.search(_plain(name))}


def of_a_sample(work: Mapping[str, str]) -> dict[str, str]:
    """Return what is done with each sample, however many of them are a step's."""
    return {name: value for name, value in work.items() if not _A_STEP.search(_plain(name))}


def devices_a_copy(args: Mapping[str, Any]) -> int:
    """Count the devices that a copy of the model, and so each of its samples, is split over."""
    return prod(whole(value) or 1 for name, value in args.items() if _SPLIT.search(_plain(name)))
