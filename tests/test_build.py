import re
from collections.abc import Callable
from typing import Any

import pytest

from autoexp.errors import RecipeError
from autoexp.machine import Machine, Network
from autoexp.model import Deed, HookCall, JobSpec, Rule
from autoexp.plan import Planner
from autoexp.world import HookInfo

Plans = Callable[..., Planner]
HOME = "/root/s/jobs/train-lr0.5"


@pytest.fixture
def build(planner: Plans) -> Callable[..., JobSpec]:
    """Build the one job of a stage from the stage's body."""

    def make(body: str, *overrides: str, **world: Any) -> JobSpec:
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        text = f"study: s\nsweep: {{params: {{lr: [0.5]}}}}\nstages:\n  train:\n{lines}\n"
        (job,) = planner(text, *overrides, **world).plan().jobs
        return job

    return make


Build = Callable[..., JobSpec]


def test_a_list_is_an_argv_and_each_value_is_replaced_inside_its_element_as_text(build: Build) -> None:
    job = build("command: [echo, 'a ${lr} b', \"it's $HOME\", '$((1+1))', '`x`', 7, true, '\\${lr}', '']")

    assert job.argv == ("echo", "a 0.5 b", "it's $HOME", "$((1+1))", "`x`", "7", "true", "${lr}", "")
    assert (job.backend, job.output) == ("command", "")


def test_a_string_is_a_script_that_ends_with_its_first_error(build: Build) -> None:
    job = build('params: {what: "it\'s"}\ncommand: |\n  echo ${what} $HOME\n  exit 3')

    assert job.argv == ("bash", "-eo", "pipefail", "-c", "echo 'it'\"'\"'s' $HOME\nexit 3\n")


def test_the_built_ins_say_where_a_job_stands(build: Build) -> None:
    job = build(
        "command: ['${study}', '${stage}', '${job}', '${dir}', '${checkpoints}', '${output}', '${machine}']",
        machine=Machine(name="cluster"),
    )

    assert job.argv == ("s", "train", "train-lr0.5", HOME, f"{HOME}/checkpoints", HOME, "cluster")


@pytest.mark.parametrize(
    ("body", "output"),
    [
        pytest.param("backend: megatron\nargs: {x: '${output}'}", f"{HOME}/checkpoints", id="a backend"),
        pytest.param("hook: megatron_to_hf\nwith: {x: '${output}'}", f"{HOME}/hf", id="a hook"),
        pytest.param("command: [--x, '${output}']", HOME, id="a command"),
    ],
)
def test_an_output_is_where_the_program_writes(build: Build, body: str, output: str) -> None:
    argv = build(body).argv

    assert argv[argv.index("--x") + 1] == output


def test_a_backend_gets_its_args_and_where_it_loads_and_saves(build: Build) -> None:
    job = build("backend: megatron\nargs: {lr: '${lr}', bf16: true, seed: null}")

    assert job.argv == (
        *("python", "pretrain_gpt.py", "--load", f"{HOME}/checkpoints", "--save", f"{HOME}/checkpoints"),
        *("--lr", "0.5", "--bf16"),
    )
    assert (job.backend, job.output, job.args) == ("megatron", "checkpoints", {"lr": 0.5, "bf16": True, "seed": None})


@pytest.mark.parametrize(
    ("body", "programs", "program"),
    [
        pytest.param("backend: megatron", {}, ("pretrain_gpt.py",), id="the usual one"),
        pytest.param("backend: megatron", {"megatron": "/opt/train.py"}, ("/opt/train.py",), id="the machine's"),
        pytest.param(
            "backend: megatron\nparams: {program: my.trainer}",
            {"megatron": "/opt/train.py"},
            ("-m", "my.trainer"),
            id="the recipe's",
        ),
        pytest.param("backend: command\nparams: {program: ./train}", {}, ("./train",), id="any program"),
    ],
)
def test_a_backend_starts_the_recipe_s_program_or_the_machine_s(
    build: Build, body: str, programs: dict[str, str], program: tuple[str, ...]
) -> None:
    argv = build(body, machine=Machine(name="m", python="python", programs=programs)).argv

    assert argv[1 : 1 + len(program)] == program if body.startswith("backend: megatron") else argv[:1] == program


