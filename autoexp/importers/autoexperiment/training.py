"""A template that trains with Megatron-LM, as a backend's flags, environment and container. Pure.

The script is read, not run: arrays of flags, plain assignments, and choices between two of them by a value that the
stage fixes. What a machine file or autoexp itself says (where the processes meet, where to save) is left out.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoexp.backends.megatron import USUAL_PROGRAM
from autoexp.expressions import compile_value
from autoexp.importers.autoexperiment.template import TAKEN
from autoexp.importers.placeholders import Tell
from autoexp.scope import JobScope

KNOWN = ("train_container_simple.sbatch", "train_container_simple.sbatch.sh")
USUAL = """
#SBATCH --account={ACCOUNT}
#SBATCH --nodes={NODES}
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=48
#SBATCH --time={TIME}
#SBATCH --partition={PARTITION}
export CUDA_DEVICE_MAX_CONNECTIONS=1
if [ "{PHASE}" == "COOLDOWN" ]; then
  WARMUP=0
else
  WARMUP={LR_WARMUP_ITERS}
fi
cd {SHARED_MEGATRON}
singularity exec --nv {SHARED_CONTAINERS}/{IMAGE_NAME} python pretrain_gpt.py \
 --num-layers {NUM_LAYERS} --hidden-size {HIDDEN_SIZE} --ffn-hidden-size {FFN_HIDDEN_SIZE} \
 --num-attention-heads {NUM_ATTN_HEADS} --seq-length {SEQ_LENGTH} --max-position-embeddings {MAX_POSITION_EMBEDDINGS} \
 --position-embedding-type rope --rotary-base 100000 --rotary-percent 1.0 --normalization RMSNorm --swiglu \
 --qk-layernorm {DISABLE_BIAS_LINEAR} --micro-batch-size {MICRO_BATCH_SIZE} --global-batch-size {GLOBAL_BATCH_SIZE} \
 --train-iters {TRAIN_ITERS} --lr {LR} --min-lr {MIN_LR} --lr-decay-style {LR_DECAY_STYLE} \
 --lr-wsd-decay-style {LR_WSD_DECAY_STYLE} --lr-warmup-iters $WARMUP --lr-decay-iters {LR_DECAY_ITERS} \
 --lr-wsd-decay-iters {LR_WSD_DECAY_ITERS} --weight-decay {WD} --adam-beta1 {BETA1} --adam-beta2 {BETA2} \
 --clip-grad {CLIP_GRAD} --bf16 --use-flash-attn --use-distributed-optimizer --overlap-param-gather \
 --overlap-grad-reduce --tensor-model-parallel-size {TP} --pipeline-model-parallel-size {PP} --sequence-parallel \
 --data-path {DATA_PATH} --tokenizer-model {TOKENIZER_MODEL} --tokenizer-type {TOKENIZER_TYPE} --split 989,10,1 \
 --num-workers {DATA_NUM_WORKERS} --ckpt-format torch --use-checkpoint-args --override-opt_param-scheduler \
 --log-interval {LOG_INTERVAL} --log-throughput --tensorboard-dir tensorboard --save-interval {SAVE_INTERVAL} \
 --eval-interval {TRAIN_ITERS} --eval-iters {EVAL_ITERS}
"""
"""What megatron-autoexp's own training template comes to, for whoever imports without it."""

