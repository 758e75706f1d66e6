"""An OELLM configuration as what a stage runs: Megatron-LM's flags, resources, environment, container. Pure."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoexp.importers.notes import SIGNALLED
from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.postprocess import evaluation
from autoexp.importers.oellm.spelling import false_of, flag_of, off_of
from autoexp.importers.oellm.sweep import flat
from autoexp.importers.oellm.values import Values
from autoexp.policies import REQUEUES
from autoexp.saves import AUTO
from autoexp.stages import VARIABLE

Tell = Callable[[str, str], None]
"""Tells of what is odd about a path."""
MEGATRON, AUX, SBATCH = "backend.megatron.", "backend.megatron.aux.", "slurm.sbatch."
OURS = ("save", "load", "ckpt_step", "wandb_exp_name", "wandb_save_dir", "config_logger_dir")
"""Flags that autoexp gives itself, or that name the job's own folder."""
TENSORBOARD = "tensorboard_dir"
ENVIRONMENTS = ("slurm.env.", "container.env.", "backend.env.")
"""The last one's counts: a backend's is given to the program itself."""
SET = ("MASTER_ADDR", "MASTER_PORT", "NUM_NODES", "NUM_GPUS", "CUDA_VISIBLE_DEVICES")
"""Variables that autoexp or Slurm sets."""
RESOURCES = ("nodes", "gpus_per_node", "partition", "account", "qos")
NO_OPTIONS = (
    "signal",
    "output",
    "error",
    "job_name",
    "array",
    "gres",
    "ntasks",
    "ntasks_per_node",
    "cpus_per_task",
    "time",
)
BRIDGE = {"checkpoint": "megatron_path", "output": "hf_path", "arch": "derive_hf_arch", "tokenizer": "tokenizer"}
"""Of Megatron-Bridge's conversion, what ours is told, by its own flags."""
BACKENDS = {"MegatronBackend": "megatron", "TitanBackend": "torchtitan"}
NODES = "oc.exclude_nodes:"
EXTRA = "save_extra_steps"
MAPS = ("oc.mapeval:", "oc.maptmpl:", "oc.mapextractkey:")
_PATH = re.compile(r"\\*\$\{([\w.]+)\}")
KNOWN = (
    *("job", "slurm", "backend", "container", "sweep", "aux", "metadata", "stage", "index", "defaults", "project"),
    "postprocess",
)
"""Parts of a configuration."""
_SHELL = re.compile(r"\$[^{]|`")


@dataclass(frozen=True, slots=True)
class Config:
    """What is known by dotted path: as composed, what programs take anyway, and what sweeps give values to."""

    flat: Mapping[str, Any]
    usual: Mapping[str, Any]
    varied: Collection[str]
    """Paths that a sweep, or some stage, gives a value to."""
    swept: Collection[str]
    """Paths that the jobs of this stage have several values for."""
    names: Names
    values: Values
    tell: Tell

    def known(self, path: str) -> bool:
        """Say whether the configuration has a value for a path."""
        return path in self.flat or path in self.usual

    def raw(self, path: str) -> Any:
        """Return a path's value as written."""
        return self.flat.get(path, self.usual.get(path))

    def value(self, path: str) -> Any:
        """Write a path's value: by its name where it varies, or is read elsewhere."""
        if path in self.varied or path in self.values.read:
            self.values.read.add(path)
            return f"${{{self.names.of(path)}}}"
        return self.values.value(self.raw(path), path)

    def listed(self, path: str) -> list[str] | None:
        """Return the formulas of a list that is made of the sweep's own entries, be it by another path."""
        raw = str(self.raw(path))
        named = _PATH.fullmatch(raw)
        return self.listed(named[1]) if named else self.values.mapped(raw)

    def own(self, path: str) -> Any:
        """Write what hardly anybody varies: the value itself, if it can be."""
        return (
            self.value(path)
            if path in self.swept or path in self.values.read
            else self.values.value(self.raw(path), path)
        )


def flags(config: Config, given: Collection[str]) -> dict[str, Any]:
    """Write Megatron-LM's flags: those of the configuration, and those that only a stage or its sweep gives."""
    made: dict[str, Any] = {}
    for path in dict.fromkeys((*config.flat, *sorted(given))):
        if not path.startswith(MEGATRON) or path.startswith(AUX):
            continue
        name = path.removeprefix(MEGATRON)
        if name in OURS or (path not in given and config.raw(path) in (None, [], "")):
            continue
        raw, off = config.raw(path), off_of(name)
        if raw is False and path not in given:
            made |= {flag: True} if (flag := false_of(name)) else {}
        elif off and (raw is not True or path in given):
            made[off] = f"${{calc:'not ${{{config.names.of(path)}}}'}}"
            config.values.read.add(path)
        elif name == EXTRA and is_calculated(config, str(raw)):
            made[name.replace("_", "-")] = AUTO
            config.tell(path, "its list is left out: auto, for it follows from the stages that branch off")
        elif name == TENSORBOARD:
            made["tensorboard-dir"] = "${dir}/tensorboard"  # each job has its own
        elif not off:
            made[flag_of(name)] = config.value(path)
    return made | ({"wandb-exp-name": "${job}"} if "wandb-project" in made else {})  # it does not start without


def is_calculated(config: Config, raw: str) -> bool:
    """Say whether a list is made of the sweep's own entries, be it by another path."""
    named = _PATH.fullmatch(raw)
    return any(name in raw for name in MAPS) or (named is not None and is_calculated(config, str(config.raw(named[1]))))


