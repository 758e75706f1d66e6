"""The trainer's command line: Megatron-LM's own flags, with its defaults and its meanings.

A recipe for this trainer runs under Megatron-LM's `pretrain_gpt.py`, and the other way round, as far as these
flags go. One that is not listed is an error, never ignored. Those of `SETTLED` have a single value here: they
are accepted so that a recipe can say to Megatron-LM what is the only way here.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from autoexp.errors import AutoexpError
from autoexp.scaling import Shape
from autoexp.schedule import FALLS, STYLES, Schedule
from autoexp.trainers.sharding import STRATEGIES
from autoexp.trainers.text import VOCABULARY


def positive(text: str) -> int:
    """Read a whole number above zero."""
    return int(_within(int(text), least=1))


def natural(text: str) -> int:
    """Read a whole number, zero included."""
    return int(_within(int(text), least=0))


def amount(text: str) -> float:
    """Read a finite number that is not negative."""
    return _within(float(text), least=0)


REQUIRED = object()

VALUES: Sequence[tuple[str, Callable[[str], Any], object, str]] = (
    ("--num-layers", positive, REQUIRED, "transformer layers"),
    ("--hidden-size", positive, REQUIRED, "width of the residual stream"),
    ("--ffn-hidden-size", positive, None, "width of the MLP (8/3 of the hidden size, down to 64s)"),
    ("--num-attention-heads", positive, REQUIRED, "query heads"),
    ("--num-query-groups", positive, None, "key/value heads (as many as query heads)"),
    ("--kv-channels", positive, None, "width of a head (hidden size / heads)"),
    ("--seq-length", positive, REQUIRED, "tokens a sample"),
    ("--max-position-embeddings", positive, None, "positions the model knows (the sequence length)"),
    ("--rotary-base", positive, 10000, "base of the rotary positions"),
    ("--norm-epsilon", amount, 1e-5, "added to the mean square in a norm"),
    ("--init-method-std", amount, 0.02, "standard deviation of the first weights"),
    ("--seed", natural, 1234, "of the weights and of the order of samples"),
    ("--data-path", Path, None, "text file or folder (the Python standard library's sources)"),
    ("--micro-batch-size", positive, REQUIRED, "samples a process takes at once"),
    ("--global-batch-size", positive, None, "samples an iteration (micro batch x processes)"),
    ("--train-iters", positive, REQUIRED, "iteration to stop at, counted from the very first"),
    ("--lr", amount, REQUIRED, "highest learning rate"),
    ("--min-lr", amount, 0.0, "lowest learning rate after the warm-up"),
    ("--lr-warmup-iters", natural, 0, "iterations of linear warm-up"),
    ("--lr-decay-iters", positive, None, "iteration at which the decay ends (the last)"),
    ("--lr-wsd-decay-iters", natural, None, "iterations of decay at the end of WSD"),
    ("--weight-decay", amount, 0.01, "decoupled, on matrices"),
    ("--adam-beta1", amount, 0.9, "decay of the first moment"),
    ("--adam-beta2", amount, 0.999, "decay of the second moment"),
    ("--adam-eps", amount, 1e-8, "added to the root of the second moment"),
    ("--clip-grad", amount, 1.0, "highest gradient norm; 0 for no limit"),
    ("--save", Path, None, "folder to save checkpoints in"),
    ("--load", Path, None, "folder whose tracker names the checkpoint to continue from"),
    ("--save-interval", positive, None, "iterations between checkpoints"),
    ("--shard-group-size", positive, None, "ranks that share a model under hybrid_shard (those of a node)"),
    ("--metrics", Path, None, "file to append what each iteration came to, a JSON object a line"),
    ("--tensorboard-dir", Path, None, "folder to write for TensorBoard"),
    ("--wandb-project", str, None, "project of Weights & Biases; offline unless WANDB_MODE says otherwise"),
    ("--wandb-exp-name", str, None, "the run's name there (the job's)"),
    ("--wandb-save-dir", Path, None, "folder in which its wandb/ stands (the current one)"),
    ("--peak-tflops", amount, None, "what a GPU can do at best, in 10^12 operations a second: MFU is a share of it"),
    ("--log-interval", positive, 100, "iterations between log lines"),
    ("--eval-interval", positive, 1000, "iterations between evaluations on held-out text"),
    ("--eval-iters", natural, 100, "global batches of an evaluation; 0 for none"),
)

_SHOWN = {positive: "N", natural: "N", amount: "X", Path: "PATH", str: "NAME"}
_STORED = {"--norm-epsilon": "layernorm_epsilon"}  # the one flag that Megatron-LM keeps under another name

SWITCHES = (
    ("--untie-embeddings-and-output-weights", "give the output layer a matrix of its own"),
    ("--bf16", "compute in bfloat16; the weights and their optimizer stay in float32"),
    ("--cpu-offload", "keep the weights in the computer's memory, and on the GPU only while they are at work"),
    ("--prefetch", "gather the next layer while one works, in the order of the layers"),
    ("--override-opt_param-scheduler", "on loading, let these flags rule over the checkpoint's schedule"),
    ("--exit-on-missing-checkpoint", "end with status 2 when --load holds nothing, rather than start anew"),
)

SETTLED = (
    ("--normalization", "RMSNorm"),
    ("--position-embedding-type", "rope"),
    ("--ckpt-format", "torch"),
    ("--transformer-impl", "local"),
    ("--optimizer", "adam"),
    ("--attention-dropout", "0"),
    ("--hidden-dropout", "0"),
    ("--swiglu", None),
    ("--group-query-attention", None),
    ("--disable-bias-linear", None),
    ("--log-throughput", None),
    ("--exit-signal-handler", None),
)


class UnfitFlagsError(AutoexpError):
    """Values that cannot be trained with: of the user's to mend, as a wrong flag is (exit status 2)."""


