"""The kinds of jobs of an AutoExperiment file, each as a stage of a recipe. Pure.

A kind is known by its template and its helpers: trainings with Megatron-LM become a backend, megatron-autoexp's
helper scripts our hooks. Anything else stays a script.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoexp.errors import RecipeError
from autoexp.importers.autoexperiment import template as templates
from autoexp.importers.autoexperiment import training
from autoexp.importers.autoexperiment.tree import Definition
from autoexp.importers.notes import Notes
from autoexp.importers.placeholders import HOLE, in_python, is_format, number, pasted, pasting
from autoexp.naming import safe
from autoexp.places import KeyPath

CONVERSIONS = ("convert_eval_checkpoint.sbatch", "convert_eval_checkpoint.sbatch.sh")
_CONVERTS = "convert_checkpoint_from_megatron_to_transformers"
_COOLDOWN = re.compile(r"\S*cooldown_helper\.sh\s+(\S+)\s+(\S+)\s+(\S+)")
_CONVERT = re.compile(r"\S*convert_helper\.sh\s+(\S+)(?:\s+(\S+))?")
_TRAIN_ENDS = "after training is done"
RETRY = {"max_attempts": 10, "when": {"hung": "retry"}}
CONVERT_RESOURCES = {"nodes": 1, "gpus_per_node": 1, "cpus": 8, "walltime": "6h"}
CONVERT_OPTIONS = {"arch": "MODEL_TYPE", "tokenizer": "TOKENIZER_MODEL", "vocab-size": "VOCAB_SIZE"}
HALF_AN_HOUR_S = 1800
DEEPEST = 8
"""How many names may stand for one another, until one is a number."""
_ALONE = ("export", "NONE")
"""What jobs are submitted with anyway."""
HOME = "workdir"
"""The param that says where the original's relative paths begin."""

Read = Callable[[str], str | None]
"""Finds a template's text by its path; None where it is not here."""


@dataclass(slots=True)
class Kind:
    """One kind of job, on its way to a stage."""

    name: str
    labels: tuple[tuple[str, str], ...]
    own: list[Definition]
    common: Sequence[Definition]
    known: Collection[str]
    """Every name that it may refer to."""
    notes: Notes
    read: Read
    text: str | None = field(init=False)
    """Its template's."""

    def __post_init__(self) -> None:
        self.text = self.read(self.field("template"))

    def find(self, name: str) -> Definition | None:
        """Find what a name means to this kind: its own definition before the study's."""
        return next((one for one in (*reversed(self.own), *reversed(self.common)) if one.name == name), None)

    def field(self, name: str) -> str:
        """Return a text of the job's as it was written; empty without one."""
        found = self.find(name)
        return str(found.value) if found and not found.is_axis and found.value is not None else ""

    def path(self, name: str) -> KeyPath:
        """Say where a name stands."""
        found = self.find(name)
        return found.path if found else ()

    def tell(self, code: str, name: str, message: str) -> None:
        """Keep a note about one of its names."""
        self.notes.tell(code, self.path(name), f"{self.name}: {message}")

    def unsure(self, name: str) -> Callable[[str], None]:
        """Return how to tell of what is odd about a name."""
        return lambda message: self.tell("unsure", name, message)

    @property
    def file(self) -> str:
        """Its template's file name."""
        return self.field("template").rpartition("/")[2]

    @property
    def is_training(self) -> bool:
        """It trains with Megatron-LM."""
        return self.file in training.KNOWN if self.text is None else training.is_training(self.text)

    @property
    def is_conversion(self) -> bool:
        """It converts and evaluates checkpoints, as megatron-autoexp does."""
        known = self.file in CONVERSIONS if self.text is None else _CONVERTS in self.text
        return known or _CONVERT.search(self.field("start_condition_cmd")) is not None

    def values(self, name: str) -> list[Any]:
        """List every value that a name may have, as written."""
        return [value for one in (*self.common, *self.own) for value in _values(one, name)]

    def flag_of(self, name: str) -> str | None:
        """Name the flag that a value is, where it is that flag or nothing."""
        given = {str(value) for value in self.values(name)} - {""}
        alike = len(given) == 1 and all(text.startswith("--") and " " not in text for text in given)
        return given.pop()[2:] if alike else None


