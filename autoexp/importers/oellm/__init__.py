"""OELLM autoexp's experiments: the README's sweeps, and HEAD's trees of configurations."""

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoexp import recipes
from autoexp.backends import torchtitan
from autoexp.importers import Imported
from autoexp.importers.notes import Notes
from autoexp.importers.oellm import postprocess, stages, titan
from autoexp.importers.oellm.conditions import Conditions
from autoexp.importers.oellm.events import Monitoring
from autoexp.importers.oellm.hydra import Tree
from autoexp.importers.oellm.names import BUILT_IN, Names
from autoexp.importers.oellm.stages import MEGATRON, Config
from autoexp.importers.oellm.sweep import Node, Reader, lifted, of_stage, shared
from autoexp.importers.oellm.values import Values
from autoexp.importers.oellm.writing import Levels
from autoexp.naming import safe
from autoexp.places import KeyPath

USUAL_STAGE = "train"
STEP = f"{MEGATRON}ckpt_step"
CONTROLS = {
    "start": ("job.start_condition", "job.start_conditions"),
    "cancel": ("job.cancel_condition", "job.cancel_conditions"),
    "finish": ("job.finish_condition", "job.finish_conditions"),
}
_BRANCH = re.compile(r"\$\{sibling\.(\w+)\.(?:checkpoints|dir)\}(?:/iter_(.+?))?/?")
_BARE = re.compile(r"(?<!\\)\$\{([\w.]+)\}")
_PART = re.compile(r"job\.\w+_events\.")
"""A part of an event's, by its place in the list."""
_NAME = re.compile(r"\$\{(\w+)\}")
_HOLES = re.compile(r"\\*\$\{.*\}")
"""What a stage's name has from its values, which are part of the jobs' ids here."""
_CALC = "${calc:'"
_PLAIN = re.compile(r"\$\{[\w.]+\}|\d+|\$\{calc:'[^']*'\}")
"""A name, a number, or a formula: what a formula may be made of."""
_CONVERTED = re.compile(r"\$\{sibling\.\w+\.dir\}/hf\b[^\"]*")
"""Where the step that converts left its result, in the training's own folder."""
_PARTS = ("job", "slurm", "backend", "container", "postprocess")
"""Parts that say what runs, or how; a sweep may stand for all of them."""
_OF_SIBLING = re.compile(r"\$\{sibling\.(\w+)\.params\.(\w+)\}")


def read(file: Path) -> Imported:
    """Read an experiment, with all that it is composed of.

    Raises:
        RecipeError: it is no YAML, or its sweep is none of OELLM's.
    """
    _, places = recipes.load_yaml(file)
    notes = Notes(places)
    tree = Tree(file, notes)
    tree.compose()
    return Imported(Writer(file, tree, notes).recipe(), tuple(notes.warnings))