def parse(argv: Sequence[str] | None, processes: int) -> argparse.Namespace:
    """Read the command line and fill in what follows from it.

    Raises:
        UnfitFlagsError: two values contradict each other.
        SystemExit: a flag is unknown, missing or malformed (status 2).
    """
    args = _parser().parse_args(argv)
    args.group_query_attention = args.num_query_groups is not None
    _fill(args, processes)
    _check(args, processes)
    return args


def shape(args: argparse.Namespace) -> Shape:
    """Return the sizes of the model."""
    return Shape(
        num_layers=args.num_layers,
        hidden_size=args.hidden_size,
        ffn_hidden_size=args.ffn_hidden_size,
        num_attention_heads=args.num_attention_heads,
        num_query_groups=args.num_query_groups,
        kv_channels=args.kv_channels,
        padded_vocab_size=args.padded_vocab_size,
        tied=not args.untie_embeddings_and_output_weights,
    )


def schedule(args: argparse.Namespace) -> Schedule:
    """Return the learning rate's course, in samples."""
    batch = args.global_batch_size
    return Schedule(
        lr=args.lr,
        min_lr=args.min_lr,
        warmup=args.lr_warmup_iters * batch,
        decay=args.lr_decay_iters * batch,
        wsd_decay=(args.lr_wsd_decay_iters or 0) * batch,
        style=args.lr_decay_style,
        wsd_style=args.lr_wsd_decay_style,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m autoexp.trainers.gpt",
        description="Train a compact Llama-style GPT on bytes of real text.",
        allow_abbrev=False,  # a recipe should say what it means
    )
    for name, kind, default, meaning in VALUES:
        required = default is REQUIRED
        parser.add_argument(
            name,
            type=kind,
            dest=_STORED.get(name),
            metavar=_SHOWN[kind],
            required=required,
            default=None if required else default,
            help=meaning if required or default is None else f"{meaning} ({default})",
        )
    parser.add_argument("--lr-decay-style", choices=STYLES, default="linear", help="course of the learning rate")
    parser.add_argument("--lr-wsd-decay-style", choices=tuple(FALLS), default="exponential", help="its end in WSD")
    parser.add_argument("--sharding-strategy", choices=STRATEGIES, help="how ranks share the model (full_shard)")
    parser.add_argument("--recompute-granularity", choices=("full",), help="what is computed again to save memory")
    parser.add_argument("--save-extra-steps", type=positive, nargs="+", default=[], help="save after these as well")
    for name, meaning in SWITCHES:
        parser.add_argument(name, action="store_true", help=meaning)
    for name, only in SETTLED:
        if only is None:
            parser.add_argument(name, action="store_true", help="always so here")
        else:
            parser.add_argument(name, choices=(only,), default=only, help="always so here")
    return parser


