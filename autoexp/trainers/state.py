"""All of a training that must outlive its process, in and out of a checkpoint's content.

Weights, optimizer, schedule, random state and position: a run that takes them over continues as if it had
never stopped. The keys and their meanings are Megatron-LM's, so that converters for its checkpoints take
these.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autoexp.errors import AutoexpError
from autoexp.scaling import flops_per_token
from autoexp.schedule import Schedule, learning_rate
from autoexp.trainers import flags
from autoexp.trainers.adam import AdamW
from autoexp.trainers.checkpoints import unusable
from autoexp.trainers.model import GPT
from autoexp.trainers.ranks import World, fill, whole
from autoexp.trainers.sharding import Sharding

MODEL_ARGS = (
    "num_layers",
    "hidden_size",
    "ffn_hidden_size",
    "num_attention_heads",
    "num_query_groups",
    "kv_channels",
    "padded_vocab_size",
    "untie_embeddings_and_output_weights",
    "rotary_base",
    "layernorm_epsilon",
)
"""What must agree between a checkpoint and the command line for the weights to mean the same."""

# What Megatron-LM's arguments say of a model like ours beyond our flags, and what converters ask for.
_ARGS: dict[str, Any] = {
    "add_bias_linear": False,
    "add_position_embedding": True,
    "add_qkv_bias": False,
    "attention_dropout": 0.0,
    "attention_output_gate": False,
    "bias_gelu_fusion": False,
    "checkpoint_version": 3.0,
    "context_parallel_size": 1,
    "expert_model_parallel_size": 1,
    "expert_tensor_parallel_size": 1,
    "exit_signal_handler": True,
    "fp16": False,
    "hidden_dropout": 0.0,
    "layernorm_zero_centered_gamma": False,
    "make_vocab_size_divisible_by": 128,
    "mtp_num_layers": None,
    "multi_latent_attention": False,
    "no_rope_freq": None,
    "no_save_optim": False,
    "no_save_rng": False,
    "num_experts": None,
    "openai_gelu": False,
    "params_dtype": torch.float32,
    "pipeline_model_parallel_size": 1,
    "qk_l2_norm": False,
    "qk_layernorm": False,
    "quick_geglu": False,
    "rope_scaling_factor": 8.0,
    "rotary_interleaved": False,
    "rotary_percent": 1.0,
    "rotary_seq_len_interpolation_factor": None,
    "sequence_parallel": False,
    "squared_relu": False,
    "swiglu": True,
    "tensor_model_parallel_size": 1,
    "tokenizer_type": "ByteLevelTokenizer",
    "use_distributed_optimizer": False,
    "use_legacy_models": False,
    "use_rope_scaling": False,
    "use_rotary_position_embeddings": False,
    "virtual_pipeline_model_parallel_size": None,
    "window_size": None,
}


@dataclass(slots=True, kw_only=True)
class Training:
    """A training under way, on one of its ranks."""

    args: argparse.Namespace
    world: World
    model: GPT
    sharding: Sharding
    adam: AdamW
    schedule: Schedule
    iteration: int = 0
    consumed: int = 0
    """Samples behind the weights, earlier runs included."""

    @property
    def lr(self) -> float:
        """The rate for the iteration to come."""
        return learning_rate(self.schedule, self.consumed)

    @property
    def flops_per_sample(self) -> int:
        """Operations a sample costs."""
        length: int = self.args.seq_length
        return length * flops_per_token(flags.shape(self.args), length)


def content(training: Training) -> dict[str, Any]:
    """Gather everything into a checkpoint's content; all ranks must call this.

    Raises:
        AutoexpError: a weight is not finite; such a checkpoint would only spread the damage.
    """
    weights = training.model.state_dict()
    model = {name: value if value is None else whole(value) for name, value in weights.items()}
    if not all(value is None or bool(value.isfinite().all()) for value in model.values()):
        raise AutoexpError(
            f"will not save iteration {training.iteration}: a weight is not finite",
            why="training has diverged",
            fix="lower --lr or lengthen --lr-warmup-iters, and continue from the checkpoint before",
        )
    return {
        "args": _arguments(training),
        "checkpoint_version": 3.0,
        "iteration": training.iteration,
        "model": model,
        "optimizer": training.adam.state(training.lr),
        "opt_param_scheduler": _course(training) | {"num_steps": training.consumed},
        "rng_state": [{"torch_rng_state": torch.get_rng_state()}],
        "num_floating_point_operations_so_far": float(training.consumed * training.flops_per_sample),
    }


def restore(training: Training, held: Mapping[str, Any], path: Path) -> None:
    """Continue from a checkpoint's content, read from `path`.

    Raises:
        AutoexpError: the content is not a training's, or it is another model's or another schedule's.
    """
    try:
        _agree(training.args, held["args"], path)
        if not training.args.override_opt_param_scheduler:
            _same_course(training, held["opt_param_scheduler"], path)
        for name, weight in training.model.named_parameters():
            fill(weight, held["model"][name])
        training.adam.restore(held["optimizer"])
        torch.set_rng_state(held["rng_state"][0]["torch_rng_state"])
        training.iteration, training.consumed = held["iteration"], held["args"].consumed_train_samples
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise unusable(path, f"it is not one of this trainer's: {error!r}") from error


def _arguments(training: Training) -> argparse.Namespace:
    """Describe the run as Megatron-LM does; paths become text, since a checkpoint holds plain data only."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(training.args).items()}
    moment = {
        "consumed_train_samples": training.consumed,
        "data_parallel_size": training.world.size,
        "iteration": training.iteration,
        "world_size": training.world.size,
    }
    return argparse.Namespace(**(given | _ARGS | moment))


def _course(training: Training) -> dict[str, Any]:
    """Describe the schedule as Megatron-LM does; it stores nothing of WSD's own decay."""
    args, course = training.args, training.schedule
    return {
        "max_lr": course.lr,
        "min_lr": course.min_lr,
        "lr_warmup_steps": course.warmup,
        "lr_decay_steps": course.decay,
        "lr_decay_style": course.style,
        "start_wd": args.weight_decay,
        "end_wd": args.weight_decay,
        "wd_incr_style": "constant",
        "wd_incr_steps": args.train_iters * args.global_batch_size,
    }


def _agree(args: argparse.Namespace, held: argparse.Namespace, path: Path) -> None:
    """Refuse another model's weights."""
    for name in MODEL_ARGS:
        if getattr(args, name) != getattr(held, name):
            why = f"{name} is {getattr(held, name)} there, but {getattr(args, name)} on the command line"
            raise AutoexpError(
                f"{path} holds another model", why=why, fix="give the checkpoint's sizes, or another --load"
            )


def _same_course(training: Training, held: Mapping[str, Any], path: Path) -> None:
    """Refuse a schedule that is not the one the checkpoint was trained with."""
    for name, value in _course(training).items():
        if held[name] != value:
            raise AutoexpError(
                f"{path} was trained with another schedule",
                why=f"{name} is {held[name]} there, but {value} on the command line (steps are samples)",
                fix="give the checkpoint's values, or --override-opt_param-scheduler to let yours rule",
            )
