"""Machine files: machines/<name>.yaml becomes a `Machine`, and the one we are on is recognised."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoexp import fabrics, folders, hosts, policies, quantities
from autoexp.model import Machine, Network
from autoexp.places import Places
from autoexp.recipes import load_yaml

DURATIONS = ("sweep", "poll", "visibility", "stop_grace", "save_grace", "query_interval")
KEYS = (
    *("description", "identify", "executor", "cpus", "gpus", "python", "environment", "programs", "observer"),
    *("network", "setup", *policies.BATCH_KEYS, "options"),
    *DURATIONS,
)
OBSERVERS = ("auto", "inotify", "poll")
RULES = ("environment", "hostname")


def load(name: str) -> Machine:
    """Read a machine file; `auto` is the one whose identify rule fits this host, else `local`.

    Raises:
        AutoexpError: there is no such machine.
        RecipeError: its file cannot be read.
    """
    if name == "auto":
        name = next((known for known in folders.files("machines", ".yaml") if _is_here(known)), "local")
    path = folders.find("machines", name, ".yaml")
    raw, places = load_yaml(path)
    return read(path.stem, raw, places)


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
    elsewhere = (*DURATIONS, *policies.BATCH_KEYS, "identify", "network", "options")
    values = {key: raw[key] for key in raw if key not in elsewhere}
    values["options"] = _options(raw, places)
    values["network"] = _network(raw.get("network") or {}, places)
    for key in DURATIONS:
        if key in raw:
            values[f"{key}_s"] = _duration_s(raw[key], key, places)
    values["environment"] = tuple(values.get("environment") or ())
    values["python"] = str(values.get("python") or sys.executable)
    return Machine(name=name, **values)


def _options(raw: Mapping[str, Any], places: Places) -> dict[str, str]:
    try:
        return policies.read_options(raw)
    except policies.PolicyError as error:
        raise places.error((error.key,), str(error), why="a batch scheduler reads it", fix=error.fix) from error


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "cpus": (_is_count, "a count; leave it out to count them"),
    "gpus": (_is_count, "a count; leave it out to count them"),
    "environment": (_is_names, "a list of names"),
    "programs": (_is_texts, "BACKEND: PROGRAM"),
    "observer": (OBSERVERS.__contains__, f"one of {', '.join(OBSERVERS)}"),
    "options": (lambda value: isinstance(value, Mapping), "{NAME: VALUE, ...}"),
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
            except re.error as error:
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


def _is_here(name: str) -> bool:
    """Say whether a machine file's identify rule fits: `environment: {NAME: value}` or `hostname: pattern`."""
    raw, places = load_yaml(folders.find("machines", name, ".yaml"))
    read(name, raw, places)
    rule = raw.get("identify") or {}
    variables = rule.get("environment") or {}
    fits = [os.environ.get(variable) == str(value) for variable, value in variables.items()]
    if "hostname" in rule:
        fits.append(re.fullmatch(str(rule["hostname"]), hosts.hostname()) is not None)
    return bool(fits) and all(fits)


def _duration_s(value: object, key: str, places: Places) -> float:
    try:
        return quantities.duration_s(value)
    except ValueError as error:
        raise places.error((key,), str(error), why="it is a duration", fix="write it with its unit") from error
