"""How the Trainer's ranks share a model: FSDP2 by accelerate, each layer a unit of its own."""

import os
from typing import Any

import transformers
from torch import nn
from transformers import TrainingArguments

from autoexp.errors import AutoexpError
from autoexp.trainers import ranks
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.sharding import BY_FSDP


class Trainer(transformers.Trainer):  # type: ignore[misc]  # it has no types
    """The Trainer, whose FSDP works without GPUs too: accelerate turns it on for them only."""

    is_fsdp_enabled: bool

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator; without a GPU, set what it would have set with one."""
        args, layout = self.args, self.args.parallelism_config
        ours = args.fsdp and args.device.type == "cpu"
        if ours:
            args.parallelism_config = None
        super().create_accelerator_and_postprocess()
        if ours:
            self._turn_on_fsdp(layout)

    def _turn_on_fsdp(self, layout: Any) -> None:
        from accelerate import DistributedType, FullyShardedDataParallelPlugin, PartialState  # noqa: PLC0415  # seconds

        plugin, state = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args), self.accelerator.state
        if state.mixed_precision != "no":
            plugin.set_mixed_precision(state.mixed_precision)
        state.fsdp_plugin, state.distributed_type = plugin, DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # noqa: SLF001 - as accelerate does
        if layout is not None:
            state.parallelism_config, state.device_mesh = layout, layout.get_device_mesh("cpu")
        self.is_fsdp_enabled = True


def check(options: Options, args: TrainingArguments) -> None:
    """Refuse what cannot be had.

    Raises:
        AutoexpError: it was asked for.
    """
    strategy, on_cpu = options.sharding_strategy, args.device.type == "cpu"
    troubles = {
        f"there is no strategy {strategy!r}, but {', '.join(BY_FSDP)}": strategy not in (None, *BY_FSDP),
        "only ranks that torchrun started share a model": "RANK" not in os.environ,
        "one rank alone shards a model only on a GPU": on_cpu and ranks.processes() == 1,
    }
    if strategy and (why := next((why for why, holds in troubles.items() if holds), None)):
        raise AutoexpError("cannot shard the model", why=why, fix="start it otherwise, or leave the strategy out")
    if options.cpu_offload and (not strategy or on_cpu):
        why = "there is no GPU to take them from" if on_cpu else "the model is not sharded"
        raise AutoexpError("cannot keep the weights off the GPU", why=why, fix="leave --cpu_offload out")


def shard(options: Options, args: TrainingArguments, model: Any) -> None:
    """Tell the Trainer how the ranks are to share the model.

    Raises:
        AutoexpError: they do not make whole groups, or the model does not say what its layers are.
    """
    args.fsdp = True
    args.fsdp_config = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": _layers_of(model),
        "reshard_after_forward": options.sharding_strategy != "shard_grad_op",
        "cpu_offload": options.cpu_offload,
        "state_dict_type": "FULL_STATE_DICT",
    }
    args.fsdp_plugin_args = args._process_fsdp_args()  # noqa: SLF001 - done at its making, when there was no model
    if options.sharding_strategy == "hybrid_shard":
        from accelerate import ParallelismConfig  # noqa: PLC0415  # a second

        groups = ranks.groups(options.shard_group_size)
        args.parallelism_config = ParallelismConfig(dp_replicate_size=groups, dp_shard_size=ranks.processes() // groups)


def _layers_of(model: Any) -> list[str]:
    """List the classes of a model's layers."""
    found = sorted(model._no_split_modules or ())  # noqa: SLF001 - transformers' own name for them
    if not found:
        why = f"{type(model).__name__} does not say which class its layers have"
        raise AutoexpError("cannot shard this model", why=why, fix="leave --sharding_strategy out")
    return found


def units(model: nn.Module) -> int:
    """Count the parts of a model that FSDP gathers by themselves; none without it."""
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415  # see the first lines of `ranks`

    return sum(isinstance(module, FSDPModule) for module in model.modules())