def resources(config: Config) -> dict[str, Any]:
    """Write what is asked of Slurm."""
    said = {path.removeprefix(SBATCH): path for path in (*config.flat, *config.varied) if path.startswith(SBATCH)}
    found = {name: config.value(said[name]) for name in RESOURCES if name in said}
    if "gpus_per_node" not in said and (count := re.search(r"(\d+)$", str(config.raw(said.get("gres", ""))))):
        found["gpus_per_node"] = int(count[1])
    if "cpus_per_task" in said:
        tasks, cores = config.raw(said.get("ntasks_per_node", "")) or 1, config.value(said["cpus_per_task"])
        same = str(tasks) == "1"
        found["cpus"] = cores if same else cores * tasks if isinstance(cores, int) and isinstance(tasks, int) else cores
    if "time" in said:
        found["walltime"] = config.value(said["time"])
    for name in REQUEUES:
        if config.raw(said.pop(name.replace("-", "_"), "")) not in ("", None, False):
            found["requeue"] = name == "requeue"
    if NODES in str(config.raw(said.get("exclude", ""))):
        del said["exclude"]
        config.tell("slurm.sbatch.exclude", "nodes are left out by the remedy exclude_node, and by the machine's file")
    if "signal" in said:
        config.tell("slurm.sbatch.signal", SIGNALLED)
    rest = {name for name in said if name not in (*RESOURCES, *NO_OPTIONS) and config.raw(said[name]) is not None}
    if rest:
        found["options"] = {name.replace("_", "-"): config.value(said[name]) for name in sorted(rest)}
    return {name: value for name, value in found.items() if value is not None}


def environment(config: Config) -> dict[str, Any]:
    """Write what jobs export; what the job's own shell was to compute is told, and left out."""
    found: dict[str, Any] = {}
    computed, relative = [], []
    given = dict.fromkeys((*config.flat, *sorted(config.swept)))
    for start, path in ((start, path) for start in ENVIRONMENTS for path in given if path.startswith(start)):
        name, raw = path.removeprefix(start), config.raw(path)
        is_set = path in config.swept or raw not in (None, "")
        if not VARIABLE.fullmatch(name) or not is_set or name in SET or name.startswith("SLURM_"):
            continue
        if isinstance(raw, str) and _SHELL.search(raw.replace("\\", "")):
            computed += [name] if name not in computed else []
            continue
        found[name] = config.own(path)
        relative += [name] if str(raw).startswith(".") and name not in relative else []
    if computed:
        said = f"{', '.join(computed)}: computed in the job, and left out: see to them in the machine's setup"
        config.tell("slurm.env", said)
    if relative:
        config.tell("slurm.env", f"{', '.join(relative)}: relative paths begin in each job's own directory")
    return found


def container(config: Config) -> dict[str, Any]:
    """Write the image that jobs run in; empty without one."""
    image = config.raw("container.image") or config.raw("container.sif")
    if not image:
        return {}
    runtime, bind = config.raw("container.runtime"), config.raw("container.bind")
    known = {"runtime": runtime} if runtime in ("apptainer", "singularity") else {}
    binds = {"bind": config.values.value(bind)} if bind else {}
    path = "container.image" if config.raw("container.image") else "container.sif"
    return {"image": config.own(path), **known, **binds}


def program(config: Config) -> dict[str, Any]:
    """Write what a stage runs: a backend, or a script."""
    script = config.raw("backend.command")
    if "backend.command" in config.varied or script:
        config.values.read.add("backend.command")
        return {"command": ["bash", "-c", f"${{{config.names.of('backend.command')}}}"]}
    chosen = config.raw("backend.class_name")
    known = str(chosen or "MegatronBackend")
    if not chosen and any(path.startswith("backend.titan.") for path in (*config.flat, *config.varied)):
        why = "titan is left out: no class_name says which backend, and without one it is Megatron-LM"
        config.tell("backend.titan", f"{why}; write class_name: TitanBackend")
    if known == "OELLMEvalBackend":
        said = {path.removeprefix("backend."): raw for path, raw in config.flat.items() if path.startswith("backend.")}
        models = config.values.value(said.get("models") or [])
        listed = models if isinstance(models, list) else [models]
        return {"command": [*evaluation(said, config.values, [*map(str, listed)])]}
    if known == "MegatronBridgeBackend":
        given = {name: config.raw(f"backend.{path}") for name, path in BRIDGE.items()}
        return {
            "hook": "megatron_to_hf",
            "with": {name: config.values.value(raw) for name, raw in given.items() if raw is not None},
        }
    if known not in BACKENDS:
        config.tell("backend.class_name", f"{known} has no backend here: its stage says so, and fails")
        return {"command": ["bash", "-c", f"echo 'write a command: for {known} into the recipe' >&2; exit 1"]}
    return {"backend": BACKENDS[known]}


def left_out(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of a configuration that become nothing, each with why."""
    for key, value in raw.items():
        if key not in KNOWN and value is not None:
            yield key, f"{key} is left out: nothing reads it, unless a value refers to it"


def aims(raw: Mapping[str, Any]) -> dict[str, Any]:
    """List a configuration by dotted path, its sweep aside."""
    return flat({key: value for key, value in raw.items() if key not in ("sweep", "defaults")})
