"""torchtitan's options, which OELLM writes into a TOML file of each job, as flags by their full names. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from autoexp.importers.oellm.stages import Config, is_calculated

TITAN = "backend.titan."
OURS = ("job.config_file", "job.dump_folder", "checkpoint.folder")
"""Options that name the job's own folder, or a file of options."""
CUSTOM = "backend.custom_config_module"
"""A module that declares more options."""

BACKEND = "TitanBackend"
_USUAL_FOLDER = "checkpoint"
_OWN = re.compile(r"\\*\$\{[\w.]+\}/?")


def folder(flat: Mapping[str, Any]) -> str:
    """Tell where the original saves, below a job's own folder."""
    dump = str(flat.get(f"{TITAN}job.dump_folder") or "")
    below = dump[own.end() :] if (own := _OWN.match(dump)) else ""
    return f"{below}/{flat.get(f'{TITAN}checkpoint.folder') or _USUAL_FOLDER}".strip("/")


def flags(config: Config, given: Collection[str]) -> dict[str, Any]:
    """Write the options of the configuration, and those that only a stage or its sweep gives."""
    made: dict[str, Any] = {}
    if config.raw(CUSTOM):
        made["job.custom_config_module"] = config.own(CUSTOM)
    for path in dict.fromkeys((*config.flat, *sorted(given))):
        name, raw = path.removeprefix(TITAN), config.raw(path)
        if name == path or name in OURS or name.endswith("class_name"):
            continue
        if is_calculated(config, str(raw)) and config.listed(path) is None:
            config.tell(path, f"{name} is left out: its list cannot be told here; see that what others load is saved")
        elif isinstance(raw, bool):
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