def test_a_hook_runs_as_a_job_with_its_values_as_flags(build: Build) -> None:
    job = build("hook: evaluate\nwith: {tasks: [arc, mmlu], limit: 5, fast: true, slow: false}")

    assert job.argv == (
        *("python", "/hooks/evaluate.py", "--output", f"{HOME}/eval"),
        *("--tasks", "arc", "mmlu", "--limit", "5", "--fast"),
    )
    assert job.output == "eval"


@pytest.mark.parametrize(
    ("gate", "argv"),
    [
        pytest.param("gate: nccl_gate", (), id="by name"),
        pytest.param(
            "gate: {nccl_gate: {threshold: 90, hosts: '${lr}'}}", ("--threshold", "90", "--hosts", "0.5"), id="with"
        ),
        pytest.param("gate: {nccl_gate: }", (), id="with nothing"),
    ],
)
def test_a_gate_is_a_hook_before_the_run(build: Build, gate: str, argv: tuple[str, ...]) -> None:
    assert build(f"command: [train]\n{gate}").gate == ("python", "/hooks/nccl_gate.py", *argv)


PLANNED = HookInfo(name="g", path="/hooks/g.py", planned=("ranks", "hosts", "threshold"))
EIGHT = "resources: {nodes: 2, gpus_per_node: 4}"


def test_a_gate_that_asks_is_told_of_the_job_and_how_fast_its_machine_must_be(build: Build) -> None:
    machine = Machine(name="m", python="python", network=Network(link="ndr400"))

    def gate(text: str) -> tuple[str, ...]:
        return build(f"command: [train]\n{EIGHT}\ngate: {text}", machine=machine, hooks=lambda _: PLANNED).gate[2:]

    assert gate("g") == ("--ranks", "8", "--hosts", "2", "--threshold", "210.0")
    assert gate("{g: {threshold: 7}}") == ("--ranks", "8", "--hosts", "2", "--threshold", "7")


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("command: [train]\ngate: {h: {treshold: 300}}", "gate.h.treshold"),
        ("hook: h\nwith: {treshold: 300}", "with.treshold"),
        ("command: [train]\nprepare: {h: {treshold: 300}}", "prepare.h.treshold"),
    ],
)
def test_a_key_that_a_hook_does_not_take_is_found_when_it_is_planned(build: Build, stage: str, key: str) -> None:
    knows = HookInfo(name="h", path="/hooks/h.py", takes=("threshold", "seq-length"))

    with pytest.raises(RecipeError, match="unknown key 'treshold'") as caught:
        build(stage, hooks=lambda _: knows)
    assert key in caught.value.what
    assert caught.value.fix == "did you mean threshold?"
    spelled = build(stage.replace("treshold", "seq_length"), hooks=lambda _: knows)
    assert "with" not in stage or spelled.argv[2:] == ("--output", spelled.argv[3], "--seq-length", "300")


def test_a_gate_without_gpus_measures_between_processes(build: Build) -> None:
    job = build(
        "command: [train]\nresources: {processes_per_node: 3}\ngate: g",
        hooks=lambda _: PLANNED,
        machine=Machine(name="m"),
    )

    assert job.gate[2:] == ("--ranks", "3", "--hosts", "1", "--threshold", "5.0")


def test_a_gate_of_a_machine_that_does_not_tell_how_fast_it_is_is_refused(build: Build) -> None:
    machine = Machine(name="m", network=Network(node="h100"))

    with pytest.raises(RecipeError, match="nobody says how fast 8 ranks on 2 hosts must be") as caught:
        build(f"command: [train]\n{EIGHT}\ngate: g", machine=machine, hooks=lambda _: PLANNED)
    assert "stages.train.gate" in caught.value.what


def test_null_turns_a_key_off(build: Build) -> None:
    job = build("command: [train]\ngate: nccl_gate\nneeds: x", "stages.train.gate=null", "stages.train.needs=null")

    assert (job.gate, job.needs) == ((), ())
    assert build("command: [a]\nbackend: megatron", "stages.train.command=null").backend == "megatron"
    assert build("command: [a]\nbackend: megatron", "stages.train.backend=null").backend == "command"


def test_hooks_prepare_a_submission_with_their_values(build: Build) -> None:
    job = build("command: [train]\nprepare: {cooldown_symlink: {from: '${dir}', n: 3}, evaluate: }")

    assert job.prepare == (
        HookCall(name="cooldown_symlink", path="/hooks/cooldown_symlink.py", values={"from": HOME, "n": 3}),
        HookCall(name="evaluate", path="/hooks/evaluate.py"),
    )


