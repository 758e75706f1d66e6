"""Machine files: machines/<name>.yaml becomes a `Machine`, and the one we are on is recognised."""

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoexp import folders, quantities
from autoexp.model import Machine
from autoexp.places import Places
from autoexp.recipes import load_yaml

DURATIONS = ("sweep", "poll", "visibility", "stop_grace", "save_grace")
KEYS = (
    *("description", "identify", "executor", "cpus", "gpus", "python", "environment", "programs", "observer"),
    *DURATIONS,
)
OBSERVERS = ("auto", "inotify", "poll")


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
    for key in raw:
        if key not in KEYS:
            raise places.unknown((key,), KEYS)
    values = {key: raw[key] for key in raw if key not in (*DURATIONS, "identify")}
    for key in DURATIONS:
        if key in raw:
            values[f"{key}_s"] = _duration_s(raw[key], key, places)
    for key in ("cpus", "gpus"):
        if not isinstance(values.get(key, 0), int):
            raise places.error((key,), f"{raw[key]!r} is no number", why="it is a count", fix="leave it out to count")
    if values.get("observer", "auto") not in OBSERVERS:
        fix = f"use one of {', '.join(OBSERVERS)}"
        raise places.error(("observer",), f"unknown observer {raw['observer']!r}", why="nothing watches so", fix=fix)
    values["environment"] = tuple(values.get("environment") or ())
    values["python"] = str(values.get("python") or sys.executable)
    return Machine(name=name, **values)


def cpus(machine: Machine) -> int:
    """Count the CPU cores that jobs may use on this host."""
    return machine.cpus if machine.cpus is not None else len(os.sched_getaffinity(0))


def gpus(machine: Machine) -> int:
    """Count the GPUs that jobs may use on this host."""
    if machine.gpus is not None:
        return machine.gpus
    return sum(1 for device in Path("/dev").glob("nvidia[0-9]*"))


def _is_here(name: str) -> bool:
    """Say whether a machine file's identify rule fits: `environment: {NAME: value}` or `hostname: pattern`."""
    raw, _ = load_yaml(folders.find("machines", name, ".yaml"))
    rule = raw.get("identify") or {}
    variables = rule.get("environment") or {}
    fits = [os.environ.get(variable) == str(value) for variable, value in variables.items()]
    if "hostname" in rule:
        fits.append(re.fullmatch(str(rule["hostname"]), socket.gethostname()) is not None)
    return bool(fits) and all(fits)


def _duration_s(value: object, key: str, places: Places) -> float:
    try:
        return quantities.duration_s(value)
    except ValueError as error:
        raise places.error((key,), str(error), why="it is a duration", fix="write it with its unit") from error
