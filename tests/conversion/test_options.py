from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoexp.conversion import legacy, options
from autoexp.conversion.job import Wishes, convert, plan
from autoexp.errors import AutoexpError
from autoexp.trainers.flags import parse
from tests.conversion.megatron import ARGS, KINDS, Model, save_torch

HARMLESS = {
    "rank": 3,
    "checkpoint_version": 3.0,
    "lr": 1e-3,
    "fp8": "hybrid",
    "save": "/data",
    "params_dtype": object(),
    "use_flash_attn": True,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_training_of_a_kind_is_told_is_known(kind: str) -> None:
    options.check({**ARGS, **KINDS[kind], **HARMLESS}, {})


def test_what_our_own_trainer_is_told_is_known() -> None:
    flags = "--num-layers 2 --hidden-size 8 --num-attention-heads 2 --seq-length 8 --micro-batch-size 1"
    told = vars(parse([*flags.split(), "--global-batch-size", "1", "--train-iters", "4", "--lr", "1e-3"], 1))

    options.check({**told, **{name: 7 for name, value in told.items() if not value and name not in ARGS}}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spec", ["my.specs", "layer"]),
        ("hybrid_override_pattern", "M*M*"),
        ("hybrid_layer_pattern", "M*"),
        ("hybrid_attention_ratio", 0.5),
        ("moe_router_force_load_balancing", True),
        ("enable_hyper_connections", True),
        ("attention_logit_softcapping", 30.0),
        ("softmax_scale", 0.5),
        ("scale_embeddings", True),
        ("linear_attention_type", "gated_delta_net"),
        ("sandwich_norm", [True]),
    ],
)
def test_what_changes_a_model_and_what_no_megatron_has_stops_the_conversion_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(AutoexpError, match=f"^{name} is ") as refusal:
        options.check({**ARGS, name: value}, {})

    assert f"--ignore-arg {name}" in refusal.value.fix


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", [], ()])
def test_an_unknown_option_that_is_not_set_changes_nothing(value: object) -> None:
    options.check({**ARGS, "softmax_scale": value}, {})


def test_all_unknown_options_are_named_at_once() -> None:
    with pytest.raises(AutoexpError, match=r"^a1 is 1, b2 is 2\n") as refusal:
        options.check({**ARGS, "b2": 2, "a1": 1}, {})
    assert refusal.value.fix.endswith("--ignore-arg a1 b2")
    with pytest.raises(AutoexpError, match=r"a11 is 1, and 8 more\n"):
        options.check({**ARGS, **{f"a{number:02}": 1 for number in range(20)}}, {})


@pytest.mark.parametrize("name", ["rotary_base", "layernorm_epsilon", "spec", "of_a_fork"])
def test_ranks_must_agree_on_whatever_may_change_the_model(name: str) -> None:
    with pytest.raises(AutoexpError, match=f"^{name} is None in the first rank, and 9 in mp_rank_01"):
        options.check({"num_layers": 2}, {name: "9 in mp_rank_01"})


def test_ranks_may_differ_in_what_changes_no_model() -> None:
    options.check(ARGS, {"rank": "1 in mp_rank_01", "save": "'/data' in mp_rank_01"})


def test_an_option_that_is_known_to_change_nothing_is_ignored_when_that_is_said(tmp_path: Path) -> None:
    source = save_torch(Model(told={"of_a_fork": 7, "spec": ["local"]}), tmp_path / "iter_0000006", tensor=2)
    path = source / "mp_rank_01" / "model_optim_rng.pt"
    state = torch.load(path, weights_only=False)
    state["args"].of_a_fork = 8
    torch.save(state, path)
    with pytest.raises(AutoexpError, match="spec is"):
        plan(source, Wishes())
    with pytest.raises(AutoexpError, match="of_a_fork is 7"):
        plan(source, Wishes(ignore_args=("spec",)))

    made = convert(source, tmp_path / "hf", Wishes(ignore_args=("spec", "of_a_fork")))

    assert made["wishes"]["ignore_args"] == ["of_a_fork", "spec"]
    assert convert(source, tmp_path / "hf", Wishes(ignore_args=("of_a_fork", "spec"))) == made


def test_what_the_conversion_goes_by_cannot_be_ignored(tmp_path: Path) -> None:
    source = legacy.read(save_torch(Model(), tmp_path / "iter_0000006"))

    with pytest.raises(AutoexpError, match="--ignore-arg swiglu is not possible"):
        options.ignoring(source, ["swiglu"])
    assert options.ignoring(replace(source, differing={"a": "1"}), ["a"]).differing == {}
