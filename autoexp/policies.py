"""What a stage says about its attempts: resources, retries and stalls, read from evaluated values."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from autoexp import quantities
from autoexp.model import Answer, EndingClass, Remedy, Resources, RetryPolicy

T = TypeVar("T")
BATCH_KEYS = ("partition", "account", "qos")
"""What every batch scheduler asks for, under these names."""
REQUEUES = ("requeue", "no-requeue")
OUR_OPTIONS = (
    *("job-name", "output", "error", "open-mode", "chdir", "export", "array"),
    *("parsable", "test-only", "wait", "wrap", "signal", "dependency", "kill-on-invalid-dep"),
)
"""What sbatch is told, or never told, of every job: by its name and its log it is found again."""
OF_RESOURCES = {
    "time": "walltime",
    "nodes": "nodes",
    "cpus-per-task": "cpus",
    **dict.fromkeys(REQUEUES, "requeue"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"), "gpus_per_node"),
    **dict.fromkeys(("tres-per-node", "tres-per-job", "tres-per-task", "tres-per-socket"), "gpus_per_node"),
}
"""Options that a job's resources have keys for: budgets, limits and the signal before the end go by those."""
RESOURCE_KEYS = (
    *("world", "nodes", "cpus", "gpus_per_node", "processes_per_node", "memory", "walltime"),
    *(*BATCH_KEYS, "requeue", "options"),
)
RETRY_KEYS = ("max_attempts", "when", "backoff", "queue_ahead")
ANSWER_KEYS = ("remedy", "attempts", "backoff", "reduce")
REMEDIES = tuple(remedy for remedy in Remedy if remedy is not Remedy.CANCEL)


