from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autoexp.machine import Machine, Partition

Warned = Callable[..., list[dict[str, Any]]]
OWN = ("USER_BATCH", "PATHS_X", "LANGUAGE_MODEL", "TERMS", "CUDATA")
OF_OTHERS = ("PATH", "LANG", "PYTHONPATH", "https_proxy", "CUDA_VISIBLE_DEVICES", "MPICH_GPU_SUPPORT_ENABLED")


def test_what_a_job_cannot_do_without_and_is_not_there_is_told(warned: Warned) -> None:
    stages = """
        train:
          sweep: {params: {data: [here, there, nowhere]}}
          requires: ["/data/${data}", /tokenizer]
          command: [run, "${data}"]
        score: {requires: "${dir}", command: [run]}
        """
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return path != "/data/nowhere"

    (found,) = warned(stages, exists=exists)

    assert (found["code"], found["jobs"]) == ("missing-path", ["train-datanowhere"])
    assert "/data/nowhere is not there" in found["message"]
    assert asked == ["/data/here", "/tokenizer", "/data/there", "/data/nowhere", "/root/s/jobs/score"]


def test_more_than_the_machine_has_is_told_where_it_is_asked_for_and_planned_all_the_same(warned: Warned) -> None:
    small = Partition(walltime_s=3600, nodes=2)
    machine = Machine(name="m", executor="slurm", options={"partition": "small"}, partitions={"small": small})
    stages = """
        train: {backend: megatron, resources: {nodes: 2, walltime: 2h}}
        score: {each: {checkpoint: train}, command: [s, '${checkpoint}'], resources: {nodes: 3, walltime: 1h}}
        """

    train, score = warned(stages, machine=machine)
    assert (train["code"], train["jobs"]) == ("over-limit", ["train"])
    assert train["where"].endswith("stages.train.resources.walltime")
    assert "asks for walltime: 2h, and partition small of machine m allows 1h; ask for at most 1h" in train["message"]
    assert score["where"].endswith("stages.score.resources.nodes")
    assert warned("a: {command: [a], resources: {nodes: 9, partition: other}}\n", machine=machine) == []
    (other,) = warned(
        "a: {command: [a], resources: {partition: other}}\n", machine=replace(machine, all_partitions=True)
    )
    assert "it asks for the partition other, and machine m has small" in other["message"]


def test_a_flag_that_megatron_does_not_know_is_told_with_the_next_best(warned: Warned) -> None:
    stages = """
        a:
          backend: megatron
          sweep: {params: {lr: [1, 2]}}
          args: {train-iters: 9, lr: "${lr}", save_interval: 3, swiglu: true, frobnicate: 1}
        """

    known = {each["where"].rpartition(".")[2]: each for each in warned(stages)}

    assert {each["code"] for each in known.values()} == {"unknown-argument"}
    assert known["save_interval"]["message"].endswith("has no --save_interval; did you mean --save-interval?")
    assert known["frobnicate"]["message"].endswith("has no --frobnicate; correct it, unless your copy has it")
    assert known["frobnicate"]["jobs"] == ["a-lr1", "a-lr2"]


def test_other_programs_have_flags_of_their_own(warned: Warned) -> None:
    stages = "a: {backend: megatron, params: {program: autoexp.trainers.gpt}, args: {frobnicate: 1}}"
    machine = Machine(name="m", programs={"megatron": "/x/pretrain_other.py"})

    assert warned(stages) == []
    assert warned("a: {backend: megatron, args: {frobnicate: 1}}", machine=machine) == []
    machine = Machine(name="m", programs={"megatron": "/x/pretrain_gpt.py"})
    assert len(warned("a: {backend: megatron, args: {frobnicate: 1}}", machine=machine)) == 1


@pytest.mark.parametrize(
    "program",
    [
        "backend: megatron, args: {seed: '${a}', save: /data/run}",
        "command: [train, --seed, '${a}', --output_dir, /data/run/]",
        "command: [train, --seed, '${a}', --save=/data/run]",
        "command: 'train --seed ${a} --output-path /data/run'",
    ],
)
def test_two_jobs_that_write_to_one_place_are_told(warned: Warned, program: str) -> None:
    (found,) = warned(f"one: {{{program}, sweep: {{params: {{a: [1, 2, 3]}}}}}}")

    assert (found["code"], found["jobs"]) == ("shared-output", ["one-a2", "one-a3"])
    assert "it writes to /data/run, and so does one-a1" in found["message"]


