import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoexp.errors import AutoexpError
from autoexp.trainers import checkpoints, flags, gpt, ranks, state
from autoexp.trainers.state import Training

TINY = (
    "--num-layers 1 --hidden-size 8 --num-attention-heads 4 --num-query-groups 2 --seq-length 8 "
    "--micro-batch-size 2 --train-iters 10 --lr 1e-2"
)
PATH = Path("run/iter_0000001/mp_rank_00/model_optim_rng.pt")

Make = Callable[..., Training]


@pytest.fixture
def make() -> Make:
    def build(more: str = "") -> Training:
        return gpt.build(flags.parse([*TINY.split(), *more.split()], 1), ranks.join())

    return build


def moved(training: Training) -> Training:
    """A training with a history."""
    torch.manual_seed(3)
    for weight in training.model.parameters():
        weight.grad = torch.randn_like(weight)
    training.adam.step(0.1, 1.0)
    training.iteration, training.consumed = 5, 10
    return training


def test_a_content_has_the_keys_of_megatron_lms(make: Make) -> None:
    held = state.content(moved(make()))
    assert list(held) == [
        "args",
        "checkpoint_version",
        "iteration",
        "model",
        "optimizer",
        "opt_param_scheduler",
        "rng_state",
        "num_floating_point_operations_so_far",
    ]
    assert (held["checkpoint_version"], held["iteration"]) == (3.0, 5)
    assert held["opt_param_scheduler"] == {
        "max_lr": 0.01,
        "min_lr": 0.0,
        "lr_warmup_steps": 0,
        "lr_decay_steps": 20,
        "lr_decay_style": "linear",
        "start_wd": 0.01,
        "end_wd": 0.01,
        "wd_incr_style": "constant",
        "wd_incr_steps": 20,
        "num_steps": 10,
    }
    assert held["num_floating_point_operations_so_far"] == 10 * make().flops_per_sample


def test_the_arguments_describe_the_model_to_a_converter(make: Make, tmp_path: Path) -> None:
    held = state.content(moved(make(f"--save {tmp_path} --swiglu")))["args"]
    expected = {
        "num_layers": 1,
        "hidden_size": 8,
        "ffn_hidden_size": 64,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "group_query_attention": True,
        "kv_channels": 2,
        "max_position_embeddings": 8,
        "seq_length": 8,
        "padded_vocab_size": 256,
        "rotary_base": 10000,
        "rotary_percent": 1.0,
        "layernorm_epsilon": 1e-5,
        "normalization": "RMSNorm",
        "position_embedding_type": "rope",
        "swiglu": True,
        "add_bias_linear": False,
        "add_qkv_bias": False,
        "qk_layernorm": False,
        "untie_embeddings_and_output_weights": False,
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "expert_model_parallel_size": 1,
        "use_distributed_optimizer": False,
        "no_save_optim": False,
        "bf16": False,
        "params_dtype": torch.float32,
        "consumed_train_samples": 10,
        "iteration": 5,
        "save": str(tmp_path),
    }
    assert {name: getattr(held, name) for name in expected} == expected


def test_a_content_is_plain_data(make: Make, tmp_path: Path) -> None:
    checkpoints.write(tmp_path, 5, state.content(moved(make(f"--save {tmp_path}"))))
    assert checkpoints.read(tmp_path, 5)["iteration"] == 5


def test_what_is_restored_has_the_same_content(make: Make) -> None:
    one, two = moved(make()), make()
    held = state.content(one)
    drawn = torch.rand(3)
    state.restore(two, held, PATH)
    again = state.content(two)
    assert torch.equal(torch.rand(3), drawn)
    for name in held["model"]:
        assert held["model"][name] is again["model"][name] is None or torch.equal(
            held["model"][name], again["model"][name]
        )
    assert (two.iteration, two.consumed, two.adam.steps) == (5, 10, 1)
    assert again["args"] == held["args"]


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--num-layers 2", "num_layers"),
        ("--ffn-hidden-size 128", "ffn_hidden_size"),
        ("--num-query-groups 4", "num_query_groups"),
        ("--kv-channels 4", "kv_channels"),
        ("--rotary-base 500000", "rotary_base"),
        ("--norm-epsilon 1e-6", "layernorm_epsilon"),
        ("--untie-embeddings-and-output-weights", "untie_embeddings_and_output_weights"),
    ],
)
def test_another_models_weights_are_refused(make: Make, flag: str, name: str) -> None:
    held = state.content(moved(make()))
    with pytest.raises(AutoexpError, match=rf"holds another model(.|\n)*{name} is "):
        state.restore(make(flag), held, PATH)


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--train-iters 12", "lr_decay_steps"),
        ("--train-iters 12 --lr-decay-iters 10", "wd_incr_steps"),
        ("--lr 2e-2", "max_lr"),
        ("--min-lr 1e-3", "min_lr"),
        ("--lr-warmup-iters 1", "lr_warmup_steps"),
        ("--lr-decay-style cosine", "lr_decay_style"),
        ("--weight-decay 0.1", "start_wd"),
    ],
)
def test_another_schedule_is_refused_unless_it_is_meant(make: Make, flag: str, name: str) -> None:
    held = state.content(moved(make()))
    with pytest.raises(AutoexpError, match=rf"{name} is (.|\n)*--override-opt_param-scheduler"):
        state.restore(make(flag), held, PATH)
    meant = make(f"{flag} --override-opt_param-scheduler")
    state.restore(meant, held, PATH)
    assert meant.iteration == 5
    assert meant.schedule == make(flag).schedule


@pytest.mark.parametrize(
    "damage",
    [
        {"args": argparse.Namespace()},
        {"model": {}},
        {"optimizer": {"state": {}}},
        {"rng_state": []},
        {"opt_param_scheduler": {}},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_content_with_a_hole_is_refused(make: Make, damage: dict[str, Any]) -> None:
    held = state.content(moved(make())) | damage
    with pytest.raises(AutoexpError, match="cannot continue from"):
        state.restore(make(), held, PATH)


def test_weights_that_are_not_finite_are_never_saved(make: Make) -> None:
    training = moved(make())
    with torch.no_grad():
        next(training.model.parameters())[0, 0] = torch.nan
    with pytest.raises(AutoexpError, match="a weight is not finite"):
        state.content(training)