def _fill(args: argparse.Namespace, processes: int) -> None:
    """Put derived values where none were given, by Megatron-LM's rules."""
    derived = {
        "num_query_groups": args.num_attention_heads,
        "kv_channels": args.hidden_size // args.num_attention_heads,
        "ffn_hidden_size": max(64, args.hidden_size * 8 // 3 // 64 * 64),
        "max_position_embeddings": args.seq_length,
        "global_batch_size": args.micro_batch_size * processes,
        "lr_decay_iters": args.train_iters,
    }
    for name, value in derived.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.padded_vocab_size = args.vocab_size = VOCABULARY


def _check(args: argparse.Namespace, processes: int) -> None:
    """Refuse what cannot be trained."""
    for why in _troubles(args, processes):
        raise UnfitFlagsError("cannot train with these flags", why=why, fix="change one of the flags named")


def _troubles(args: argparse.Namespace, processes: int) -> Iterator[str]:
    """Yield each contradiction; most are assertions in Megatron-LM."""
    yield from _trouble_with_sizes(args, processes)
    yield from _trouble_with_schedule(args)
    if args.exit_on_missing_checkpoint and not args.load:
        yield "--exit-on-missing-checkpoint needs --load"


def _trouble_with_sizes(args: argparse.Namespace, processes: int) -> Iterator[str]:
    if args.num_attention_heads % args.num_query_groups:
        yield _named(args, "num_query_groups", "does not divide", "num_attention_heads")
    if args.kv_channels % 2:
        yield f"--kv-channels {args.kv_channels} is odd, but rotary positions turn pairs of channels"
    together = args.micro_batch_size * processes
    if args.global_batch_size % together:
        yield _named(args, "global_batch_size", f"is no multiple of {processes} processes times", "micro_batch_size")
    if args.seq_length > args.max_position_embeddings:
        yield _named(args, "seq_length", "exceeds", "max_position_embeddings")


def _trouble_with_schedule(args: argparse.Namespace) -> Iterator[str]:
    if args.min_lr > args.lr:
        yield _named(args, "min_lr", "exceeds", "lr")
    if args.lr_warmup_iters >= args.lr_decay_iters:
        yield _named(args, "lr_warmup_iters", "leaves nothing of", "lr_decay_iters")
    if args.lr_decay_style == "WSD":
        if args.lr_wsd_decay_iters is None:
            yield "--lr-decay-style WSD needs --lr-wsd-decay-iters"
        elif args.lr_wsd_decay_iters > args.lr_decay_iters:
            yield _named(args, "lr_wsd_decay_iters", "exceeds", "lr_decay_iters")


def _named(args: argparse.Namespace, left: str, verb: str, right: str) -> str:
    """Word a trouble between two flags with their values."""
    flag = {name: f"--{name.replace('_', '-')} {getattr(args, name)}" for name in (left, right)}
    return f"{flag[left]} {verb} {flag[right]}"


def _within(value: float, *, least: int) -> float:
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is out of range")
    return value