class PolicyError(Exception):
    """A policy that cannot be read; `key` is the one to blame, and `within` the keys around it."""

    def __init__(self, key: str, what: str, fix: str, within: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.path = (*within, key)
        self.fix = fix


def read_resources(raw: Mapping[str, Any]) -> Resources:
    """Read a stage's resources; processes follow the GPUs, and cores the processes, or all of them the world size.

    Raises:
        PolicyError: a key is unknown, or a value is not what it should be.
    """
    _check_keys(raw, RESOURCE_KEYS)
    raw = _shared_out(raw)
    gpus = _count(raw, "gpus_per_node", 0, least=0)
    processes = _count(raw, "processes_per_node", max(gpus, 1))
    return Resources(
        nodes=_count(raw, "nodes", 1),
        cpus=_count(raw, "cpus", processes),
        gpus_per_node=gpus,
        processes_per_node=processes,
        memory_bytes=_quantity(raw, "memory", quantities.size_bytes),
        walltime_s=_seconds(raw, "walltime"),
        requeue=_flag(raw, "requeue"),
        options=read_options(raw, gpus),
    )


def _shared_out(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Spread a world size over nodes, each with as many GPUs, or processes without one, as it may have at most."""
    if raw.get("world") is None:
        return raw
    world, on_gpus = _count(raw, "world", 1), raw.get("gpus_per_node") is not None
    key, other = ("gpus_per_node", "processes_per_node") if on_gpus else ("processes_per_node", "gpus_per_node")
    for follows in ("nodes", other):
        if raw.get(follows) is not None:
            raise PolicyError(follows, f"{follows} follows from world", "remove one of the two")
    each = min(_count(raw, key, world), world)
    if world % each:
        said = f"{world} processes do not fill nodes of {each}"
        raise PolicyError("world", said, f"make it a multiple of {each}, or change {key}")
    return {**raw, key: each, "nodes": world // each}


def read_options(raw: Mapping[str, Any], gpus: int = 0) -> dict[str, str]:
    """Read what a batch scheduler is told: partition, account, qos, and the options by their own names.

    Raises:
        PolicyError: a value is none that fits on one line, or says what resources have a key for: how many of the
            `gpus` of a node, say.
    """
    more = raw.get("options") or {}
    if not isinstance(more, Mapping):
        raise PolicyError("options", f"{more!r} are no options", "write options: {NAME: VALUE, ...}")
    counted = {name: key for name, key in OF_RESOURCES.items() if name in more}
    if any(count != gpus for count in gpus_of_gres(str(more.get("gres", "")))):
        counted["gres"] = "gpus_per_node"
    for name, key in counted.items():
        said = f"the option {name} would go past {key}, which autoexp counts with"
        raise PolicyError(name, said, f"write {key}: in a stage's resources", ("options",))
    named = {key: raw[key] for key in BATCH_KEYS if raw.get(key) is not None}
    within = {str(key): _option(str(key), value, ("options",)) for key, value in more.items()}
    return {**within, **{key: _option(key, value) for key, value in named.items()}}


def gpus_of_gres(text: str) -> list[int]:
    """Read how many GPUs a `gres` asks for, of whatever kind: gpu:4, gpu:a100:4, gpu:2(S:0), gres/gpu=4; sbatch(1)."""
    items = (item.strip().removeprefix("gres/").removeprefix("gres:") for item in text.split(","))
    parted = (re.split("[:=]", item.partition("(")[0]) for item in items)
    return [int(last) if (last := parts[-1]).isdecimal() else 1 for parts in parted if parts[0] == "gpu"]


def _option(key: str, value: object, within: tuple[str, ...] = ()) -> str:
    if key in OUR_OPTIONS:
        fix = "leave it out; a command may cd, and redirect" if key in ("chdir", "output", "error") else "leave it out"
        raise PolicyError(key, f"the option {key} is autoexp's own", fix, within)
    text = "" if value is True else str(value)
    if isinstance(value, Mapping | list | tuple) or value is False or not text.isprintable() or "=" in key:
        raise PolicyError(
            key, f"{key}: {value!r} is no option", "give one line of text, or true for a bare option", within
        )
    return text


def _flag(raw: Mapping[str, Any], key: str) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise PolicyError(key, f"{value!r} is neither true nor false", "write true or false")
    return value


def read_retry(raw: Mapping[str, Any]) -> RetryPolicy:
    """Read a stage's retry policy.

    Raises:
        PolicyError: a key, an ending or a remedy is unknown, or a value is not what it should be.
    """
    _check_keys(raw, RETRY_KEYS)
    said = raw.get("when") or {}
    if not isinstance(said, Mapping):
        raise PolicyError("when", f"{said!r} is no answer to endings", "write when: {ENDING: REMEDY, ...}")
    when = {_ending(ending): _answer(ending, answer) for ending, answer in said.items()}
    backoff_s = _quantity(raw, "backoff", quantities.duration_s)
    return RetryPolicy(
        max_attempts=_count(raw, "max_attempts", 3),
        when=when,
        backoff_s=RetryPolicy().backoff_s if backoff_s is None else backoff_s,
        queue_ahead=_flag(raw, "queue_ahead"),
    )


def _ending(name: object) -> EndingClass:
    if name not in set(EndingClass):
        raise PolicyError("when", f"{name!r} is no class of ending", f"use one of {', '.join(EndingClass)}")
    return EndingClass(str(name))


def _answer(ending: str, raw: object) -> Answer:
    """Read a remedy's name, or a remedy with what it is to do, and how often."""
    if not isinstance(raw, Mapping):
        return Answer(remedy=_remedy("when", raw))
    try:
        _check_keys(raw, ANSWER_KEYS)
        factors = {str(name): _factor(factor) for name, factor in (raw.get("reduce") or {}).items()}
        return Answer(
            remedy=_remedy("remedy", raw.get("remedy", "retry" if factors else None)),
            attempts=None if raw.get("attempts") is None else _count(raw, "attempts", 1),
            backoff_s=_quantity(raw, "backoff", quantities.duration_s),
            reduce=factors,
        )
    except PolicyError as error:
        raise PolicyError(error.path[-1], str(error), error.fix, ("when", ending)) from error


def _remedy(key: str, name: object) -> Remedy:
    if name not in REMEDIES:
        raise PolicyError(key, f"{name!r} is no remedy", f"use one of {', '.join(REMEDIES)}")
    return Remedy(str(name))


def _factor(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw < 1:
        raise PolicyError("reduce", f"{raw!r} is no factor", "write a number between 0 and 1: reduce: {PARAM: 0.5}")
    return float(raw)


def read_stall(raw: Mapping[str, Any]) -> float | None:
    """Read after how many seconds without progress a job counts as stalled.

    Raises:
        PolicyError: a key is unknown, or the duration is none.
    """
    _check_keys(raw, ("no_progress",))
    return _quantity(raw, "no_progress", quantities.duration_s)


def _check_keys(raw: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in raw:
        if key not in known:
            raise PolicyError(key, f"unknown key {key!r}", f"use one of {', '.join(known)}")


def _count(raw: Mapping[str, Any], key: str, default: int, least: int = 1) -> int:
    value = raw.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PolicyError(key, f"{value!r} is not a whole number of at least {least}", "give a whole number")
    return value


def _quantity(raw: Mapping[str, Any], key: str, parse: Callable[[object], T]) -> T | None:
    if raw.get(key) is None:
        return None
    try:
        return parse(raw[key])
    except ValueError as error:
        raise PolicyError(key, str(error), "write the number with its unit") from error


def _seconds(raw: Mapping[str, Any], key: str) -> int | None:
    """Read whole seconds; none at all would be no limit to Slurm."""
    said = _quantity(raw, key, quantities.duration_s)
    if said is not None and said < 1:
        raise PolicyError(key, f"{raw[key]!r} is no time limit", "write a longer one, or leave it out for no limit")
    return None if said is None else int(said)
