"""Megatron-LM's `torch` format: a folder for each model-parallel rank.

    mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt     a torch.save zip: args, iteration, model, optimizer
    mp_rank_TT[_PPP][_EEE]/distrib_optim.pt       with --use-distributed-optimizer; written before the model's file
    mp_rank_TT[_PPP][_EEE]/layer_wise_optimizer_D.pt     one for each data-parallel rank, with --optimizer dist_...

From `megatron/training/checkpointing.py`. A stage's number is there with several stages, an expert rank's with several.

A save over an older one goes file by file, minutes apart between ranks, and nothing in the files numbers the saves. It
shows while a file is torn; while ranks disagree on the run, as args tell it; and by the tracker, which is written once
every rank is done: where some files are older than it and others younger, the older are of another save. Two saves of
the same run that were both killed, and a tracker that was written since by hand, leave nothing that tells.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from autoexp import inert, torchfile
from autoexp.formats import TRACKER, Judgement, parts, whole, with_iteration
from autoexp.inert import NotWholeError

MODEL_FILE = "model_optim_rng.pt"
OPTIMIZER_FILE = "distrib_optim.pt"
OLDEST_VERSION = 2.0
"""Before it, the rows of QKV stood in another order."""

_RANK = re.compile(r"mp_rank_[0-9]{2,}(_[0-9]{3,}){0,2}")
_MOST_RANKS = 1 << 20
_CLOCKS_S = 60.0
"""How much the hosts' clocks may differ; a save over an older one comes later than that."""
_KINDS = ("tensor", "pipeline", "expert")
_OF_A_RUN = (
    *(f"{kind}_model_parallel_size" for kind in _KINDS),
    *("num_layers", "hidden_size", "layernorm_epsilon", "norm_epsilon", "rotary_base", "seed", "lr", "train_iters"),
    *("world_size", "global_batch_size"),
)
"""Arguments that are the same in every rank of a save, and rarely in two runs."""
Rank = tuple[int, int, int]
"""Tensor's, pipeline's, experts'."""


def rank_folders(names: frozenset[str]) -> list[str]:
    """List the names that are those of ranks; `mp_rank_00.tmp` is none."""
    return sorted(name for name in names if _RANK.fullmatch(name))


def judge(folder: Path, found: list[str], blank: Judgement, *, deep: bool) -> Judgement:
    """Judge a folder with these ranks in it.

    Raises:
        OSError: a file cannot be read.
    """
    judgement = replace(blank, format="torch")
    try:
        state = torchfile.read(folder / found[0] / MODEL_FILE)
        args = _arguments(state)
        judgement = with_iteration(judgement, state.get("iteration"))
        ranks = _ranks(args)
        _check_names(found, ranks)
        for rank in ranks:
            _check_model(folder / rank / MODEL_FILE, state, deep=deep)
        models = [f"{rank}/{MODEL_FILE}" for rank in ranks]
        _check_times(folder, models)
        recent = _is_recent(state)
        judgement = replace(judgement, convertible=recent)
        optimizer = [f"{rank}/{name}" for rank in ranks for name in _optimizer_files(args)]
        for name in optimizer:
            _check_zip(folder / name, deep=deep)
        _check_times(folder, models + optimizer)
    except NotWholeError as torn:
        return replace(judgement, why=str(torn))
    saved = ("optimizer" in state or bool(optimizer)) and not args.get("no_save_optim")
    advice = "" if recent else "checkpoint_version is below 2, whose rows of QKV stand in another order: not converted"
    return whole(judgement, convertible=recent, resumable=saved, advice=advice)


def arguments(folder: Path, found: list[str]) -> Mapping[str, object]:
    """Return the training arguments.

    Raises:
        NotWholeError: there are none to be read.
        OSError: a file cannot be read.
    """
    return _arguments(torchfile.read(folder / found[0] / MODEL_FILE))


def _arguments(state: Mapping[str, object]) -> Mapping[str, object]:
    """Return the training arguments, which say how many ranks there must be."""
    args = inert.state_of(state.get("args"))
    if not args:
        raise NotWholeError(f"{MODEL_FILE} holds no args, so its parallel layout is unknown")
    if "model" not in state and "model0" not in state:
        raise NotWholeError(f"{MODEL_FILE} holds no model")
    return args


