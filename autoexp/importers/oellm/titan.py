"""torchtitan's options, which OELLM writes into a TOML file of each job, as flags by their full names. Pure."""

from collections.abc import Collection
from typing import Any

from autoexp.importers.oellm.stages import Config

TITAN = "backend.titan."
OURS = ("job.config_file", "job.dump_folder", "checkpoint.folder")
"""Options that name the job's own folder, or a file of options."""
CUSTOM = "backend.custom_config_module"
"""A module that declares more options."""


def flags(config: Config, given: Collection[str]) -> dict[str, Any]:
    """Write the options of the configuration, and those that only a stage or its sweep gives."""
    made: dict[str, Any] = {}
    if config.raw(CUSTOM):
        made["job.custom_config_module"] = config.own(CUSTOM)
    for path in dict.fromkeys((*config.flat, *sorted(given))):
        name, raw = path.removeprefix(TITAN), config.raw(path)
        if name == path or name in OURS or name.endswith("class_name"):
            continue
        if isinstance(raw, bool):
            made |= _switch(config, path, name, varies=path in given)
        elif path in given or raw not in (None, "", []):
            made[name] = config.value(path)
    return made


def _switch(config: Config, path: str, name: str, *, varies: bool) -> dict[str, Any]:
    """Write an option that is on or off; off has a flag of its own, for some are on by themselves."""
    section, _, last = name.rpartition(".")
    off = f"{section}.no-{last}" if section else f"no-{last}"
    if not varies:
        return {name if config.raw(path) else off: True}
    on = config.value(path)
    return {name: on, off: f"${{calc:'not {on}'}}"}