def test_a_variable_that_is_null_is_not_exported(build: Build) -> None:
    job = build("params: {some: null}\nenv: {A: null, B: '${some}', C: 'x'}\ncommand: 'true'")

    assert job.env == {"C": "x"}


def test_the_environment_is_text(build: Build) -> None:
    job = build("command: [train]\nenv: {NAME: 'a ${lr}', N: 3, FLAG: true}")

    assert job.env == {"NAME": "a 0.5", "N": "3", "FLAG": "true"}


def test_params_are_all_that_the_recipe_names_resolved(build: Build) -> None:
    job = build("params: {a: \"${calc:'${lr} * 2'}\", b: [1, {c: '${a}'}]}\ncommand: [train]")

    assert job.params == {"lr": 0.5, "a": 1.0, "b": [1, {"c": 1.0}]}
    assert job.values == {"lr": 0.5}


def test_without_a_policy_a_job_has_one_attempt_and_three_with_any(build: Build) -> None:
    assert build("command: [train]").retry.max_attempts == 1
    assert build("command: [train]\nretry: {backoff: 1s}").retry.max_attempts == 3


def test_start_takes_values_of_any_depth(build: Build) -> None:
    job = build("command: [train]\nstart: {any: [{file_exists: {path: '${dir}/go'}}, {attempts_below: {n: 2}}]}")

    assert job.start.name == "any"
    assert [part.params for part in job.start.parts] == [{"path": f"{HOME}/go"}, {"n": 2}]


def test_a_machine_says_what_starts_a_program_on_each_of_several_nodes(build: Build) -> None:
    machine = Machine(name="m", executor="slurm", launcher=("srun", "--cpu-bind=none"))

    job = build("backend: megatron\nresources: {nodes: 2}", machine=machine)

    assert job.argv[:4] == ("srun", "--cpu-bind=none", "--nodes=2", "--ntasks=2")


def test_an_id_of_just_the_longest_length_is_accepted(planner: Plans) -> None:
    text = "study: s\nsweep: {params: {p: [LONG]}}\nstages: {train: {command: [train]}}"

    (job,) = planner(text.replace("LONG", "x" * (180 - len("train-p")))).plan().jobs
    assert len(job.id) == 180
    with pytest.raises(RecipeError, match="is too long"):
        planner(text.replace("LONG", "x" * (181 - len("train-p")))).plan()


# What happens to it

SPIKE = "command: [x]\nparams: {wd: 1}\nevents: {spike: {log: 'spike ([0-9]+)', do: %s}}"


def test_events_are_read_with_the_job_s_own_values(build: Build) -> None:
    (rule,) = build(SPIKE % "{restart: {wd: \"${calc:'${lr} / 2'}\"}}").events

    assert rule == Rule(name="spike", log="spike ([0-9]+)", do=(Deed(name="restart", values={"wd": 0.25}),))


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("{restart: {warmup: 3}}", "recipe.yaml:7: stages.train.events.spike.do: there is no param warmup"),
        ("explode", "recipe.yaml:7: stages.train.events.spike.do: 'explode' is nothing that can be done"),
        ("{hook: {gone: }}", "stages.train.events: unknown hook 'gone'"),
    ],
)
def test_what_cannot_be_done_is_told_where_it_is_written(build: Build, do: str, says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)):
        build(SPIKE % do)


SUBMITTING = """
study: s
stages:
  train: {command: [x], events: {spike: {contains: x, do: {submit: look}}, end: {state: failed, do: [{submit: look}]}}}
  look: {command: [y]%s}
"""


def test_a_stage_that_an_event_submits_waits_for_it(planner: Plans) -> None:
    _, look = planner(SUBMITTING % "").plan().jobs

    assert look.start.name == "any"
    assert [(part.name, part.params["event"], part.jobs) for part in look.start.parts] == [
        ("happened", "spike", ("train",)),
        ("happened", "end", ("train",)),
    ]
    assert look.needs == ("train",)


def test_an_event_that_nobody_knows_is_not_waited_for(planner: Plans) -> None:
    says = "train has no event 'moon'"
    with pytest.raises(RecipeError, match=says) as raised:
        planner(SUBMITTING % ", start: {happened: {stage: train, event: moon}}").plan()

    assert raised.value.fix == "its events are spike, end"
