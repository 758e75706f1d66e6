"""The two files that a job's directory begins with: run.sh and job.yaml. Pure text.

run.sh is what an executor starts, and what `bash run.sh` starts by hand. Started by an executor (AUTOEXP_TOKEN is
set) it first claims its attempt by creating run.<token> exclusively, so that a submission accepted twice still runs
once, and last writes exit.json, whatever ended it. By hand it only sets the environment and runs the command.

A job that stands for a batch of checkpoints runs its command for each, in a folder of that iteration. What is done is
marked in done/, and not run again by the next attempt; by hand, everything is run and nothing marked.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from string import Template
from typing import Any

from autoexp.codec import encode
from autoexp.logs import BEGINS_AGAIN
from autoexp.model import JobSpec
from autoexp.world import checkpoint_name, job_dir

_SCRIPT = Template("""\
#!/usr/bin/env bash
$directives# $job of study $study, written by autoexp; every value stands in job.yaml. By hand: bash run.sh
[[ -n $${AUTOEXP_ROOT:-} ]] || export AUTOEXP_ROOT=$root
[[ -n $${AUTOEXP_DIR:-} ]] || export AUTOEXP_DIR=$dir
export AUTOEXP_STUDY=$study AUTOEXP_JOB=$job AUTOEXP_ATTEMPT="$${AUTOEXP_ATTEMPT:-0}"
unset "$${!SBATCH_@}"  # they were for the sbatch that submitted this, not for one that the job may start
cd -- "$$AUTOEXP_DIR" || exit 1
setup() {
$setup
}
$program
if [[ -z $${AUTOEXP_TOKEN:-} ]]; then setup; $by_hand; fi

