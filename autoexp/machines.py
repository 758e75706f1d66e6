"""Machine files: machines/<name>.yaml becomes a `Machine`, and the one we are on is recognised."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoexp import containers, fabrics, folders, hosts, policies, quantities
from autoexp.machine import Machine, Network, Partition
from autoexp.places import KeyPath, Places
from autoexp.recipes import load_yaml, merged

DURATIONS = ("sweep", "poll", "visibility", "stop_grace", "save_grace", "query_interval", "submit_interval")
KEYS = (
    *("description", "identify", "executor", "cpus", "gpus", "python", "launcher", "environment"),
    *("programs", "observer", "max_stats_per_second"),
    *("network", "setup", *policies.BATCH_KEYS, "options", "partitions", "all_partitions", "max_submitted"),
    *("qos_max_submitted", "max_running", "qos_max_running", "container"),
    *DURATIONS,
)
PARTITION_KEYS = (
    *("walltime", "nodes", "gpus_per_node", "cpus", "memory", "gpu", "peak_tflops"),
    *("max_submitted", "max_running", "default"),
)
OBSERVERS = ("auto", "inotify", "poll")
RULES = ("environment", "hostname")


@dataclass(frozen=True, slots=True)
class Known:
    """A machine file, with what it extends merged into it."""

    path: Path
    raw: Mapping[str, Any]
    places: Places
    bases: tuple[Path, ...]
    """The files it extends, the nearest first."""

    def read(self) -> Machine:
        """Make the machine of it.

        Raises:
            RecipeError: a key is unknown, or a value is not what it should be.
        """
        return read(self.path.stem, self.raw, self.places)


def find(name: str) -> Known:
    """Find a machine file; `auto` is the one whose identify rule fits this host, else `local`.

    Raises:
        AutoexpError: there is no such machine.
        RecipeError: its file cannot be read.
    """
    if name == "auto":
        name = here(everything()) or "local"
    return _know(folders.find("machines", name, ".yaml"))


def load(name: str) -> Machine:
    """Read a machine file, as `find` finds it.

    Raises:
        AutoexpError: there is no such machine.
        RecipeError: its file cannot be read, or is wrong.
    """
    return find(name).read()


def everything() -> dict[str, Known]:
    """Read all machine files, by name.

    Raises:
        RecipeError: one of them is no YAML, or extends what is not there.
    """
    return {name: _know(path) for name, path in folders.files("machines", ".yaml").items()}


def here(known: Mapping[str, Known]) -> str | None:
    """Name the machine whose identify rule fits this host; of two, the one that extends the other.

    Raises:
        RecipeError: a machine file is wrong, and it might be the one.
    """
    fitting = {name: one for name, one in known.items() if rule_here(one) is not None}
    bases = {base for one in fitting.values() for base in one.bases}
    return next((name for name, one in fitting.items() if one.path not in bases), None)


def rule_here(known: Known) -> str | None:
    """Say what of a machine's identify rule holds here; None if it has none, or not all of it holds.

    Raises:
        RecipeError: the machine file is wrong.
    """
    known.read()
    rule = known.raw.get("identify") or {}
    held = []
    for variable, value in (rule.get("environment") or {}).items():
        if os.environ.get(variable) != str(value):
            return None
        held.append(f"{variable}={value}")
    if "hostname" in rule:
        if not re.fullmatch(str(rule["hostname"]), hosts.hostname()):
            return None
        held.append(f"the host is {hosts.hostname()}")
    return " and ".join(held) or None


def _know(path: Path, above: tuple[Path, ...] = ()) -> Known:
    """Read a file, and what it extends under it; `above` are the files that extend this one."""
    raw, places = load_yaml(path)
    if "extends" not in raw:
        return Known(path, raw, places, ())
    base = _know(_base_of(str(raw.pop("extends")), places, (*above, path)), (*above, path))
    written = {**base.places.written, **places.written}
    return Known(path, merged(base.raw, raw), Places(places.file, written), (base.path, *base.bases))


def _base_of(name: str, places: Places, chain: tuple[Path, ...]) -> Path:
    """Find what a file extends; a name that is its own means the file of that name which it hides."""
    found = folders.versions("machines", name, ".yaml")
    free = [path for path in found if path not in chain]
    if free:
        return free[0]
    if found:
        circle = " -> ".join([*(path.stem for path in chain), name])
        fix = "extend another machine, or none"
        raise places.error(("extends",), f"{name!r} extends itself", why=f"they go in a circle: {circle}", fix=fix)
    why = f"there are {', '.join(folders.files('machines', '.yaml'))}"
    raise places.error(("extends",), f"unknown machine {name!r}", why=why, fix=f"correct it, or add {name}.yaml")


def read(name: str, raw: Mapping[str, Any], places: Places) -> Machine:
    """Check a machine file's keys and values.

    Raises:
        RecipeError: a key is unknown, or a value is not what it should be.
    """
    for key, value in raw.items():
        if key not in KEYS:
            raise places.unknown((key,), KEYS)
        fits, shape = SHAPES.get(key, (_is_text, "text"))
        if key not in DURATIONS and not fits(value):
            raise places.error((key,), f"{value!r} is no {key}", why=f"{key} is {shape}", fix=f"write {key}: {shape}")
    _check_rule(raw.get("identify") or {}, places)
    with _blamed(places, ("container",)):
        containers.check(raw.get("container") or {})
    elsewhere = (*DURATIONS, *policies.BATCH_KEYS, "identify", "network", "options", "partitions")
    values = {key: raw[key] for key in raw if key not in elsewhere}
    partitions = raw.get("partitions") or {}
    values["options"] = {**_default_of(partitions, places), **_options(raw, places)}
    values["partitions"] = {str(name): _partition(str(name), limits, places) for name, limits in partitions.items()}
    values["network"] = _network(raw.get("network") or {}, places)
    for key in DURATIONS:
        if key in raw:
            values[f"{key}_s"] = _duration_s(raw[key], key, places)
    values["environment"] = tuple(values.get("environment") or ())
    if "launcher" in values:
        values["launcher"] = tuple(values["launcher"])
    values["python"] = str(values.get("python") or sys.executable)
    return Machine(name=name, **values)


def _options(raw: Mapping[str, Any], places: Places) -> dict[str, str]:
    with _blamed(places, ()):
        return policies.read_options(raw)


@contextmanager
def _blamed(places: Places, path: KeyPath) -> Iterator[None]:
    """Say where in the file it stands."""
    try:
        yield
    except policies.PolicyError as error:
        why = "it holds for all jobs here"
        raise places.error((*path, *error.path), str(error), why=why, fix=error.fix) from error


def _default_of(partitions: Mapping[str, Any], places: Places) -> dict[str, str]:
    """Say which partition jobs get that name none."""
    names = [str(name) for name, limits in partitions.items() if isinstance(limits, Mapping) and limits.get("default")]
    if len(names) > 1:
        path, why = ("partitions", names[1], "default"), f"{names[0]} is the default already"
        raise places.error(path, "there is one default", why=why, fix=f"write partition: {names[1]} instead")
    return {"partition": names[0]} if names else {}


def _partition(name: str, raw: Any, places: Places) -> Partition:
    path = ("partitions", name)
    if not isinstance(raw, Mapping):
        fix = f"write {{walltime: 2d, nodes: 64, ...}} of {', '.join(PARTITION_KEYS)}, or {{}}"
        raise places.error(path, f"{raw!r} is no partition", why="its limits are a mapping", fix=fix)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in PARTITION_KEYS:
            raise places.unknown((*path, key), PARTITION_KEYS)
        if key == "default" and not isinstance(value, bool):
            raise places.error(
                (*path, key), f"{value!r} is no default", why="it is yes or no", fix="write true or false"
            )
        if key in LIMITS:
            field, reader = LIMITS[key]
            values[field] = _limit((*path, key), value, reader, places)
    return Partition(**values)


def _limit(path: KeyPath, value: object, reader: Callable[[object], Any], places: Places) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise places.error(
            path, str(error), why="jobs are held against it", fix="correct it, or leave it out"
        ) from error


def _count(value: object) -> int:
    if not _is_count(value):
        raise ValueError(f"{value!r} is no count")
    return int(str(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - bad data, not a bad call
    return value


def _rate(value: object) -> float:
    if not _is_positive(value):
        raise ValueError(f"{value!r} is no number above 0")
    return float(str(value))


LIMITS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "walltime": ("walltime_s", lambda value: int(quantities.duration_s(value))),
    "nodes": ("nodes", _count),
    "gpus_per_node": ("gpus_per_node", _count),
    "cpus": ("cpus", _count),
    "memory": ("memory_bytes", quantities.size_bytes),
    "gpu": ("gpu", _text),
    "peak_tflops": ("peak_tflops", _rate),
    "max_submitted": ("max_submitted", _count),
    "max_running": ("max_running", _count),
}
"""What is said of a partition: the field of `Partition`, and how it is read."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_count, value.values()))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "cpus": (_is_count, "a count; leave it out to count them"),
    "gpus": (_is_count, "a count; leave it out to count them"),
    "max_submitted": (_is_count, "a count of jobs"),
    "qos_max_submitted": (_are_counts, "{QOS: COUNT, ...}"),
    "max_running": (_is_count, "a count of jobs"),
    "qos_max_running": (_are_counts, "{QOS: COUNT, ...}"),
    "environment": (_is_names, "a list of names"),
    "launcher": (lambda value: _is_names(value) and bool(value), "a list of words"),
    "programs": (_is_texts, "BACKEND: PROGRAM"),
    "observer": (OBSERVERS.__contains__, f"one of {', '.join(OBSERVERS)}"),
    "max_stats_per_second": (lambda value: _is_count(value) and value > 0, "a count above 0"),
    "options": (lambda value: isinstance(value, Mapping), "{NAME: VALUE, ...}"),
    "container": (lambda value: isinstance(value, Mapping), "{runtime: NAME, bind: [...], options: [...]}"),
    "partitions": (lambda value: isinstance(value, Mapping), "{NAME: {walltime: 2d, nodes: 64, ...}, ...}"),
    "all_partitions": (lambda value: isinstance(value, bool), "true or false"),
    "network": (
        lambda value: isinstance(value, Mapping),
        "{node: NAME, link: NAME, ...}; docs/machines.md has the keys",
    ),
    "identify": (lambda value: isinstance(value, Mapping), "environment: {NAME: VALUE}, or hostname: PATTERN"),
}
"""What the values of some keys look like."""


