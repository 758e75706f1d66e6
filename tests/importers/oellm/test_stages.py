from typing import Any

import pytest

from autoexp.importers.oellm import stages
from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.stages import Config
from autoexp.importers.oellm.values import Values


def config(raw: dict[str, Any], *varied: str, told: list[str] | None = None) -> Config:
    names = Names()
    tell = (lambda _, said: told.append(said)) if told is not None else (lambda _, said: pytest.fail(said))
    return Config(stages.aims(raw), {}, varied, varied, names, Values(names, pytest.fail), tell)


def test_flags_are_megatrons() -> None:
    raw = {
        "lr": 0.1, "bf16": True, "untie": False, "add_bias_linear": False, "masked_softmax_fusion": True, "x": None,
        "save": "s", "aux": {"t": 1}, "tensorboard_dir": "/shared/tb",
        "override_opt_param_scheduler": True, "data_path": ["a", "b"],
        "wandb_project": "p", "wandb_exp_name": "${job.name}",
    }  # fmt: skip
    made = config({"backend": {"megatron": raw}}, "backend.megatron.lr", "backend.megatron.add_qkv_bias")

    assert stages.flags(made, {"backend.megatron.lr", "backend.megatron.add_qkv_bias"}) == {
        "lr": "${lr}",
        "bf16": True,
        "disable-bias-linear": True,
        "override-opt_param-scheduler": True,
        "data-path": ["a", "b"],
        "tensorboard-dir": "${dir}/tensorboard",
        "wandb-project": "p",
        "wandb-exp-name": "${job}",
        "add-qkv-bias": "${add_qkv_bias}",
    }


def test_a_swept_switch_becomes_the_flag_that_turns_it_off() -> None:
    made = config({}, "backend.megatron.add_bias_linear")

    assert stages.flags(made, {"backend.megatron.add_bias_linear"}) == {
        "disable-bias-linear": "${calc:'not ${add_bias_linear}'}"
    }


@pytest.mark.parametrize(
    ("sbatch", "found"),
    [
        ({"requeue": True}, {"requeue": True}),
        ({"no_requeue": True}, {"requeue": False}),
        ({"requeue": False}, {}),
    ],
)
def test_whether_it_is_queued_again_is_no_option(sbatch: dict[str, Any], found: dict[str, Any]) -> None:
    assert stages.resources(config({"slurm": {"sbatch": sbatch}})) == found


def test_sbatch_options_become_resources() -> None:
    sbatch = {
        "nodes": 2, "gres": "gpu:4", "ntasks_per_node": 2, "cpus_per_task": 8, "time": "24:00:00", "partition": "p",
        "qos": None, "exclusive": True, "output": "x", "threads_per_core": 1,
    }  # fmt: skip

    assert stages.resources(config({"slurm": {"sbatch": sbatch}})) == {
        "nodes": 2, "gpus_per_node": 4, "cpus": 16, "walltime": "24h", "partition": "p",
        "options": {"exclusive": True, "threads-per-core": 1},
    }  # fmt: skip


def test_what_jobs_export_is_kept_and_what_they_compute_told() -> None:
    told: list[str] = []
    env = {"A": "1", "HOST": "$(hostname)", "MASTER_PORT": "1", "P": ".:x", "EMPTY": ""}

    assert stages.environment(config({"slurm": {"env": env}}, told=told)) == {"A": "1", "P": ".:x"}
    assert [said.partition(":")[0] for said in told] == ["HOST", "P"]


def test_a_variable_that_several_parts_export_is_told_of_once() -> None:
    told: list[str] = []
    env = {"HOST": "$(hostname)", "PYTHONPATH": "./sub:."}

    stages.environment(config({"slurm": {"env": env}, "backend": {"env": env}}, told=told))

    assert [said.partition(":")[0] for said in told] == ["HOST", "PYTHONPATH"]


def test_a_container_is_its_image() -> None:
    raw = {"container": {"image": "i.sif", "runtime": "singularity", "bind": ["/d"]}}

    assert stages.container(config(raw)) == {"image": "i.sif", "runtime": "singularity", "bind": ["/d"]}
    assert stages.container(config({})) == {}


def test_a_program_is_a_backend_or_a_script() -> None:
    told: list[str] = []

    assert stages.program(config({})) == {"backend": "megatron"}
    assert stages.program(config({"backend": {"command": "echo 1"}})) == {"command": ["bash", "-c", "${command}"]}
    assert stages.program(config({"backend": {"class_name": "TitanBackend"}})) == {"backend": "torchtitan"}
    assert "exit 1" in stages.program(config({"backend": {"class_name": "OddBackend"}}, told=told))["command"][-1]
    assert "OddBackend has no backend here" in told[0]


def test_parts_that_become_nothing_are_told() -> None:
    assert [key for key, _ in stages.left_out({"postprocess": {"x": 1}, "job": {}, "odd": 1})] == ["odd"]


def test_an_evaluation_and_a_conversion_are_programs_too() -> None:
    told = {"class_name": "OELLMEvalBackend", "models": ["/a", "/b"], "task_groups": ["t"]}
    bridge = {"class_name": "MegatronBridgeBackend", "megatron_path": "/m", "hf_path": "/h", "derive_hf_arch": "qwen3"}

    assert stages.program(config({"backend": told}))["command"][4:] == ["--models", "/a,/b", "--task_groups", "t"]
    assert stages.program(config({"backend": bridge})) == {
        "hook": "megatron_to_hf",
        "with": {"checkpoint": "/m", "output": "/h", "arch": "qwen3"},
    }


def test_options_of_titan_without_its_name_are_told() -> None:
    told: list[str] = []

    assert stages.program(config({"backend": {"titan": {"training": {"steps": 1}}}}, told=told)) == {
        "backend": "megatron"
    }
    assert "write class_name: TitanBackend" in told[0]