printf -v attempt 'attempts/%03d' "$$AUTOEXP_ATTEMPT"
me=$${SLURM_JOB_ID:-$$$$}
claim=$$attempt/run.$$AUTOEXP_TOKEN
if [[ -n $${AUTOEXP_AFTER:-} && ! -e $$claim ]]; then  # queued behind one: not if that ended by itself, or by a person
  printf -v before 'attempts/%03d' "$$AUTOEXP_AFTER"
  cut='^(TIMEOUT|DEADLINE|PREEMPTED|NODE_FAIL|BOOT_FAIL)$$' asked='' state=''
  for second in {0..59}; do  # what it wrote at its end may not be seen here yet, and Slurm may be busy
    id=$$(cat "$$before/run.$${AUTOEXP_TOKEN%.*.*}.$$AUTOEXP_AFTER.$${AUTOEXP_TOKEN##*.}" 2>/dev/null)
    if (( second % 10 == 0 )) && [[ -n $$id ]]; then  # without an id it would speak of all jobs
      state=$$(scontrol --oneliner show job "$$id" 2>/dev/null); state=$${state##*JobState=}
      [[ -n $$state ]] || state=$$(sacct -XDnPo State -j "$$id" 2>/dev/null | tail -n 1)  # forgotten soon
      state=$${state%% *}
    fi
    if [[ -e $$before/exit.json ]]; then
      [[ $$(< "$$before/exit.json") =~ '"asked":"'(USR2|TERM)'"' ]] || exit 0
      asked=$${BASH_REMATCH[1]}
    fi
    [[ $$asked != USR2 && ! $$state =~ $$cut && ! ( $$asked == TERM && -n $$state ) ]] || break; sleep 1
  done
  [[ $$asked == USR2 || $$state =~ $$cut ]] || exit 0  # it may still live; in doubt it is submitted anew
fi
set -o noclobber
if { exec 3> "$$claim"; } 2>/dev/null; then
  for _ in {1..300}; do printf '%s\\n' "$$me" >&3 && break; sleep 0.2; done  # a full disk may get room
  exec 3>&-
  [[ -s $$claim ]] || { rm -f -- "$$claim"; exit 1; }
else
  read -r owner < "$$claim" && [[ $$owner == "$$me" && -n $${SLURM_RESTART_COUNT:-} ]] || exit 0
  [[ ! -e $$attempt/exit.json ]] || exit 0  # it said how it ended: that is final, whoever queues it again
  printf '\n%s\n' "$again"  # what was cut short may have left half a line
fi
set +o noclobber
read -r line < /proc/$$$$/stat; read -r -a stat <<< "$${line##*) }"; read -r boot < /proc/sys/kernel/random/boot_id
read -r host < /proc/sys/kernel/hostname
now=$${EPOCHREALTIME/,/.}  # some locales write a comma
printf '{"v":1,"token":"%s","id":"%s","pid":%d,"start_time":%d,"boot_id":"%s","pid_namespace":"%s",' \\
  "$$AUTOEXP_TOKEN" "$$me" $$$$ "$${stat[19]}" "$$boot" "$$(readlink /proc/$$$$/ns/pid)" > "$$attempt/started.json.tmp"
printf '"host":"%s","nodes":"%s","gpus":"%s","at":%s}\\n' \\
  "$$host" "$${SLURM_JOB_NODELIST:-}" "$${CUDA_VISIBLE_DEVICES:-}" "$$now" \\
  >> "$$attempt/started.json.tmp" && mv -f -- "$$attempt/started.json.tmp" "$$attempt/started.json"

finish() {
  trap '' TERM INT HUP USR1 USR2
  # The machine's setup may have left; otherwise we stand in our directory, whatever it is called by now.
  [[ -e $$claim ]] || cd -- "$$AUTOEXP_DIR" || exit "$$1"
  local code=$$1
  local said
  printf -v said '{"v":1,"token":"%s","code":%d,"signal":%s,"asked":"%s","at":%s}' \\
    "$$AUTOEXP_TOKEN" "$$code" "$$((code > 128 ? code - 128 : 0))" "$$asked" "$${EPOCHREALTIME/,/.}"
  for _ in {1..300}; do  # a full disk may get room, and whoever ends what the program left behind may hit our mv
    [[ ! -d $$attempt/exit.json ]] || rmdir -- "$$attempt/exit.json"  # mv would move into it
    printf '%s\\n' "$$said" > "$$attempt/exit.json.tmp" &&
      { mv -f -- "$$attempt/exit.json.tmp" "$$attempt/exit.json"; } 2>/dev/null
    [[ -f $$attempt/exit.json && ! -e $$attempt/exit.json.tmp || ! -d $$attempt ]] && break
    sleep 0.2
  done
  exit "$$code"
}
pass_on() {
  asked=$$1
  [[ -n $${child:-} ]] || return 0
  [[ $$1 != USR2 ]] || set -- TERM  # the scheduler's sign that the time limit is near
  told=$$child
  $kill
}
begun() {  # what came before there was a child is passed on to it now
  child=$$!
  [[ -z $$asked || $${told:-} == "$$child" ]] || pass_on "$$asked"
}
asked=
trap 'pass_on TERM' TERM; trap 'pass_on INT' INT; trap 'pass_on HUP' HUP; trap 'pass_on USR1' USR1
trap 'pass_on USR2' USR2
trap 'finish $$?' EXIT
setup
await() {
  while wait "$$child"; kill -0 "$$child" 2>/dev/null; do :; done  # a signal to this shell interrupts wait
  wait "$$child"
  local code=$$?
  ((code >= 0)) || code=$$((128 + $$(kill -l "$${asked:-TERM}")))  # bash loses the code of what ends as a signal comes
  return "$$code"
}
$gate
$work
""")

_ONE = Template("""\
run() {
  exec $command
}""")
_RUN_ONE = "run & begun; await; exit"

DONE = "done"
"""The folder in a job's directory with a mark for each iteration that is done: the attempt that did it."""

_BATCH = Template("""\
run() {  # for one iteration, in its folder
  mkdir -p -- "$$2" && cd -- "$$2" || exit 1
  case $$1 in
$cases
  esac
}
run_all() {  # whatever becomes of one does not keep the others from being run; a signal to us does
  local iteration name ended code=0 left=()
  for iteration in $iterations; do
    printf -v name 'iter_%07d' "$$iteration"
    if [[ -n $${AUTOEXP_TOKEN:-} && -e $done/$$name ]]; then
      echo "autoexp: iteration $$iteration was done by an earlier attempt"
      continue
    elif [[ -n $${asked:-} ]]; then
      left+=("$$iteration")
      continue
    fi
    echo "autoexp: iteration $$iteration begins"
    run_one "$$iteration" "$$name"; ended=$$?; child=
    echo "autoexp: iteration $$iteration ended with exit code $$ended"
    if ((ended)); then
      left+=("$$iteration"); ((code)) || code=$$ended
      ((ended != 143)) || asked=$${asked:-TERM}  # who ends what we run wants us to end
    elif [[ -n $${AUTOEXP_TOKEN:-} ]]; then
      mkdir -p $done && printf '%s\\n' "$$AUTOEXP_ATTEMPT" > "$done/$$name"
    fi
  done
  ((!$${#left[@]})) || echo "autoexp: not done: iteration $${left[*]}"
  ((code || !$${#left[@]})) || code=$$((128 + $$(kill -l "$$asked")))
  return "$$code"
}""")
_BATCH_BY_HAND = """run_one() { (run "$@"); }; trap 'exit 130' INT; run_all; exit"""
_RUN_BATCH = """\
run_one() {
  run "$@" & begun; await
}
run_all; exit"""

_GATE = Template("""\
$command --output "$$attempt/gate.json" & begun
wait "$$child"; code=$$?
if ((code)); then exit "$$code"; fi
""")


def _prepared(template: Template) -> str:
    """Turn a template into what % fills in, fifty times as fast."""
    names = {name: f"%({name})s" for name in template.get_identifiers()}
    return Template(template.template.replace("%", "%%")).substitute(names)


_SCRIPT_TEXT = _prepared(_SCRIPT)


def run_script(spec: JobSpec, root: str, path_prefix: str = "", directives: Sequence[str] = (), setup: str = "") -> str:
    """Write a job's run.sh.

    Args:
        spec: The job.
        root: The watched folder.
        path_prefix: A folder to put first on the PATH.
        directives: Comment lines for a batch scheduler.
        setup: Shell commands of the machine's to begin with; the first that fails ends the job.
    """
    gate = _GATE.substitute(command=shlex.join(spec.gate)) if spec.gate else ""
    return _SCRIPT_TEXT % {
        "again": BEGINS_AGAIN,
        "job": spec.id,
        "study": spec.study,
        "root": shlex.quote(root),
        "dir": shlex.quote(job_dir(root, spec.study, spec.id)),
        "directives": "".join(f"{line}\n" for line in directives),
        "setup": "\n".join([*_setup(setup), *(f"  {line}" for line in _exports(spec, path_prefix))]),
        "kill": _KILL_STEPS if spec.resources.nodes > 1 else _KILL,
        "program": _batch(spec) if spec.iterations else _ONE.substitute(command=_command(spec.argv)),
        "by_hand": _BATCH_BY_HAND if spec.iterations else "run; exit",
        "gate": gate,
        "work": _RUN_BATCH if spec.iterations else _RUN_ONE,
    }


_MEETING = (
    'export MASTER_ADDR="${MASTER_ADDR:-$(hostname)}" MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}"',
    'export PET_RDZV_ENDPOINT="$MASTER_ADDR:$MASTER_PORT" PET_RDZV_ID="$SLURM_JOB_ID"',
    'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
)
"""Where the processes of several nodes meet: torchrun reads PET_ variables; the batch script runs on the first node."""
_KILL = 'kill -s "$1" "$child" 2>/dev/null'
_KILL_STEPS = 'scancel --quiet --signal="$1" "$SLURM_JOB_ID" || kill -s "$1" "$child" 2>/dev/null'
"""Programs on several nodes are told by Slurm itself: srun would give them no time to save."""


def _setup(commands: str) -> Iterator[str]:
    """Write the machine's commands as they are: the end of a here-document stands at the beginning of its line."""
    if commands.strip():
        yield from ("  set -e", commands.strip("\n"), '  cd -- "$AUTOEXP_DIR"', "  set +e")


def _batch(spec: JobSpec) -> str:
    """Write what a batch's job runs for each of its iterations."""
    cases = "".join(
        f"    {iteration})\n{''.join(f'      {line}{chr(10)}' for line in _variables(run.env))}"
        f"      exec {_command(run.argv)}\n      ;;\n"
        for iteration, run in zip(spec.iterations, spec.runs, strict=True)
    )
    return _BATCH.substitute(cases=cases.rstrip("\n"), iterations=" ".join(map(str, spec.iterations)), done=DONE)


def _command(argv: Sequence[str]) -> str:
    """Quote a command line for the shell, each flag on a line of its own."""
    breaks = (" \\\n    " if number and word.startswith("--") else " " for number, word in enumerate(argv))
    return "".join(gap + shlex.quote(word) for gap, word in zip(breaks, argv, strict=True)).strip()


def _exports(spec: JobSpec, path_prefix: str) -> Iterator[str]:
    if spec.resources.nodes > 1:
        yield from _MEETING
    if path_prefix:
        yield f'export PATH={shlex.quote(path_prefix)}:"$PATH"'
    threads = max(spec.resources.cpus // spec.resources.processes_per_node, 1)
    yield f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{threads}}}"'
    yield from _variables(spec.env)