def _is_recent(state: Mapping[str, object]) -> bool:
    version = state.get("checkpoint_version", 0)
    return isinstance(version, int | float) and version >= OLDEST_VERSION


def _check_names(found: list[str], ranks: list[str]) -> None:
    """Check that every rank is there, and none of another layout saved over this one."""
    stray = sorted(set(found) - set(ranks))
    if stray:
        raise NotWholeError(
            f"{stray[0]} is there, but the args in {found[0]} ask for {len(ranks)} ranks without it: remove it if "
            "it is left of a save in another layout"
        )


def _check_model(file: Path, first: Mapping[str, object], *, deep: bool) -> None:
    """Check a rank's file, and that it is of the same save as the first one's, as far as it can tell."""
    state = torchfile.read(file)
    ours, theirs = _origin(state), _origin(first)
    if differs := ", ".join(name for name, value in ours.items() if value != theirs[name]):
        raise NotWholeError(f"{file.parent.name}/{file.name} is of another save: {differs} differs")
    if deep:
        parts.check_sums(file, f"{file.parent.name}/{file.name}")


def _origin(state: Mapping[str, object]) -> dict[str, object]:
    args = inert.state_of(state.get("args"))
    ranks = {f"{kind}_model_parallel_size": 1 for kind in _KINDS}  # of a tree older than the option
    told = {"iteration": state.get("iteration"), "the iteration the run began at": args.get("iteration")}
    return {**told, **{name: args.get(name, ranks.get(name)) for name in _OF_A_RUN}}


def _check_times(folder: Path, names: Iterable[str]) -> None:
    """Refuse files of two saves: the tracker was written between them, and it is written after all files of a save."""
    try:
        done = (folder.parent / TRACKER).stat().st_mtime
    except OSError:  # no save was finished here, or nobody says when
        return
    times = {name: parts.status(folder / name, name).st_mtime for name in names}
    old, new = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
    if times[old] <= done < times[new] - _CLOCKS_S:
        raise NotWholeError(
            f"{new} was written after the save that {old} is of was finished: a save into this folder is under way or "
            f"was cut short, or {new} was copied without its times (then touch {TRACKER})"
        )


def _optimizer_files(args: Mapping[str, object]) -> Iterator[str]:
    """Name what each rank's folder holds beside the model, if training was to save its optimizer at all."""
    if args.get("no_save_optim"):
        return
    if args.get("use_distributed_optimizer"):
        yield OPTIMIZER_FILE
    if str(args.get("optimizer")).startswith("dist_"):
        replicas = _size(args, "data_parallel_size")
        yield from (f"layer_wise_optimizer_{replica}.pt" for replica in range(min(replicas, _MOST_RANKS)))


def _check_zip(file: Path, *, deep: bool) -> None:
    torchfile.check(file)
    if deep:
        parts.check_sums(file, f"{file.parent.name}/{file.name}")


def sizes(args: Mapping[str, object]) -> Rank:
    """Return how many ranks of each kind shared the model: tensor's, pipeline's, experts'.

    Raises:
        NotWholeError: the training arguments say none, or absurdly many.
    """
    tensors, stages, experts = (_size(args, f"{kind}_model_parallel_size") for kind in _KINDS)
    if tensors * stages * experts > _MOST_RANKS:
        raise NotWholeError(f"args ask for {tensors * stages * experts} ranks, more than any machine has")
    return tensors, stages, experts


def rank_name(rank: Rank, of: Rank) -> str:
    """Name the folder of one of so many ranks; stages and experts are named where there are several.

    One stage with two expert ranks is mp_rank_00_001, which only `args` can tell from two stages.
    """
    (tensor, *others), (_, *counts) = rank, of
    suffixes = (f"_{number:03d}" for number, count in zip(others, counts, strict=True) if count > 1)
    return f"mp_rank_{tensor:02d}{''.join(suffixes)}"


def _ranks(args: Mapping[str, object]) -> list[str]:
    """Name the folder of each rank."""
    counts = sizes(args)
    tensors, stages, experts = map(range, counts)
    return [rank_name(rank, counts) for rank in product(tensors, stages, experts)]


def _size(args: Mapping[str, object], name: str) -> int:
    size = args.get(name, 1)  # a tree older than the option has one rank of that kind
    if not isinstance(size, int) or size < 1:
        raise NotWholeError(f"args.{name} is {size!r}, which is no number of ranks")
    return size
