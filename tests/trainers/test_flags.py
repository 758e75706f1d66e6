import argparse

import pytest

from autoexp.scaling import Shape
from autoexp.schedule import Schedule
from autoexp.trainers import flags

LEAST = (
    "--num-layers 2 --hidden-size 64 --num-attention-heads 4 "
    "--seq-length 32 --micro-batch-size 4 --train-iters 10 --lr 1e-2"
)


def parse(more: str = "", *, processes: int = 1) -> argparse.Namespace:
    return flags.parse(f"{LEAST} {more}".split(), processes)


def test_what_is_left_out_follows_megatron_lms_rules() -> None:
    args = parse(processes=2)
    assert flags.shape(args) == Shape(
        num_layers=2,
        hidden_size=64,
        ffn_hidden_size=128,
        num_attention_heads=4,
        num_query_groups=4,
        kv_channels=16,
        padded_vocab_size=256,
        tied=True,
    )
    assert (args.max_position_embeddings, args.global_batch_size, args.lr_decay_iters) == (32, 8, 10)
    assert (args.seed, args.layernorm_epsilon, args.rotary_base, args.adam_beta2) == (
        1234,
        1e-5,
        10000,
        0.999,
    )
    assert args.group_query_attention is False


@pytest.mark.parametrize(("hidden", "ffn"), [(8, 64), (64, 128), (160, 384), (288, 768), (4096, 10880)])
def test_the_mlp_is_as_wide_as_megatron_lm_makes_it(hidden: int, ffn: int) -> None:
    assert parse(f"--hidden-size {hidden}").ffn_hidden_size == ffn


def test_the_schedule_counts_samples() -> None:
    args = parse(
        "--global-batch-size 8 --lr-warmup-iters 2 --lr-decay-style WSD --lr-wsd-decay-iters 3 "
        "--lr-wsd-decay-style linear --min-lr 1e-3"
    )
    assert flags.schedule(args) == Schedule(
        lr=1e-2, min_lr=1e-3, warmup=16, decay=80, wsd_decay=24, style="WSD", wsd_style="linear"
    )


@pytest.mark.parametrize(
    "unknown",
    [
        "--hidden-dim 3",
        "--num-layer 3",
        "--use-flash-attn",
        "stray",
        "--normalization LayerNorm",
        "--num-layers 0",
    ],
)
def test_an_unknown_flag_or_value_is_an_error(unknown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(unknown)
    assert ended.value.code == 2
    assert unknown.split(maxsplit=1)[0] in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "much"])
def test_a_learning_rate_must_be_a_finite_number(value: str) -> None:
    with pytest.raises(SystemExit):
        parse(f"--lr={value}")


def test_what_megatron_lm_must_be_told_may_be_said_here_too() -> None:
    args = parse(
        "--swiglu --normalization RMSNorm --disable-bias-linear --position-embedding-type rope "
        "--group-query-attention --num-query-groups 2 --ckpt-format torch --transformer-impl local "
        "--attention-dropout 0 --hidden-dropout 0 --log-throughput --exit-signal-handler --optimizer adam"
    )
    assert args.num_query_groups == 2
    assert args.group_query_attention is True


@pytest.mark.parametrize(
    ("given", "processes", "why"),
    [
        ("--num-query-groups 3", 1, "--num-query-groups 3 does not divide --num-attention-heads 4"),
        ("--kv-channels 5", 1, "--kv-channels 5 is odd"),
        ("--seq-length 64 --max-position-embeddings 32", 1, "--seq-length 64 exceeds"),
        ("--global-batch-size 8", 3, "--global-batch-size 8 is no multiple of 3 processes times"),
        ("--min-lr 1", 1, "--min-lr 1.0 exceeds --lr 0.01"),
        ("--lr-warmup-iters 10", 1, "leaves nothing of --lr-decay-iters 10"),
        ("--lr-decay-style WSD", 1, "needs --lr-wsd-decay-iters"),
        ("--lr-decay-style WSD --lr-wsd-decay-iters 11", 1, "--lr-wsd-decay-iters 11 exceeds"),
        ("--exit-on-missing-checkpoint", 1, "--exit-on-missing-checkpoint needs --load"),
    ],
)
def test_a_contradiction_is_told_with_both_flags(given: str, processes: int, why: str) -> None:
    with pytest.raises(flags.UnfitFlagsError) as refused:
        parse(given, processes=processes)
    assert why in refused.value.why


def test_a_group_for_every_head_is_plain_attention() -> None:
    assert flags.shape(parse("--num-query-groups 4")) == flags.shape(parse())


def test_several_extra_steps_can_be_saved() -> None:
    assert parse("--save-extra-steps 30 7 --bf16").save_extra_steps == [30, 7]
