"""A recipe as data: its stages, checked key by key, not yet evaluated."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from autoexp.naming import LONGEST_ID
from autoexp.places import KeyPath, Places

RECIPE_KEYS = ("study", "machine", "params", "sweep", "budget", "stages")
OF_OTHERS = ("extends", "variants")
"""Keys of the file that are gone once what they name is merged."""
IMPORT = "autoexp import autoexperiment|oellm|modalities FILE"
"""For whoever plans a file of another tool."""
STAGE_KEYS = (
    *("backend", "args", "hook", "with", "command", "container"),
    *("sweep", "axes", "params", "each", "needs", "start", "cancel", "finish", "prepare", "gate"),
    *("resources", "env", "retry", "stall", "events", "notify", "priority", "requires"),
)
KEYS_TO_COME = ("pack",)
EACH_COUNTS = {
    "from": ("iteration", "iterations count from 1"),
    "every": ("iteration", "iterations count from 1"),
    "batch": ("batch", "a batch has one checkpoint, or more"),
}
"""The whole numbers that `each` takes for checkpoints: what they are, and why they are at least 1."""
PROGRAMS = ("backend", "hook", "command")
MAPPINGS = (
    *("args", "with", "params", "sweep", "start", "cancel", "finish", "prepare"),
    *("resources", "env", "retry", "stall", "events", "notify", "each"),
)
EXAMPLES = {
    "start": "job_succeeded: {stage: train}", "cancel": "file_exists: {path: stop}",
    "finish": "file_exists: {path: done}", "prepare": "cooldown_symlink: {from: DIR, iteration: 100}",
    "resources": "nodes: 1", "env": "NAME: VALUE", "retry": "max_attempts: 3", "stall": "no_progress: 30m",
    "notify": "command: SCRIPT", "each": "checkpoint: STAGE", "budget": "gpu_hours: 500",
    "args": "lr: 1e-3", "sweep": "params: {lr: [1e-3, 1e-2]}",
}  # fmt: skip
"""Of the mappings, a pair of each."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _is_stages(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value))


def _is_command(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else isinstance(value, list | tuple) and value)


def _is_gate(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and len(value) == 1 and _is_calls(value))


def _is_calls(value: Any) -> bool:
    return all(isinstance(values, Mapping | None) for values in value.values())


def _is_telling(value: Any) -> bool:
    return not isinstance(value, Mapping) or _is_command(value.get("command"))


SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "notify": (_is_telling, "{command: a script, or a list of words}"),
    "requires": (_is_stages, "a path, or a list of paths"),
    "axes": (_is_stages, "an axis of the study's sweep, or a list of them, [] for none"),
    "command": (_is_command, "a script, or a list of words"),
    "needs": (_is_stages, "a stage, or a list of stages"),
    "prepare": (_is_calls, "HOOK: {NAME: VALUE, ...}"),
    "gate": (_is_gate, "one hook's name, or HOOK: {NAME: VALUE, ...}"),
}
"""What the values of some keys look like."""