def test_jobs_that_write_in_their_own_directories_share_nothing(warned: Warned) -> None:
    stages = """
        one: {command: [train, '${a}', --save, "${dir}/out", --output, out], sweep: {params: {a: [1, 2]}}}
        two: {backend: megatron, args: {seed: "${a}"}, sweep: {params: {a: [1, 2]}}}
        """

    assert warned(stages) == []


def test_a_variable_that_the_program_never_reads_is_told(warned: Warned) -> None:
    stages = """
        one:
          command: [python3, /code/train.py, "${a}"]
          sweep: {params: {a: [1, 2]}}
          env: {BATCH_SIZE: "${a}", GRAD_ACC: 2, NCCL_DEBUG: INFO}
        """

    def source(path: str) -> str:
        return "os.environ['PER_DEVICE_BATCH_SIZE'], os.environ['GRAD_ACC']" if path == "/code/train.py" else ""

    (found,) = warned(stages, source=source)
    assert (found["code"], found["jobs"]) == ("unread-variable", ["one-a1", "one-a2"])
    assert "BATCH_SIZE is exported, and /code/train.py never reads it" in found["message"]
    assert warned(stages) == []  # nobody can read the program


def test_a_variable_that_the_command_itself_reads_is_read(warned: Warned) -> None:
    stages = "one: {command: '/code/train.sh --batch $BATCH', env: {BATCH: 8}}"

    assert warned(stages, source=lambda _: "train") == []


def test_what_is_wrong_with_jobs_that_will_appear_is_told_with_their_first_one(warned: Warned) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: 100, save-interval: 10}}
        same: {each: {checkpoint: train}, command: [run, --output, /shared/hf]}
        own: {each: {checkpoint: train}, command: [run, --output, "/shared/${iteration}"]}
        here: {each: {checkpoint: train}, command: [run, --output, "${dir}/hf"]}
        lacking: {each: {checkpoint: train}, command: [run], requires: /nonexistent/tok}
        again: {each: {job: same}, backend: megatron, args: {train-iters: 1, lrr: 2}}
        """

    found = warned(stages, exists=lambda path: path != "/nonexistent/tok")

    assert sorted((each["code"], each["where"].partition(": ")[2]) for each in found) == [
        ("missing-path", "stages.lacking.requires"),
        ("shared-output", "stages.same"),
        ("unknown-argument", "stages.again.args.lrr"),
    ]


def test_a_relative_path_is_looked_for_where_the_job_begins(warned: Warned) -> None:
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return True

    warned("train: {command: [run], requires: [data/tok, /data/tok]}", exists=exists)

    assert [path.endswith("/s/jobs/train/data/tok") or path == "/data/tok" for path in asked] == [True, True]


@pytest.mark.parametrize("name", [*OWN, *OF_OTHERS])
def test_only_what_others_are_known_to_read_is_passed_over(warned: Warned, name: str) -> None:
    found = warned(f"train: {{command: [bash, /run.sh], env: {{{name}: 1}}}}", source=lambda _: "echo hello")

    assert [each["code"] for each in found] == (["unread-variable"] if name in OWN else [])


def test_a_project_of_runs_without_names_is_told(warned: Warned) -> None:
    (found,) = warned("a: {backend: megatron, args: {wandb-project: p}}")
    named = warned("a: {backend: megatron, args: {wandb-project: p, wandb-exp-name: '${job}'}}")

    assert (found["code"], named) == ("unnamed-run", [])
    assert "without which Megatron-LM does not start; add wandb-exp-name: ${job}" in found["message"]


def test_a_script_that_no_shell_can_read_is_told_once_for_a_stage(warned: Warned) -> None:
    asked: list[str] = []

    def misspelled(script: str) -> str:
        asked.append(script)
        return "line 2: unexpected end of file"

    sweep = "sweep: {params: {n: [1, 2]}}\n"
    (found,) = warned("a: {command: 'if ${n}; then echo'}\nb: {command: [run, '${n}']}", sweep, misspelled=misspelled)

    assert asked == ["if 1; then echo"]
    assert (found["code"], found["jobs"]) == ("shell-syntax", ["a-n1"])
    assert "bash cannot read its script (line 2: unexpected end of file); correct it" in found["message"]