def _values(definition: Definition, name: str) -> Iterator[Any]:
    if definition.name == name and not definition.is_named:
        yield from definition.value if definition.is_axis else [definition.value]
    elif definition.is_named:
        yield from _below(definition.value, name)


def _below(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == name and not isinstance(item, Mapping):
                yield from item if isinstance(item, list) else [item]
            yield from _below(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _below(item, name)


def title(labels: Sequence[tuple[str, str]], file: str) -> str:
    """Name a stage after its branches; `train` goes without saying behind another one."""
    words = [label.lower() for _, label in labels]
    if len(words) > 1 and words[-1] == "train":
        words.pop()
    return safe("_".join(words) or file.partition(".")[0].lower() or "job").strip("._-+")


def stage(kind: Kind, kinds: Sequence[Kind]) -> dict[str, Any]:
    """Write a kind as a stage's keys, its params and sweep aside."""
    for name, whole, rest in templates.formats(kind.text or ""):
        if name in kind.known and (kind.is_training or kind.is_conversion or not is_format(rest)):
            said = f"its template has {whole}, which stays as it is written: let a param say it, and name that"
            kind.tell("unsure", "template", said)
    for option, instead in templates.LOST.items():
        given = templates.parse(kind.text or "").options.get(option)
        if given is not None and (option, given) != _ALONE:
            kind.tell("left-out", "template", f"its template's --{option}={given} is left out: {instead}")
    if kind.is_conversion:
        return _conversion(kind, kinds)
    made = _training(kind, kinds) if kind.is_training else _script(kind)
    interval = kind.field("check_interval_secs")
    silent_s = max(HALF_AN_HOUR_S, int(interval) if interval.isdecimal() else 0)
    return {**made, "retry": RETRY, "stall": {"no_progress": f"{silent_s // 60}m"}}


# Trainings


def _training(kind: Kind, kinds: Sequence[Kind]) -> dict[str, Any]:
    if kind.text is None:
        said = f"{kind.file} is not here: its flags are taken to be those of megatron-autoexp's own template"
        kind.tell("unsure", "template", said)
    text = training.USUAL if kind.text is None else kind.text
    constants = {one.name: one.value for one in (*kind.common, *kind.own) if not one.is_axis}
    found = training.stage(text, constants, kind.flag_of, kind.unsure("template"))
    _check_flags(found["args"], kind)
    made: dict[str, Any] = {"params": {"program": found.pop("program")}, "backend": "megatron"}
    made |= _branch(kind, kinds, found["args"])
    options = templates.parse(text).options
    asked = templates.resources(options, kind.known, kind.unsure("template"))
    asked.pop("processes_per_node", None)  # one for each GPU: the script itself was started once a node
    done = kind.field("termination_cmd")
    if "KeyError" in done:
        said = "a KeyError in the log no longer counts as a finished training; only a whole last checkpoint does"
        kind.tell("mended", "termination_cmd", said)
    elif done and _TRAIN_ENDS not in done:
        said = "termination_cmd is left out: a training is done once its last checkpoint is whole"
        kind.tell("left-out", "termination_cmd", said)
    return {**made, "args": found.pop("args"), "resources": asked, **found}


def _check_flags(args: dict[str, Any], kind: Kind) -> None:
    """Mend a schedule that is over before the training is, and name what no recipe gives a value to."""
    end, last = args.get("lr-decay-iters"), args.get("train-iters")
    text = kind.field("LR_DECAY_ITERS")
    if end is not None and end != last and re.sub(r"[{}\s]", "", text) != "TRAIN_ITERS":
        args["lr-decay-iters"] = last
        lowest = {str(value) for value in kind.values("MIN_LR")}
        here = f", here {lowest.pop()}" if len(lowest) == 1 else ""
        said = f"lr-decay-iters is {last}, not {text or end}: what comes after it trains with the lowest rate{here}"
        kind.tell("mended", "LR_DECAY_ITERS", said)
    elif end is not None:
        args["lr-decay-iters"] = last
    for flag, value in ((flag, value) for flag, value in args.items() if flag not in training.OF_A_JOB):
        for name in re.findall(r"\$\{(?!oc\.|calc)(\w+)\}", str(value)):
            if name not in kind.known:
                kind.tell("unsure", "template", f"--{flag} is {value}, and nobody defines {name}")


def _branch(kind: Kind, kinds: Sequence[Kind], args: dict[str, Any]) -> dict[str, Any]:
    """Write a start on the pretraining's checkpoint, instead of the helper that links it."""
    command = kind.field("start_condition_cmd")
    helper = _COOLDOWN.search(command)
    others = [one for one in kinds if one.is_training and one is not kind]
    if helper is None or not others:
        return {"start": _holds(command, kind)} if command else {}
    source = f"{helper[1]}/{helper[2]}"
    parent = next((one for one in others if one.field("RUN_DIR") == source), others[0])
    iteration = pasted(helper[3], kind.known, kind.unsure("start_condition_cmd"))
    if kind.field("LR_WSD_DECAY_ITERS") in {"", "0"} or "lr-wsd-decay-iters" not in args:
        args["lr-wsd-decay-iters"] = f"${{calc:'{args['train-iters']} - {iteration}'}}"
        said = "the cooldown has no decay of its own; it takes what is left from the branch point"
        kind.tell("mended", "LR_WSD_DECAY_ITERS", said)
    args |= {"override-opt_param-scheduler": True, "exit-on-missing-checkpoint": True}
    kind.tell(
        "mended",
        "start_condition_cmd",
        "cooldown_helper.sh linked any checkpoint whose number ended alike, and on each restart began again at the "
        "branch point; cooldown_symlink takes exactly that iteration, once, when it is whole",
    )
    waited = f"${{calc:'max({iteration}, 1)'}}"  # rounded down to a save it may be 0, of which planning warns
    return {
        "start": {"checkpoint_reached": {"stage": parent.name, "iteration": waited}},
        "prepare": {
            "cooldown_symlink": {"from": f"${{sibling.{parent.name}.checkpoints}}", "iteration": iteration},
        },
    }


# Conversions


def _conversion(kind: Kind, kinds: Sequence[Kind]) -> dict[str, Any]:
    helper = _CONVERT.search(kind.field("start_condition_cmd"))
    parent = parent_of(kind, kinds)
    each: dict[str, Any] = {"checkpoint": parent.name}
    if helper and helper[2]:
        if (first := _settled(kind, helper[2])) is None:
            said = f"from is left out, and every checkpoint converted: {helper[2]} is not one number for all its jobs"
            kind.tell("left-out", "start_condition_cmd", said)
        elif first > 0:
            each["from"] = first
    options = templates.parse(kind.text).options if kind.text else {}
    asked = templates.resources(options, kind.known, kind.unsure("template")) or CONVERT_RESOURCES
    asked = {name: value for name, value in asked.items() if name != "processes_per_node"}
    told = {option: f"${{{name}}}" for option, name in CONVERT_OPTIONS.items() if name in kind.known}
    found = re.search(r"--tasks[= ]\s*(\S+)", kind.text or "--tasks oellm-core")
    tasks = {"tasks": found[1].split(",")} if found else {}
    if found and "PROJECT_DIR_PATH" in kind.known:
        tasks["task-folder"] = "${PROJECT_DIR_PATH}/eval"
    kind.tell(
        "mended",
        "template",
        "config.json comes from each checkpoint itself: the template's rope_theta 10000 and its biases were not the "
        "training's; a conversion that was killed is done again, and a failed evaluation is a failed job",
    )
    env = {"HF_HOME": "${HF_HOME}", "HF_HUB_OFFLINE": 1} if "HF_HOME" in kind.known else {}
    made = {"each": each, "hook": "convert_eval", "with": {**told, **tasks}, "resources": asked}
    return {**made, **({"env": env} if env else {}), "retry": {"max_attempts": 3}}


def _settled(kind: Kind, text: str) -> int | None:
    """Return the whole number that a text comes to, where it is the same for all jobs of a kind."""
    for _ in range(DEEPEST):
        if (found := number(text)) != text:
            return found if isinstance(found, int) else None
        if not (hole := HOLE.fullmatch(text)) or hole["rest"] or hole["interpolation"]:
            return None
        own = [one for one in kind.own if one.name == hole["name"] and not one.is_axis]
        values = {str(one.value) for one in own} or {str(value) for value in kind.values(hole["name"])}
        if len(values) != 1:
            return None
        text = values.pop()
    return None


def parent_of(kind: Kind, kinds: Sequence[Kind]) -> Kind:
    """Find the training whose checkpoints a conversion waits for: in the same folder, or the nearest branch."""
    trainings = [one for one in kinds if one.is_training]
    if not trainings:
        why, fix = "no stage trains with Megatron-LM", "import it together with its training"
        raise kind.notes.error(kind.path("template"), "there is nothing to convert", why=why, fix=fix)
    alike = [one for one in trainings if one.field("RUN_DIR") == kind.field("RUN_DIR")]
    near = [one for one in alike or trainings if one.labels[:-1] == kind.labels[:-1]]
    return (near or alike or trainings)[0]


# Scripts


def _script(kind: Kind) -> dict[str, Any]:
    command = kind.field("start_condition_cmd")
    start = {"start": _holds(command, kind)} if command else {}
    if kind.text is None:
        env = {"sbatch_script": _built(kind), HOME: f"${{{HOME}}}"}
        return {**start, "env": env, "command": f'cd -- "${HOME}" && exec bash "$sbatch_script"'}
    template = templates.parse(kind.text)
    if not template.script.strip():
        raise _nothing(kind, f"{kind.file} has no line but for sbatch", "write there what they are to run")
    for name in sorted(templates.names(kind.text) - set(kind.known)):
        kind.tell("unsure", "template", f"its template refers to {{{name}}}, which nobody defines")
    script = templates.script(template, kind.known)
    spelled = switches(kind)
    env = {variable: in_python(value, spelled) for variable, value in script.variables.items()}
    for name, signs in script.signs.items():
        _tell_of_signs(kind, name, signs)
    done = _ending(kind, env)
    asked = templates.resources(template.options, kind.known, kind.unsure("template"))
    env[HOME] = f"${{{HOME}}}"
    return {**start, "env": env, "command": _wrapped(script.text, done), "resources": asked}


def switches(kind: Kind) -> set[str]:
    """Name what may be true, false or null: in a script each is spelled as Python does."""
    return {name for name in kind.known if _is_switch(kind, name)}


def _is_switch(kind: Kind, name: str, above: tuple[str, ...] = ()) -> bool:
    values = kind.values(name)
    named = [hole["name"] for value in values if isinstance(value, str) and (hole := HOLE.fullmatch(value))]
    inner = [each for each in named if each and each not in (name, *above)]
    return any(isinstance(value, bool | None) for value in values) or any(
        _is_switch(kind, each, (*above, name)) for each in inner
    )


def _tell_of_signs(kind: Kind, name: str, signs: str) -> None:
    """Say where the shell was to read what is in a value, or in one that it is made of: here it is text."""
    values = [str(value) for value in _made_of(kind, name)]
    if any("$(" in value or "`" in value for value in values):
        kind.tell("unsure", name, f"{name} is a command; its text reaches the script as a value, and is not run")
        return
    if odd := next((value for value in values if not value.startswith("expr(") and set(value) & set(signs)), None):
        read = " ".join(sorted(set(odd) & set(signs)))
        said = f"{name} holds {odd!r}, of which the shell would have read the {read}: it reaches the script as it is"
        kind.tell("unsure", name, f"{said}; write what it comes to, or let the script say it")


def _made_of(kind: Kind, name: str, above: tuple[str, ...] = ()) -> Iterator[Any]:
    """List the values of a name, and of those that they name."""
    for entry in kind.values(name):
        value = next(iter(entry), "") if isinstance(entry, Mapping) else entry  # a branch is called by its key
        yield value
        for inner in templates.names(str(value)) - {name, *above}:
            yield from _made_of(kind, inner, (*above, name))


def _built(kind: Kind) -> str:
    """Name the script that was built of a template that is not here.

    Raises:
        RecipeError: there is none either, so that the jobs would run nothing.
    """
    template, found = kind.file or "its template", kind.find("sbatch_script")
    if found is None or not found.value:
        missing = f"{template} is not here" if kind.file else "there is no template"
        fix = f"put {template} beside the experiment" if kind.file else "write template: FILE, as AutoExperiment wants"
        raise _nothing(kind, f"{missing}, and no sbatch_script that was built of it", fix)
    said = f"{template} is not here: the stage runs the script that was built from it"
    kind.tell("unsure", "template", f"{said}; import again beside the template")
    own = "${sbatch_script}" if found.is_axis else kind.field("sbatch_script")
    return pasted(own, kind.known, kind.unsure("sbatch_script"))


def _nothing(kind: Kind, why: str, fix: str) -> RecipeError:
    return kind.notes.error(kind.path("template"), f"the jobs of {kind.name} would run nothing", why=why, fix=fix)


def _ending(kind: Kind, env: dict[str, str]) -> str:
    """Write the question whether the job is done, asked before and after the template's own lines."""
    for name in ("termination_cmd", "termination_str"):
        if kind.field(name):
            env[name] = f"${{{name}}}"
    if "termination_cmd" in env and "termination_str" in env:
        return f"{_BY_LOG} || {_BY_COMMAND}"
    return _BY_COMMAND if "termination_cmd" in env else _BY_LOG if "termination_str" in env else ""


_BY_LOG = 'grep -qP -- "$termination_str" "$AUTOEXP_DIR"/attempts/*/output.log'
_BY_COMMAND = '[[ $(eval "$termination_cmd") == 1 ]]'


def _wrapped(body: str, done: str) -> str:
    """Put a template's lines where they ran: in the original's folder, not ended by their first failure."""
    begin = f'set +e +o pipefail\ncd -- "${HOME}"\n'
    if not done:
        return f"{begin}{body}"
    asked = f"is_done() {{ {done}; }}\n{begin}if is_done; then exit 0; fi\n"
    return f"{asked}(\n{body})\ncode=$?\nis_done || exit $((code ? code : 1))\n"


def _holds(command: str, kind: Kind) -> dict[str, Any]:
    """Write a start condition by command: it holds when 1 is printed."""
    said = "start_condition_cmd is asked every 30 s, and never again once the job began: let it change nothing"
    kind.tell("unsure", "start_condition_cmd", said)
    written = pasted(with_log(command, kind), kind.known, kind.unsure("start_condition_cmd"))
    text = in_python(written, switches(kind))
    return {"command_succeeds": {"command": pasting(f"cd -- '${{{HOME}}}' && [[ $({text}) == 1 ]]")}}


def with_log(text: str, kind: Kind) -> str:
    """Name the job's log where a text spells its path out: it stands elsewhere now."""
    log = kind.field("output_file")
    return text.replace(log, "{output_file}") if log and "{" in log else text