OURS = ("save", "load", "distributed-backend")
OF_A_JOB = {"tensorboard-dir": "${dir}/tensorboard"}
"""What each job has for itself: there it lay beside the checkpoints."""
_MEETING = ("MASTER_ADDR", "MASTER_PORT", "MASTER_IP", "PROJECT_DIR", "PYTHONPATH")
_PROGRAM = re.compile(r"[^\s\"']*pretrain_\w+\.py")
_CHOICE = re.compile(
    r"(?ms)^\s*if\s+(?P<test>[^\n]*?);\s*then[ \t]*\n(?P<then>.*?)(?:^\s*else[ \t]*\n(?P<other>.*?))?^\s*fi\b"
)
_EQUAL = re.compile(r"\[+\s*\"?(?P<left>[^\"\s]*)\"?\s*==?\s*\"?(?P<right>[^\"\s]*)\"?\s*\]+")
_ARITHMETIC = re.compile(r"\(\((.*)\)\)")
_ARRAY = re.compile(r"(?ms)^\s*(?P<name>\w+)=\((?P<items>.*?)^\s*\)")
_ASSIGNED = re.compile(r"(?m)^\s*(?P<export>export\s+)?(?P<name>\w+)=(?!\()(?P<value>.*)$")
_SPREAD = re.compile(r"\$\{(\w+)\[@\]\}")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_CONTAINER = re.compile(r"\b(singularity|apptainer)\s+exec\s+(.*?)\s+python", re.DOTALL)
_HOLE = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*)\}")
_MARKED = re.compile(r"\x03(\w+)\x04")

NOTHING = JobScope(levels=())
"""A scope for what has no names in it."""
FlagOf = Callable[[str], str | None]
"""Names the flag that a value switches on: `--disable-bias-linear` or nothing."""


def is_training(text: str) -> bool:
    """Say whether a template trains with Megatron-LM."""
    return _PROGRAM.search(text) is not None


@dataclass(slots=True)
class Script:
    """What a template assigns, on the way to its program."""

    constants: Mapping[str, Any]
    """The values that the stage fixes."""
    tell: Tell
    variables: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, list[str]] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)

    def read(self, text: str) -> str:
        """Take note of all assignments; return the script with its choices made."""
        text = _marked(text)
        self._assign_all(_CHOICE.sub("", text))
        text = _CHOICE.sub(self._chosen, text)
        for array in _ARRAY.finditer(text):
            self.arrays[array["name"]] = shlex.split(array["items"], comments=True)
        self._assign_all(text)
        return text

    def _assign_all(self, text: str) -> None:
        for found in _ASSIGNED.finditer(_ARRAY.sub("", text).replace("\\\n", " ")):
            self._assign(found)

    def _assign(self, found: re.Match[str]) -> None:
        value = found["value"]
        if "$(" in value or "`" in value or value.count('"') % 2:
            return
        words = shlex.split(value, comments=True)
        self.variables[found["name"]] = self.filled(words[0]) if words else ""
        if found["export"] and found["name"] not in self.exported:
            self.exported.append(found["name"])

    def _chosen(self, choice: re.Match[str]) -> str:
        holds = self._holds(choice["test"])
        if holds is None:
            if _ASSIGNED.search(choice["then"]):
                self.tell(f"the template chooses by {_shown(choice['test'])}; taken as if it did not hold")
            holds = False
        return (choice["then"] if holds else choice["other"]) or ""

    def _holds(self, test: str) -> bool | None:
        if arithmetic := _ARITHMETIC.fullmatch(test.strip()):
            return self._calculated(arithmetic[1])
        if not (found := _EQUAL.fullmatch(test.strip())):
            return None
        left, right = (self._constant(found[side]) for side in ("left", "right"))
        return None if left is None or right is None else left == right

    def _calculated(self, text: str) -> bool | None:
        """Compare numbers, where all of them are fixed."""
        text = re.sub(r"\$?\b([A-Za-z_]\w*)", lambda name: self._number(name[1]), text)
        if re.search(r"[^\d\s.<>=!|&()+*/%-]", text):
            return None
        said = text.replace("||", " or ").replace("&&", " and ")
        return bool(compile_value(f"${{calc:'{said}'}}")(NOTHING))

    def _number(self, name: str) -> str:
        return self._constant(self.variables.get(name, "?")) or "?"

    def _constant(self, text: str) -> str | None:
        if marked := _MARKED.fullmatch(text):
            return str(self.constants[marked[1]]) if marked[1] in self.constants else None
        return None if "$" in text else text

    def filled(self, text: str) -> str:
        """Put the values of variables into a text."""
        return _VARIABLE.sub(lambda found: self.variables.get(found[1] or found[2], found[0]), text)

    def words(self, text: str) -> Iterator[str]:
        """Split a command line into its words."""
        for word in shlex.split(text):
            spread = _SPREAD.fullmatch(word)
            for item in self.arrays.get(spread[1], []) if spread else [word]:
                yield self.filled(item)