def _variables(env: Mapping[str, str]) -> Iterator[str]:
    return (f"export {name}={shlex.quote(value)}" for name, value in env.items())


def job_yaml(spec: JobSpec, root: str) -> str:
    """Write a job's job.yaml: everything it was planned with, one line a value."""
    said = {**encode(spec), "dir": job_dir(root, spec.study, spec.id)}
    if spec.iterations:
        said["runs"] = {checkpoint_name(i): encode(run) for i, run in zip(spec.iterations, spec.runs, strict=True)}
    return block({name: value for name, value in said.items() if name not in _INTERNAL}, depth=2)


_INTERNAL = ("key", "point", "children")
MOST_KNOWN = 1 << 13
"""How many texts' spellings are kept: those of a study's jobs are the same, but for a few."""


def block(values: Mapping[str, Any], *, depth: int, indent: str = "") -> str:
    """Write a mapping in YAML, one line a value; mappings in it too, down to a depth."""
    lines = ""
    for name, value in values.items():
        if depth > 1 and value and isinstance(value, Mapping):
            lines += f"{indent}{_key(name)}:\n{block(value, depth=depth - 1, indent=f'{indent}  ')}"
        else:
            lines += f"{indent}{_key(name)}: {flow(value)}\n"
    return lines


def flow(value: Any) -> str:
    """Spell a value in YAML's flow style, which is JSON but for floats and what is not ASCII."""
    if (spell := _SPELLINGS.get(type(value))) is not None:  # nearly all are; asking for a mapping takes long
        return spell(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return json.dumps(value)


@lru_cache(MOST_KNOWN)
def _key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum() and name[0].isalpha()
    return name if plain and name.lower() not in _WORDS else _text(name)


_WORDS = frozenset({"on", "off", "yes", "no", "y", "n", "true", "false", "null"})
"""What YAML 1.1 takes for something else than a word, however it is capitalized."""


def _float(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{e}{exponent}"


@lru_cache(MOST_KNOWN)
def _text(value: str) -> str:
    """Quote a text; JSON would split what lies beyond the basic plane in two, which YAML does not join again."""
    return _NOT_PLAIN.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False))


_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")
_SPELLINGS: Mapping[type, Callable[[Any], str]] = {str: _text, int: str, float: _float}
