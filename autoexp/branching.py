"""What a cooldown off another run's checkpoint needs to go right, and what its log must say then. Pure.

Measured on Megatron-LM 0.16 and 0.19: without its tracker a run trains from random weights and ends with code 0;
`--train-iters` is absolute; without `--override-opt_param-scheduler` the checkpoint's schedule stands, or an assertion
fails; another `--lr` or `--min-lr` than the pretraining's is ignored, or crashes.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from autoexp.logs import LogFacts
from autoexp.model import JobSpec
from autoexp.schedule import FALLS, Schedule, learning_rate

HOOK = "cooldown_symlink"
_TOLERANCE = 0.01
_SPOILERS = {
    "use_checkpoint_opt_param_scheduler": "the schedule would silently be the pretraining's",
    "finetune": "iteration, optimizer and schedule would be dropped",
    "pretrained_checkpoint": "iteration, optimizer and schedule would be dropped",
    "no_load_optim": "the optimizer would start anew",
    "ckpt_step": "every restart would begin again at the branch point",
}
_AS_BEFORE = ("lr", "min_lr", "global_batch_size")
_USUAL_STYLE = "linear"
"""What --lr-decay-style is where it is left out, whatever the checkpoint has."""
USUAL_LOG_INTERVAL = 100
"""Megatron-LM's --log-interval where it is left out."""
_DELETING = ("save_total_limit", "keep_last", "keep_latest_k")
"""Options of forks and of other trainers that keep a number of the newest checkpoints."""


def plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags under the names that Megatron-LM keeps them by: no dashes."""
    return {name.replace("-", "_"): value for name, value in args.items()}


def troubles(args: Mapping[str, Any], iteration: int, parent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what would go wrong with a cooldown of these flags from `iteration`, each with its fix.

    `parent` holds the pretraining's flags, as far as they are known.
    """
    said = plain(args)
    last = number(said.get("train_iters"))
    if last is not None and last <= iteration:
        yield (
            f"--train-iters {last:.15g} is no more than the branch point {iteration}, so it would end at once",
            "--train-iters counts from the very first iteration: give the branch point and the decay, added",
        )
    for name, why in _SPOILERS.items():
        if said.get(name):
            yield f"{_flag(name)} is given: {why}", f"remove {_flag(name)}"
    style = said.get("lr_decay_style")
    overrides = said.get("override_opt_param_scheduler") is True
    if said.get("lr_wsd_decay_iters") is not None and style != "WSD" and (style is not None or overrides):
        yield (
            f"the decay is {style or _USUAL_STYLE}, to which --lr-wsd-decay-iters means nothing",
            "give --lr-decay-style WSD, or leave --lr-wsd-decay-iters out",
        )
    if style is not None:
        yield from _schedule_troubles(said, iteration, parent)


def falls_from(args: Mapping[str, Any]) -> float | None:
    """Return the iteration from which on a run's rate falls, by WSD; None if it does not, or nobody can tell."""
    parent = plain(args)
    end = number(parent.get("lr_decay_iters", parent.get("train_iters")))
    decay = number(parent.get("lr_wsd_decay_iters"))
    return end - decay if parent.get("lr_decay_style") == "WSD" and end and decay else None