def _marked(text: str) -> str:
    """Mark the holes, then undo the doubling of braces, so that what is left is a script."""
    signs = {"{{": "{", "}}": "}"}
    return _HOLE.sub(lambda found: f"\x03{found[1]}\x04" if found[1] else signs[found[0]], text)


def _shown(text: str) -> str:
    return _MARKED.sub(r"{\1}", text)


def native(text: str) -> str:
    """Write marked holes, and variables of the environment, in the words of recipes."""
    text = _VARIABLE.sub(lambda v: f"${{oc.env:{v[1] or v[2]},unknown}}" if (v[1] or v[2]) in TAKEN else v[0], text)
    return _MARKED.sub(r"${\1}", text)


def stage(text: str, constants: Mapping[str, Any], flag_of: FlagOf, tell: Tell) -> dict[str, Any]:
    """Write a template as the keys of a stage, and `program` for its params."""
    script = Script(constants, tell)
    text = script.read(text)
    program, words = _command(text, script)
    folder = re.findall(r"(?m)^\s*cd\s+(\S+)\s*$", text)
    if folder and not program.startswith(("/", "\x03")):
        program = f"{script.filled(folder[-1])}/{program}"
    env = {name: native(script.variables[name]) for name in script.exported if name not in _MEETING}
    made: dict[str, Any] = {"program": native(program), "args": flags(words, flag_of)}
    if container := _container(text, script):
        made["container"] = container
    if env := {name: value for name, value in env.items() if "$" not in re.sub(r"\$\{[^}]*\}", "", value)}:
        made["env"] = env
    return made


def _command(text: str, script: Script) -> tuple[str, list[str]]:
    """Find the program with its flags: to the end of the quotes, or of the line, that it stands in."""
    joined = text.replace("\\\n", " ")
    found = _PROGRAM.search(joined)
    if found is None:  # it stands in a branch that is not taken
        return USUAL_PROGRAM, []
    rest = joined[found.end() :]
    quoted = joined[joined.rfind("\n", 0, found.start()) : found.start()].count('"') % 2
    line = rest.partition('"')[0] if quoted else rest.partition("\n")[0]
    return script.filled(found[0]), list(script.words(line))


def flags(words: Sequence[str], flag_of: FlagOf) -> dict[str, Any]:
    """Read flags: of several of one name the last counts."""
    args: dict[str, Any] = {}
    name = ""
    for word in words:
        hole = _MARKED.fullmatch(word)
        if hole and (flag := flag_of(hole[1])):
            args[flag], name = f"${{calc:'${{{hole[1]}}} != \"\"'}}", ""
        elif word.startswith("--"):
            name, _, value = word[2:].partition("=")
            args[name] = _value(value) if value else True
        elif name:
            before = args[name]
            more = _value(word)
            args[name] = more if before is True else [*(before if isinstance(before, list) else [before]), more]
    return {name: OF_A_JOB.get(name, value) for name, value in args.items() if name not in OURS}


def _value(word: str) -> Any:
    text = native(word)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _container(text: str, script: Script) -> dict[str, Any]:
    found = _CONTAINER.search(text.replace("\\\n", " "))
    if found is None:
        return {}
    words = [native(script.filled(word)) for word in found[2].split()]
    images = [word for word in words if not word.startswith("-")]
    options = [word for word in words if word.startswith("-") and word != "--nv"]
    made = {"image": images[-1] if images else "", "runtime": found[1]}
    return {**made, **({"options": options} if options else {})}