@dataclass(frozen=True, slots=True)
class Each:
    """What an `each` stage stands for: every checkpoint, or every job, of these stages."""

    kind: str
    stages: tuple[str, ...]
    first: int = 1
    every: int = 1
    batch: int | None = None
    """How many checkpoints of one parent a job stands for at most; None makes a job for each."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as written."""

    name: str
    program: str
    """`backend`, `hook` or `command`."""
    raw: Mapping[str, Any]
    each: Each | None = None
    settled: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What keys without expressions were read as: it is the same for all its jobs."""

    @property
    def path(self) -> KeyPath:
        """Where it stands in the recipe."""
        return ("stages", self.name)

    @property
    def axes(self) -> tuple[str, ...] | None:
        """Name the axes of the study's sweep that it has; None is all of them."""
        named = self.raw.get("axes")
        return None if named is None else (named,) if isinstance(named, str) else tuple(named)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe as written."""

    study: str
    places: Places
    machine: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Stage] = field(default_factory=dict)
    gpu_hours: float | None = None
    """What the study may use."""
    text: str = ""
    """What the study keeps as recipe.yaml."""


def read_recipe(raw: Mapping[str, Any], places: Places, text: str) -> Recipe:
    """Check a recipe's keys and shapes.

    Raises:
        RecipeError: a key is unknown or missing, or has a value of the wrong shape.
    """
    for key in raw:
        if key not in RECIPE_KEYS:
            if raw.keys().isdisjoint(("study", "stages")) and not get_close_matches(key, RECIPE_KEYS, n=1):
                what, why = f"{key!r} is no key of a recipe", "that names its study, and has stages"
                raise places.error((key,), what, why=why, fix=f"bring another tool's file over: {IMPORT}")
            raise places.unknown((key,), (*RECIPE_KEYS, *OF_OTHERS))
    study = raw.get("study")
    if not isinstance(study, str) or not is_name(study):
        raise places.error(
            ("study",) if "study" in raw else (),
            "a recipe names its study" if study is None else f"{study!r} cannot name a study",
            why="the name becomes a directory",
            fix=f"write study: NAME with up to {LONGEST_ID} letters, digits, '.', '_' and '-'",
        )
    for key in ("params", "sweep", "stages"):
        _expect_mapping(raw, (key,), places)
    stages = {str(name): _read_stage(str(name), stage, places) for name, stage in (raw.get("stages") or {}).items()}
    if not stages:
        raise places.error(("stages",), "there are no stages", why="a study is made of them", fix="add one")
    _check_each(stages, places)
    return Recipe(
        study=study,
        places=places,
        machine=str(raw.get("machine") or "auto"),
        params=raw.get("params") or {},
        sweep=raw.get("sweep") or {},
        stages=stages,
        gpu_hours=_gpu_hours(raw, places),
        text=text,
    )


def _gpu_hours(raw: Mapping[str, Any], places: Places) -> float | None:
    """Read the budget of a study."""
    _expect_mapping(raw, ("budget",), places)
    budget = raw.get("budget") or {}
    for key in budget:
        if key != "gpu_hours":
            raise places.unknown(("budget", str(key)), ("gpu_hours",))
    hours = budget.get("gpu_hours")
    if hours is not None and (
        isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < math.inf
    ):
        fix = "write a number above 0: budget: {gpu_hours: 500}"
        raise places.error(("budget", "gpu_hours"), f"{hours!r} is no budget", why="GPU hours are counted", fix=fix)
    return hours


def is_name(text: str) -> bool:
    """Say whether a text can be a path component: no separators, no leading dot, nothing odd, not too long."""
    plain = all(c.isascii() and (c.isalnum() or c in "._-") for c in text)
    return 0 < len(text) <= LONGEST_ID and text[0].isalnum() and plain


def _expect_mapping(raw: Mapping[str, Any], path: KeyPath, places: Places) -> None:
    value = raw.get(str(path[-1]))
    if not isinstance(value, Mapping | None):
        of_such = f", such as {EXAMPLES[str(path[-1])]}" if path[-1] in EXAMPLES else ""
        raise places.error(
            path,
            f"{path[-1]} is written as key: value pairs",
            why="it is a list" if isinstance(value, list) else f"it is {value!r:.80}",
            fix=f"indent the pairs below it{of_such}",
        )


def _read_stage(name: str, raw: Any, places: Places) -> Stage:
    path: KeyPath = ("stages", name)
    if not is_name(name):
        raise places.error(
            path, f"{name!r} cannot name a stage", why="the name becomes part of directories", fix="rename it"
        )
    if not isinstance(raw, Mapping):
        raise places.error(path, "a stage is written as key: value pairs", why=f"it is {raw!r}", fix="indent its keys")
    for key in raw:
        if key in KEYS_TO_COME:
            raise places.to_come((*path, key))
        if key not in STAGE_KEYS:
            raise places.unknown((*path, key), STAGE_KEYS)
    for key in MAPPINGS:
        _expect_mapping(raw, (*path, key), places)
    _check_shapes(raw, path, places)
    return Stage(name=name, program=_program(raw, path, places), raw=raw, each=_read_each(raw, path, places))


def _check_shapes(raw: Mapping[str, Any], path: KeyPath, places: Places) -> None:
    for key, (fits, shape) in SHAPES.items():
        if raw.get(key) is not None and not fits(raw[key]):
            raise places.error(
                (*path, key), f"{raw[key]!r} is no {key}", why=f"{key} is {shape}", fix=f"write {key}: {shape}"
            )
    _check_flags(raw.get("args") or {}, (*path, "args"), places)
    named = raw.get("axes") or ()
    if not isinstance(named, str) and (twice := next((name for name in named if named.count(name) > 1), None)):
        fix = f"write {twice} once"
        raise places.error((*path, "axes"), f"axes names {twice} twice", why="a job has an axis once", fix=fix)
    for name in raw.get("env") or {}:
        if not VARIABLE.fullmatch(name) or name.startswith("AUTOEXP_"):
            ours = name.startswith("AUTOEXP_")
            why = "autoexp sets those that begin with AUTOEXP_ itself" if ours else "the shell knows no such name"
            raise places.error(
                (*path, "env", name), f"{name!r} cannot be an environment variable", why=why, fix="rename it"
            )


def _check_flags(args: Mapping[str, Any], path: KeyPath, places: Places) -> None:
    """Refuse flags that programs would not take as they are meant."""
    spelled: dict[str, str] = {}
    for name in map(str, args):
        first = spelled.setdefault(name.replace("-", "_").lstrip("_"), name)
        if name.startswith("-"):
            fix = f"write {name.lstrip('-')}"
            raise places.error((*path, name), f"{name!r} is no flag's name", why="the dashes are added", fix=fix)
        if first != name:
            why = f"{first} and {name} are one flag for most programs, and of two values one would be lost"
            raise places.error((*path, name), f"{name} is there twice", why=why, fix=f"remove it, or {first}")


def _program(raw: Mapping[str, Any], path: KeyPath, places: Places) -> str:
    given = [key for key in PROGRAMS if raw.get(key) is not None]
    if len(given) != 1:
        raise places.error(
            path,
            f"a stage has one program, not {len(given)}",
            why=f"it names {' and '.join(given)}" if given else f"it has none of {', '.join(PROGRAMS)}",
            fix="keep one of backend:, hook: and command:" if given else "add backend:, hook: or command:",
        )
    for key, owner in (("args", "backend"), ("with", "hook")):
        if raw.get(key) is not None and given[0] != owner:
            instead = {"hook": "with:, for a hook's flags", "backend": "args:, for a backend's"}.get(given[0])
            fix = f"write {instead}" if instead else "put its words into the command"
            raise places.error((*path, key), f"{key} belongs to a {owner}", why=f"this stage has a {given[0]}", fix=fix)
    if given[0] == "hook" and raw.get("container") is not None:
        why = "hooks run with autoexp's own Python"
        raise places.error((*path, "container"), "a hook runs in no container", why=why, fix="remove container")
    return given[0]


def _read_each(raw: Mapping[str, Any], path: KeyPath, places: Places) -> Each | None:
    if "each" not in raw:
        return None
    if raw.get("axes") is not None:
        why = "its jobs have the axes of those that they appear for"
        raise places.error((*path, "axes"), "axes do not go with each", why=why, fix="remove axes")
    each, path = raw["each"] or {}, (*path, "each")
    for key in each:
        if key not in ("checkpoint", "job", *EACH_COUNTS):
            raise places.unknown((*path, key), ("checkpoint", "job", *EACH_COUNTS))
    kinds = [kind for kind in ("checkpoint", "job") if kind in each]
    if len(kinds) != 1:
        raise places.error(
            path,
            "each stands for checkpoints or for jobs",
            why=f"it says {' and '.join(kinds) or 'neither'}",
            fix="write each: {checkpoint: STAGE} or each: {job: STAGE}",
        )
    stages = each[kinds[0]]
    if not stages or not _is_stages(stages):
        fix = f"write {kinds[0]}: STAGE, or a list of stages"
        raise places.error((*path, kinds[0]), f"{stages!r} names no stage", why="each stands for a stage's", fix=fix)
    counts = {key: _count(each[key], (*path, key), kinds[0], places) for key in EACH_COUNTS if key in each}
    listed = (stages,) if isinstance(stages, str) else tuple(stages)
    first, every = counts.get("from", 1), counts.get("every", 1)
    return Each(kind=kinds[0], stages=listed, first=first, every=every, batch=counts.get("batch"))


def _count(number: Any, path: KeyPath, kind: str, places: Places) -> int:
    if kind == "job":
        why = "it counts checkpoints, and a job of such a stage stands for what its parent stands for"
        raise places.error(path, f"{path[-1]} goes with checkpoints", why=why, fix="remove it")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        what, why = EACH_COUNTS[str(path[-1])]
        raise places.error(path, f"{number!r} is no {what}", why=why, fix="write a whole number")
    return number


def _check_each(stages: Mapping[str, Stage], places: Places) -> None:
    for stage in stages.values():
        for parent in stage.each.stages if stage.each else ():
            if parent not in stages:
                near = get_close_matches(parent, stages, n=1)
                raise places.error(
                    (*stage.path, "each"),
                    f"there is no stage {parent!r}",
                    why=f"the stages are {', '.join(stages)}",
                    fix=f"did you mean {near[0]}?" if near else "correct the name",
                )
    for stage in stages.values():
        if stage.program == "backend" and _is_batched(stage, stages):
            raise places.error(
                (*stage.path, "backend"),
                "a batch cannot train",
                why="a job's log and checkpoints are those of one training, and this job would stand for several",
                fix="remove batch: from the each: it stands for, or train by command:",
            )


def _is_batched(stage: Stage, stages: Mapping[str, Stage], below: tuple[str, ...] = ()) -> bool:
    """Say whether a stage's jobs may stand for several checkpoints; stages that stand for each other never appear."""
    if stage.each is None or stage.name in below:
        return False
    if stage.each.kind == "checkpoint":
        return stage.each.batch is not None
    return any(_is_batched(stages[parent], stages, (*below, stage.name)) for parent in stage.each.stages)