def _schedule_troubles(said: Mapping[str, Any], iteration: int, parent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if said.get("override_opt_param_scheduler") is not True:
        yield "the checkpoint's own schedule would be taken, or refused", "give override-opt_param-scheduler: true"
    for name in _AS_BEFORE:
        mine, before = number(said.get(name)), number(parent.get(name))
        if mine is not None and before is not None and not math.isclose(mine, before):
            yield (
                f"{_flag(name)} is {mine:.15g}, and the pretraining's {before:.15g}",
                f"give {_flag(name)} {before:.15g}",
            )
    end = number(said.get("lr_decay_iters", said.get("train_iters")))
    decay = number(said.get("lr_wsd_decay_iters"))
    last = number(said.get("train_iters"))
    if said["lr_decay_style"] != "WSD" or end is None:
        return
    if end <= iteration:
        if last is None or last > iteration:  # else that was told already
            what = f"its schedule ends at {end:.15g}, and it branches off at {iteration}"
            yield what, "--lr-decay-iters counts from the very first iteration too: give it the last one"
    elif decay is None or not 0 < decay <= end - iteration:
        takes = (
            "nobody says how long the decay is" if decay is None else f"the decay would take {decay:.15g} iterations"
        )
        what = f"{takes}, and there are {end - iteration:.15g} from {iteration} to {end:.15g}"
        yield what, f"give --lr-wsd-decay-iters {end - iteration:.15g}"
    elif last is not None and iteration < last < end:
        what = f"training ends at {last:.15g}, and the decay only at {end:.15g}"
        yield what, f"give --lr-decay-iters {last:.15g} and as much less of --lr-wsd-decay-iters, or train on"


def deletes(args: Mapping[str, Any], iteration: int) -> str:
    """Name the option by which a run of these flags would delete its checkpoint of `iteration`; empty if none does."""
    said = plain(args)
    kept_every = number(said.get("save_retain_interval"))
    if kept_every and iteration % kept_every:
        return f"--save-retain-interval {kept_every:.15g}"
    return next((f"{_flag(name)} {said[name]}" for name in _DELETING if said.get(name)), "")


def branch_point(spec: JobSpec) -> int | None:
    """Return the iteration at which a job is to leave its pretraining, None for other jobs."""
    said = branch_said(spec)
    return said if isinstance(said, int) else None


def branch_said(spec: JobSpec) -> object:
    """Return what a recipe gives as that iteration, whatever it is; None for other jobs."""
    return next((call.values.get("iteration") for call in spec.prepare if call.name == HOOK), None)


def astray(spec: JobSpec, log: LogFacts) -> str:
    """Say how a cooldown has begun somewhere else than at its branch point, or beyond; empty if it has not."""
    iteration = branch_point(spec)
    if iteration is None:
        return ""
    if log.lost:
        return f"it found no checkpoint to continue from, and was to go on from iteration {iteration}: {log.lost}"
    if log.loaded is not None and log.loaded < iteration:
        return f"it continues from iteration {log.loaded}, and was to go on from {iteration}"
    if log.first_iteration is not None and log.first_iteration <= iteration:
        return f"its first report is of iteration {log.first_iteration}, and it was to go on from {iteration}"
    return _wrong_rate(plain(spec.args), log)


def unconfirmed(spec: JobSpec, log: LogFacts) -> str:
    """Say what a cooldown's log never told of how it began; empty where it told all, and for other jobs.

    A run of fewer iterations than its --log-interval has no report at all, and may be sound.
    """
    iteration, said = branch_point(spec), plain(spec.args)
    if iteration is None:
        return ""
    interval = number(said.get("log_interval")) or USUAL_LOG_INTERVAL
    told = log.loaded is not None or (log.first_iteration is not None and interval <= iteration)
    where = "" if told else f"that it went on from iteration {iteration}"
    unseen = log.first_lr is None and _expected_rate(said, iteration + 1) is not None
    missing = " or ".join(filter(None, (where, "its learning rate" if unseen else "")))
    return f"its log does not confirm {missing}" if missing else ""


def _wrong_rate(said: Mapping[str, Any], log: LogFacts) -> str:
    expected = None if log.first_iteration is None else _expected_rate(said, log.first_iteration)
    if expected is None or log.first_lr is None or math.isclose(log.first_lr, expected, rel_tol=_TOLERANCE):
        return ""
    return (
        f"its learning rate at iteration {log.first_iteration} is {log.first_lr:g}, and its flags ask for {expected:g}"
    )


def _expected_rate(said: Mapping[str, Any], iteration: int) -> float | None:
    """Return a WSD run's learning rate; None where skipped steps or a growing batch shift it, or flags do not say."""
    numbers = [number(said.get(name)) for name in ("lr", "lr_wsd_decay_iters", "train_iters")]
    lr, decay, last = numbers
    style = said.get("lr_wsd_decay_style", "exponential")
    shifted = said.get("fp16") or said.get("rampup_batch_size")
    if lr is None or decay is None or last is None or shifted or said.get("lr_decay_style") != "WSD":
        return None
    end = number(said.get("lr_decay_iters")) or last
    if style not in FALLS or not 0 <= decay <= end:
        return None
    schedule = Schedule(
        lr=lr,
        min_lr=number(said.get("min_lr")) or 0.0,
        warmup=int(number(said.get("lr_warmup_iters")) or 0),
        decay=int(end),
        wsd_decay=int(decay),
        style="WSD",
        wsd_style=style,
    )
    return learning_rate(schedule, iteration)


def number(value: object) -> float | None:
    """Read a flag's value, also from text; None if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
