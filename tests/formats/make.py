"""Small real checkpoints: torch's own writers make the files, and Megatron's names are put around them."""

import argparse
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import torch
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.state_dict_saver import save


class Trap:
    """Unpickling it the ordinary way leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def legacy(
    folder: Path, *, tp: int = 1, pp: int = 1, ep: int = 1, iteration: int = 6, version: float = 3.0, **args: object
) -> Path:
    """Write the shards Megatron would write, with next to nothing inside."""
    sizes = {
        "tensor_model_parallel_size": tp,
        "pipeline_model_parallel_size": pp,
        "expert_model_parallel_size": ep,
    }
    for t, p, e in product(range(tp), range(pp), range(ep)):
        rank = f"mp_rank_{t:02d}" + f"_{p:03d}" * (pp > 1) + f"_{e:03d}" * (ep > 1)
        (folder / rank).mkdir(parents=True)
        state = {
            "args": argparse.Namespace(**sizes, **args),
            "checkpoint_version": version,
            "iteration": iteration,
            "model": {"w": torch.zeros(300)},
            "optimizer": {},
        }
        torch.save(state, folder / rank / "model_optim_rng.pt")
        if args.get("use_distributed_optimizer"):
            torch.save({"m": torch.zeros(30)}, folder / rank / "distrib_optim.pt")
    return folder


def write_pieces(state: Mapping[str, object], *, folder: Path) -> None:
    """Let torch write .metadata and the .distcp files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that one process saves alone
        planner = DefaultSavePlanner(flatten_state_dict=False)  # as Megatron has it: a list is one item
        save(dict(state), checkpoint_id=folder, planner=planner, no_dist=True)


def distributed(folder: Path, *, common: str = "common.pt", marker: str = "torch_dist", **args: object) -> Path:
    """Write a checkpoint with torch's own writer, and the files that Megatron puts beside it."""
    state: dict[str, object] = {
        "decoder.weight": torch.zeros(40),
        "optimizer.state.exp_avg.decoder.weight": torch.zeros(40),
    }
    if common == "common_state":
        state["common_state/shard_0_1"] = [{"args": argparse.Namespace(**args), "iteration": 6}]
    write_pieces(state, folder=folder)
    if common == "common.pt":
        torch.save({"args": argparse.Namespace(**args), "iteration": 6}, folder / "common.pt")
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": marker}))
    return folder


def flip(file: Path, at: int | None = None) -> None:
    """Change a byte of the largest tensor in a torch.save file, or the byte at a place."""
    data = bytearray(file.read_bytes())
    if at is None:
        with zipfile.ZipFile(file) as archive:
            largest = max((m for m in archive.infolist() if "/data/" in m.filename), key=lambda m: m.file_size)
        at = data.index(bytes(largest.file_size), largest.header_offset)
    data[at] ^= 1
    file.write_bytes(data)


def age(file: Path) -> None:
    """Set a file's times an hour back."""
    then = file.stat().st_mtime - 3600
    os.utime(file, (then, then))


def hollow(file: Path, size_bytes: int) -> None:
    """Make a file of this size that has no data, and the times of one that was moved to tape."""
    with file.open("wb") as opened:
        opened.truncate(size_bytes)
    age(file)


def sign(folder: Path) -> None:
    """Write integrity.json as Megatron-LM does with --verify-integrity."""
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / "integrity.json").write_text(json.dumps({"algorithm": "sha256", "files": files}))