class Writer:
    """Puts a recipe together."""

    def __init__(self, file: Path, tree: Tree, notes: Notes) -> None:
        self._file, self._tree, self._notes = file, tree, notes
        self._names = Names()
        self._values = Values(self._names, lambda said: notes.tell("unsure", (), said))
        self._levels = Levels(self._names, self._values)
        self._conditions = Conditions(self._values, lambda said: notes.tell("unsure", ("job",), said))
        self._flat = stages.aims(tree.config)
        self._usual = stages.aims(tree.usual)
        raw = tree.config.get("sweep")
        raw = {} if raw is None else raw
        self._root = Reader(notes, tree.choose, tree.is_group).node(raw, ("sweep",))
        if not any(tree.config.get(part) for part in _PARTS) and not self._root.paths() and not tree.choices:
            why, fix = f"none of {', '.join(_PARTS)} is in it, and no sweep gives a value", "see docs/import.md"
            raise notes.error((), "this is no experiment of OELLM's", why=why, fix=fix)
        self._current = str(tree.config.get("stage") or "")
        self._made = self._split()
        self._values.look = lambda path: _at({**tree.config, "sweep": raw}, path)
        if self._flat.get("backend.class_name") == titan.BACKEND:
            self._values.folder = titan.folder(self._flat)
        given = self._root.paths()
        self._values.knows = lambda path: path in self._flat or path in self._usual or path in given
        self._tell_of_escapes()

    def _split(self) -> dict[str, Node]:
        """Cut the sweep up by stage."""
        listed = dict.fromkeys((*self._root.stages(), self._current))
        made = {stage: left for stage in listed if (left := of_stage(self._root, stage, self._current)) is not None}
        found: dict[str, Node] = {}
        for stage, node in made.items():
            texts = (_HOLES.sub("", stage), stage or USUAL_STAGE, f"{stage}_{len(found)}")
            names = (safe(text).strip("._-+") for text in texts)
            found[next(name for name in names if name and name not in found)] = lifted(node, self._is_ours)
        return found

    def recipe(self) -> dict[str, Any]:
        """Write all of it; what nothing reads is left out."""
        for path, why in stages.left_out(self._tree.config):
            self._notes.tell("left-out", (path,), why)
        common, own = shared([*self._made.values()])
        self._pass(common, own)  # which paths are read anywhere is known only at its end
        sweep, params, bodies = self._pass(common, own)
        self._tell_of_differences()
        self._tell_of_the_machine()
        self._tell_of_converted(bodies)
        return {
            "study": self._study(),
            **({"params": params} if params else {}),
            **({"sweep": sweep} if sweep else {}),
            "stages": bodies,
        }

    def _tell_of_escapes(self) -> None:
        """Say where OELLM takes a value from outside the sweep, as nothing escapes it."""
        given = self._root.paths() - BUILT_IN.keys()
        for path, raw in self._root.values():
            for name in _BARE.findall(raw) if isinstance(raw, str) else ():
                if name in given:
                    said = f"{path}: ${{{name}}} is not escaped, and was the value outside the sweep"
                    self._notes.tell("mended", ("sweep",), f"{said}; here it is the job's own")

    def _tell_of_differences(self) -> None:
        """Say what a stage's jobs do not all have in common, and a recipe says of whole stages."""
        for stage, node in self._made.items():
            whole = {path for path in node.fixed if not _PART.match(path)} | BUILT_IN.keys() | self._values.read
            if some := sorted(path for path in node.paths() - whole if path.startswith("job.")):
                said = f"{', '.join(some)}: of some jobs, or a part; {stage} has none of it: give these jobs a stage"
                self._notes.tell("left-out", ("sweep",), said)

    def _pass(self, common: Node, own: list[Node]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Write the sweep, the params and the stages, with the paths known to be read so far."""
        self._levels = Levels(self._names, self._values)
        self._started: dict[str, Any] = {}
        bodies = {stage: self._stage(node, common) for stage, node in zip(self._made, own, strict=True)}
        trainings = {stage: body for stage, body in bodies.items() if "backend" in body}
        steps = self._tree.config.get("postprocess")
        after = postprocess.stages(
            steps, trainings, self._values, lambda code, said: self._notes.tell(code, ("postprocess",), said)
        )
        bodies |= {name: body for name, body in after.items() if name not in bodies}
        bodies |= {name: body for name, body in self._started.items() if name not in bodies}
        sweep = self._levels.write(common)
        return sweep, self._params(), bodies

    def _study(self) -> str:
        name = self._tree.config.get("job", {}).get("name") if isinstance(self._tree.config.get("job"), Mapping) else ""
        return safe(str(name if name and "${" not in str(name) else self._file.stem)).strip("._-+") or "study"

    def _tell_of_the_machine(self) -> None:
        if chosen := self._tree.choices.get("slurm"):
            said = f"slurm: {chosen} chooses no machine here: it is told from where one plans, or give --machine"
            self._notes.tell("mended", ("defaults",), said)
        if self._tree.choices or "slurm" in self._tree.config:
            said = "what waits, or ends otherwise than it should, is looked at whenever it changes, not once a minute"
            self._notes.tell("mended", (), said)

    def _tell_of_converted(self, bodies: Mapping[str, Any]) -> None:
        """Say which stages ask for a converted model where nobody writes one here."""
        is_for_each = "each" in bodies.get(postprocess.CONVERT, {})
        for stage, body in bodies.items() if is_for_each else ():
            if found := _CONVERTED.search(json.dumps([body.get(key) for key in ("start", "command", "with")])):
                said = f"{stage}: nobody writes {found[0]}: convert has a job and a folder for each checkpoint"
                how = "write `each: {job: convert}` without start, and ${sibling.convert.output}"
                self._notes.tell("unsure", ("sweep",), f"{said}; {how}")

    def _stage(self, node: Node, common: Node) -> dict[str, Any]:
        """Write one stage: its own sweep and values, its program, and when it starts and ends."""
        given = node.paths() | common.paths()
        apart = node.fixed.keys() if node.filter is None else {path for path in node.fixed if self._is_ours(path)}
        hoisted = {path: value for path, value in node.fixed.items() if path in apart}
        left = {path: value for path, value in node.fixed.items() if path not in apart}
        level = self._levels.write(replace(node, fixed=left))
        controls = self._controls(hoisted)
        program = stages.program(self._config(hoisted, given))
        step = hoisted.get(STEP)
        branch = self._branch(hoisted) if "backend" in program else {}
        made: dict[str, Any] = {**controls, **branch}
        config = self._config(hoisted, given)
        if "backend" in program:
            is_titan = program["backend"] == "torchtitan"
            made["args"] = titan.flags(config, given) if is_titan else self._flags(config, given, branch, node)
        env = stages.environment(config)
        made["resources"] = stages.resources(config)
        made["env"] = {name: value for name, value in env.items() if "hook" not in program or name.startswith("HF_")}
        made["container"] = stages.container(config) if "hook" not in program else {}
        above = common.always()  # stands over what the stage has of its own
        unread = ("slurm.", "container.", "backend.env.", *(() if "backend" in program else ("backend.",)))
        fixed = {
            self._names.of(path): self._values.value(value, path)
            for path, value in hoisted.items()
            if not self._is_ours(path)
            and path not in above
            and (path in self._values.read or not path.startswith(unread))
        }
        if branch and step is not None and STEP in self._values.read:
            fixed[self._names.of(STEP)] = self._values.value(step, STEP)
        if "backend" in program:
            fixed |= self._launched(config)
        made |= self._monitored(node.fixed)
        made = {name: value for name, value in made.items() if value}
        return {**({"sweep": level} if level else {}), **({"params": fixed} if fixed else {}), **program, **made}

    def _launched(self, config: Config) -> dict[str, Any]:
        """Write what a backend is to start, where that is not the usual."""
        if script := config.raw("backend.launcher_script"):
            return {"program": self._program(str(self._values.value(script, "backend.launcher_script")))}
        module = config.raw("backend.launcher_module")
        return {"program": module} if module not in (None, torchtitan.USUAL_PROGRAM) else {}

    def _program(self, script: str) -> str:
        """Write where the program is: below the folder that the configurations stand in."""
        if script.startswith(("/", "$")) or self._tree.root is None:
            return script
        return os.path.normpath(self._tree.root.parent / script)

    def _flags(self, config: Config, given: set[str], branch: Mapping[str, Any], node: Node) -> dict[str, Any]:
        """Write the flags; a cooldown's decay must not begin before it branches off."""
        args = stages.flags(config, given)
        if not branch:
            return args
        iteration = str(branch["prepare"]["cooldown_symlink"]["iteration"])
        end = str(args.get("lr-decay-iters", args.get("train-iters")))
        said, last, first = (self._number(str(each), node) for each in (args.get("lr-wsd-decay-iters"), end, iteration))
        if said is not None and last is not None and first is not None:
            if said > last - first > 0:
                args["lr-wsd-decay-iters"] = f"${{calc:'{end} - {iteration}'}}"
                what = f"a decay of {said:g} iterations would have begun before the branch point {first:g}"
                self._notes.tell("mended", ("sweep",), f"{what}; it takes the {last - first:g} left from there")
        elif said and all(_PLAIN.fullmatch(each) for each in (end, iteration)):
            end = end[len(_CALC) : -2] if end.startswith(_CALC) else end
            args["lr-wsd-decay-iters"] = f"${{calc:'min({args['lr-wsd-decay-iters']}, ({end}) - {iteration})'}}"
            what = f"a decay of {said:g} iterations, whatever the length"
            self._notes.tell("mended", ("sweep",), f"{what}: it takes no more than is left from the branch point")
        return {**args, "override-opt_param-scheduler": True, "exit-on-missing-checkpoint": True}

    def _number(self, written: str, node: Node) -> float | None:
        """Return what a value comes to, where that is a number for the whole stage; planning judges the others."""
        if found := _OF_SIBLING.fullmatch(written):
            return self._number(f"${{{found[2]}}}", self._made.get(found[1], Node()))
        if name := _NAME.fullmatch(written):
            path = next((path for path, short in self._names.given.items() if short == name[1]), "")
            raw = node.fixed.get(path, self._flat.get(path)) if path not in node.paths() - node.fixed.keys() else None
            return float(raw) if isinstance(raw, int | float) else None
        return float(written) if written.isdecimal() else None

    @staticmethod
    def _is_ours(path: str) -> bool:
        """Say whether a path is the job's own affair, or a condition that has been written already."""
        ours = path.startswith(MEGATRON) and path.removeprefix(MEGATRON) in (*stages.OURS, stages.TENSORBOARD)
        return ours or path in BUILT_IN or path.startswith("job.") or path == "index"

    def _config(self, own: Mapping[str, Any], given: Collection[str]) -> Config:
        """Put together what is known by path, of a stage also what it has of its own."""
        varied = {path for node in self._made.values() for path in node.paths()}
        swept = set(given) - own.keys()
        return Config({**self._flat, **own}, self._usual, varied, swept, self._names, self._values, self._told)

    def _told(self, path: str, said: str) -> None:
        place: KeyPath = tuple(path.split("."))
        self._notes.tell("left-out", place, said)

    def _monitored(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Write what is done when something happens; what a stage's own sweep says of it counts."""
        job = self._tree.config.get("job")
        own = {path.removeprefix("job."): value for path, value in fixed.items() if path.startswith("job.")}
        found = Monitoring(self._values, self._notes.tell)
        found.read({**(job if isinstance(job, Mapping) else {}), **own})
        self._started |= found.stages
        return {"retry": found.retry, "stall": found.stall, "events": found.events}

    def _controls(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Write the job's conditions, the stage's own before the configuration's."""
        made = {}
        for key, paths in CONTROLS.items():
            raw = [fixed.get(path, self._flat.get(path)) for path in paths]
            said = next((each for each in raw if each), None)
            if said and (written := self._conditions.all(said)):
                made[key] = written
        return made

    def _branch(self, fixed: dict[str, Any]) -> dict[str, Any]:
        """Write a start from another stage's checkpoint as a link to it, instead of a path to load."""
        load = fixed.pop(f"{MEGATRON}load", None)
        step = fixed.pop(STEP, None)
        fixed.pop(f"{MEGATRON}save", None)
        found = _BRANCH.fullmatch(str(self._values.value(load or "", f"{MEGATRON}load")))
        if found is None:
            if load:
                self._notes.tell(
                    "left-out", ("sweep",), f"load: {load} is left out: jobs load what they saved themselves"
                )
            return {}
        stage = found[1]
        if step is None and not found[2]:
            self._values.siblings.add(f"{MEGATRON}train_iters")
        last = f"${{sibling.{stage}.params.{self._names.of(f'{MEGATRON}train_iters')}}}"
        iteration = self._values.value(step) if step is not None else found[2] or last
        said = "load and ckpt_step would begin at the branch point on each restart; a link to the checkpoint does not"
        self._notes.tell("mended", ("sweep",), said)
        return {"prepare": {"cooldown_symlink": {"from": f"${{sibling.{stage}.checkpoints}}", "iteration": iteration}}}

    def _params(self) -> dict[str, Any]:
        """Write every path that something refers to as a param, but for those that each job has a value for."""
        nodes = list(self._made.values())
        everywhere = set.intersection(*(node.always() for node in nodes))
        at_times = set().union(*(node.paths() - node.always() for node in nodes))
        somewhere = set().union(*(node.paths() for node in nodes))
        made: dict[str, Any] = {}
        config = self._config({}, ())
        wanted = self._values.read | self._values.siblings
        while missing := sorted(path for path in wanted if self._names.of(path) not in made):
            for path in missing:
                known = config.known(path) and path not in everywhere
                made[self._names.of(path)] = self._values.value(config.raw(path), path) if known else None
                if not config.known(path) and path not in somewhere:
                    self._notes.tell("unsure", (), f"{path} is referred to, and nobody gives it a value")
            wanted = self._values.read | self._values.siblings
        unset = {self._names.of(path) for path in somewhere - at_times if not config.known(path)}
        unset |= {self._names.of(path) for path in everywhere}
        return {name: value for name, value in made.items() if name not in unset}


def _at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path; None where nothing does."""
    for step in path.split("."):
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return None
    return value