def _check_rule(rule: Mapping[str, Any], places: Places) -> None:
    for key, value in rule.items():
        path = ("identify", key)
        if key not in RULES:
            raise places.unknown(path, RULES)
        if key == "environment" and not isinstance(value, Mapping):
            raise places.error(path, f"{value!r} is no rule", why="it compares variables", fix="write {NAME: VALUE}")
        if key == "hostname":
            try:
                re.compile(str(value))
            except (re.error, OverflowError) as error:
                raise places.error(path, f"{value!r} is no pattern", why=str(error), fix="write a regex") from error


_SHARES = ("links_per_gpu", "node_share", "link_share", "threshold")
_FABRICS: Mapping[str, Mapping[str, fabrics.Fabric]] = {"node": fabrics.NODES, "link": fabrics.LINKS}


def _network(raw: Mapping[str, Any], places: Places) -> Network:
    values: dict[str, Any] = {}
    for key, value in raw.items():
        path = ("network", key)
        if key in _FABRICS and value not in list(_FABRICS[key]):
            known = ", ".join(_FABRICS[key])
            raise places.error(
                path, f"{value!r} is no {key} we know", why=f"there are {known}", fix="name one, or give a threshold"
            )
        if key not in (*_FABRICS, *_SHARES):
            raise places.unknown(path, (*_FABRICS, *_SHARES))
        if key in _SHARES and not _is_positive(value):
            raise places.error(
                path, f"{value!r} is no {key}", why="it is a number above 0", fix=f"write {key}: 0.6, say"
            )
        values["threshold_gbps" if key == "threshold" else key] = value
    return Network(**values)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def cpus(machine: Machine) -> int:
    """Count the CPU cores that jobs may use on this host."""
    return machine.cpus if machine.cpus is not None else len(os.sched_getaffinity(0))


def gpus(machine: Machine) -> tuple[str, ...]:
    """Name the GPUs that jobs may use on this host: no others than our own CUDA_VISIBLE_DEVICES lets us see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    else:
        count = sum(1 for device in Path("/dev").glob("nvidia[0-9]*")) if machine.gpus is None else machine.gpus
        names = [str(number) for number in range(count)]
    return tuple(names[: machine.gpus])


def _duration_s(value: object, key: str, places: Places) -> float:
    try:
        return quantities.duration_s(value)
    except ValueError as error:
        raise places.error((key,), str(error), why="it is a duration", fix="write it with its unit") from error
