"""What can be shared, and how the Trainer is told; that it does so is in tests/trainers/test_hf_finetune.py."""

from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from autoexp.errors import AutoexpError
from autoexp.trainers.finetuning import model, options, sharing


@pytest.fixture(autouse=True)
def _started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be one of two ranks on a node, as far as anybody looks."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


class Arguments:
    """What is asked of TrainingArguments: real ones would join the ranks."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.fsdp: Any = None
        self.fsdp_config: Any = None
        self.activation_checkpointing = self.gradient_checkpointing = False

    def _process_fsdp_args(self) -> Any:
        return TrainingArguments._process_fsdp_args(self)


@pytest.mark.parametrize(
    ("asked", "device", "why"),
    [
        ({"sharding_strategy": "half_shard"}, "cpu", "no strategy 'half_shard'"),
        ({"sharding_strategy": "full_shard", "cpu_offload": True}, "cpu", "no GPU to take them from"),
        ({"cpu_offload": True}, "cuda", "the model is not sharded"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: dict[str, Any], device: str, why: str) -> None:
    with pytest.raises(AutoexpError, match=why):
        sharing.check(options.Options(**asked), Arguments(device))


@pytest.mark.parametrize(
    ("ranks", "device", "why"),
    [(None, "cuda", "torchrun"), ("1", "cpu", "only on a GPU"), ("1", "cuda", None), ("2", "cpu", None)],
)
def test_a_rank_alone_shards_on_a_gpu_only(
    monkeypatch: pytest.MonkeyPatch, ranks: str | None, device: str, why: str | None
) -> None:
    monkeypatch.setenv("WORLD_SIZE", ranks or "1")
    if ranks is None:
        monkeypatch.delenv("RANK")
    asked = options.Options(sharding_strategy="full_shard")

    if why is None:
        sharing.check(asked, Arguments(device))
    else:
        with pytest.raises(AutoexpError, match=why):
            sharing.check(asked, Arguments(device))


@pytest.mark.parametrize(
    ("strategy", "frees"), [("full_shard", True), ("shard_grad_op", False), ("hybrid_shard", True)]
)
def test_the_trainer_is_told_to_wrap_each_layer(strategy: str, frees: bool) -> None:  # noqa: FBT001 - a table's column
    args = Arguments()

    sharing.shard(options.Options(sharding_strategy=strategy, shard_group_size=1), args, model.tiny()[0])

    told = args.fsdp_plugin_args  # type: ignore[attr-defined]  # set just now
    assert (told["fsdp_version"], told["auto_wrap_policy"]) == (2, "TRANSFORMER_BASED_WRAP")
    assert (told["transformer_cls_names_to_wrap"], told["reshard_after_forward"]) == ("BloomBlock", frees)


def test_groups_that_do_not_come_out_even_are_refused() -> None:
    asked = options.Options(sharding_strategy="hybrid_shard", shard_group_size=3)

    with pytest.raises(AutoexpError, match="2 ranks are no multiple of 3"):
        sharing.shard(asked, Arguments(), model.tiny()[0])


def test_a_model_that_does_not_name_its_layers_is_refused() -> None:
    learner, _ = model.tiny()
    learner._no_split_modules = None

    with pytest.raises(AutoexpError, match="does not say which class its layers have"):
        sharing.shard(options.Options(sharding_strategy="full_shard"), Arguments(), learner)


def test_a_model_that_is_not_sharded_has_no_units() -> None:
    assert sharing.units(torch.nn.Linear(2, 2)) == 0
