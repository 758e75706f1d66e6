"""Modalities' scaling experiments: a training configuration with a sweep, or the results that one left behind."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoexp import recipes
from autoexp.importers import Imported
from autoexp.importers.modalities import results
from autoexp.importers.modalities.scripts import Scripts, relative_paths
from autoexp.importers.modalities.sweep import ROOT, Axes, check, pairs
from autoexp.importers.notes import Notes
from autoexp.naming import safe
from autoexp.places import Places

USUAL_WORLD = 2
"""Modalities' own, where nothing else is said."""
USUAL_GPUS = 4
WALLTIME = "1h"
PAIRED = "paired"
_ZIPPED = "to pair axes, put them in a group of type: zip"
_WRITE = """\
python3 -c 'import sys
from omegaconf import OmegaConf
config = OmegaConf.load(sys.argv[1])
config.sweep = OmegaConf.from_dotlist(sys.argv[3:])
OmegaConf.save(config, sys.argv[2])'"""
"""Puts a job's values in the place of the sweep; all else stays as it is written."""
_RUN = """\
cd -- ${workdir}
modalities=$(command -v modalities) || { echo "modalities is not on the PATH: see setup of the machine"; exit 127; }
torchrun="$(dirname "$modalities")/torchrun"
set -- "$torchrun" --standalone
if [ ${nodes} != 1 ]; then
  set -- srun --nodes=${nodes} --ntasks=${nodes} --kill-on-bad-exit=1 "$torchrun" --nnodes=${nodes} --rdzv-backend=c10d
fi
"$@" --nproc-per-node=${processes} "$modalities" run \\
  --config_file_path "$run/config.yaml" --experiments_root_path "$AUTOEXP_DIR" \\
  --experiment_id "run$AUTOEXP_ATTEMPT" --error_log_folder "$run/error_logs"
"""


def read(file: Path) -> Imported:
    """Read a sweep, or a folder of results with the sweep they are of.

    Raises:
        RecipeError: it is no YAML, or has no sweep that Modalities would take.
        AutoexpError: the folder holds no results of Modalities'.
    """
    if file.is_dir():
        return _of_results(file)
    config, places = recipes.load_yaml(file)
    return _imported(file, config, Scripts(file).worlds(), file.stem, Notes(places))


def _of_results(folder: Path) -> Imported:
    found = results.read(folder)
    config, _ = recipes.load_yaml(found.file)
    notes = Notes(Places(os.fspath(folder)))
    for said in found.told():
        notes.tell("ran", (), said)
    return _imported(found.file, {**config, ROOT: found.sweep()}, found.worlds(), found.file.stem, notes)


def _imported(file: Path, config: Mapping[str, Any], worlds: list[int], name: str, notes: Notes) -> Imported:
    swept = config.get(ROOT)
    if not isinstance(swept, Mapping) or not swept:
        why = "Modalities sweeps over what stands there, and ends where that is nothing"
        raise notes.error((ROOT,), "there is no sweep", why=why, fix="add one: sweep: {sequence_length: [256, 512]}")
    axes = Axes(notes)
    if pairs(swept.get(PAIRED), swept):
        said = f"{PAIRED} pairs nothing in Modalities, where it is an axis itself: its jobs were alike; {_ZIPPED}"
        notes.tell("mended", (ROOT, PAIRED), said)
        swept = {name: value for name, value in swept.items() if name != PAIRED}
    axes.add((), swept)
    check({**config, ROOT: swept}, notes)
    recipe = _recipe(file, config, axes, worlds, name)
    if not worlds:
        said = (
            f"world sizes stand on Modalities' command line: here is its usual {USUAL_WORLD}, give world those you want"
        )
        notes.tell("unsure", (ROOT,), said)
    _tell(config, notes)
    return Imported(recipe, tuple(notes.warnings))


def _tell(config: Mapping[str, Any], notes: Notes) -> None:
    if config.get(PAIRED):
        notes.tell("left-out", (PAIRED,), f"{PAIRED} does nothing in Modalities, nor here; {_ZIPPED}")
    said = "one allocation ran the configurations of a world size in a row, so that one that failed or hung took the"
    said += f" others' time, or ended them; here each is a job, with its own attempts and {WALLTIME}: see to walltime"
    notes.tell("mended", (), said)
    said = "a run was done when its results had so many lines, to which a second try added; here when modalities ends"
    notes.tell("mended", (), f"{said} with 0, and each attempt has a folder of its own, such as run1")


def _recipe(file: Path, config: Mapping[str, Any], axes: Axes, worlds: list[int], name: str) -> dict[str, Any]:
    scripts = Scripts(file)
    gpus, relative = scripts.gpus_per_node(), list(dict.fromkeys(relative_paths(config)))
    if gpus is None:
        axes.notes.tell("unsure", (), f"nobody says how many GPUs a node has: gpus_per_node is {USUAL_GPUS}")
    workdir = scripts.workdir(relative) if relative else None
    if relative and workdir is None:
        said = f"relative paths begin in workdir, and are not there: {', '.join(relative)}"
        axes.notes.tell("unsure", (), said)
    return {
        "study": safe(name).strip("._-+") or "study",
        "params": {
            "config": os.path.abspath(file),  # noqa: PTH100 - links stay as they are
            "workdir": os.path.normpath(workdir or file.absolute().parent),
            "gpus_per_node": gpus or USUAL_GPUS,
            "processes": "${calc:'min(${world}, ${gpus_per_node})'}",
            "nodes": "${calc:'${world} // ${processes}'}",
            **axes.params,
        },
        ROOT: axes.sweep(worlds or [USUAL_WORLD]),
        "stages": {"train": _stage(axes.words, relative)},
    }


def _stage(words: Mapping[str, str], relative: list[str]) -> dict[str, Any]:
    given = "".join(f" \\\n  {shlex.quote(place)}=${{{name}}}" for place, name in words.items())
    run = 'run="$AUTOEXP_DIR/run$AUTOEXP_ATTEMPT"\nmkdir -p "$run"\n'
    return {
        "command": f'{run}{_WRITE} ${{config}} "$run/config.yaml"{given}\n{_RUN}',
        "requires": ["${config}", *(f"${{workdir}}/{path}" for path in relative)],
        "resources": {"world": "${world}", "gpus_per_node": "${gpus_per_node}", "walltime": WALLTIME},
        "retry": {"max_attempts": 3, "when": {"hung": "retry", "time_limit": "fail"}},
        "stall": {"no_progress": "30m"},
    }
