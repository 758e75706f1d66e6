r"""Train a compact Llama-style GPT on real text: a small stand-in for Megatron-LM's `pretrain_gpt.py`.

    python -m autoexp.trainers.gpt --num-layers 4 --hidden-size 64 --num-attention-heads 4 --seq-length 128 \
        --micro-batch-size 16 --train-iters 200 --lr 4e-3 --lr-decay-style WSD --lr-wsd-decay-iters 40 \
        --save RUN/checkpoints --load RUN/checkpoints --save-interval 50

    torchrun --standalone --nproc-per-node 2 -m autoexp.trainers.gpt ...     the same on two processes (FSDP2)

Its flags, its log lines and its checkpoints are Megatron-LM's (`flags`, `lines`, `checkpoints`); `--help`
lists the flags. With `--load` and `--save` on one folder, the same command starts a run and continues it. A
cooldown starts from a folder that holds a symlink to another run's `iter_` folder and a tracker that names
it, with `--override-opt_param-scheduler` for a decay of its own.

On SIGTERM or SIGUSR2 the iteration under way is finished, a checkpoint saved, and the program ends.
`torchrun` passes SIGTERM on, then reports a failure of its own (status 1) although its processes ended well.

Exit status: 0 the last iteration is reached, or a signal was obeyed (the log tells which) · 1 the user's to
mend, told on stderr, diverged training included · 2 wrong usage, or nothing to load where that was demanded ·
130 interrupted.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from torch import Tensor

from autoexp import scaling
from autoexp.errors import AutoexpError
from autoexp.trainers import checkpoints, flags, lines, ranks, state, text
from autoexp.trainers.adam import AdamW
from autoexp.trainers.loop import evaluate, step
from autoexp.trainers.metrics import Metrics
from autoexp.trainers.model import GPT
from autoexp.trainers.report import Reporter, dated, now, say
from autoexp.trainers.sharding import share
from autoexp.trainers.signals import Signals
from autoexp.trainers.state import Training


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status."""
    signals = Signals()
    try:
        args = flags.parse(argv, ranks.processes())
        world = ranks.join(alone_too=args.sharding_strategy is not None)
        run(args, world, signals)
        ranks.leave(world)
    except AutoexpError as error:
        if ranks.leads():
            print(f"gpt: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, checkpoints.MissingCheckpointError | flags.UnfitFlagsError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(args: argparse.Namespace, world: ranks.World, signals: Signals) -> None:
    """Train to the last iteration, or until a signal; print what Megatron-LM prints, in its order.

    Raises:
        AutoexpError: the user's to mend.
    """
    training = build(args, world)
    load(training)
    started = training.iteration
    dated(training, "before the start of training step")
    with Metrics(training) as metrics:
        if started < args.train_iters and not train(training, signals, metrics):
            dated(training, "exiting program after receiving SIGTERM.")
            return
    dated(training, "after training is done")
    if training.iteration > started:
        finish(training)


def build(args: argparse.Namespace, world: ranks.World) -> Training:
    """Make the model, sharded, and its optimizer."""
    if args.save:
        checkpoints.claim(args.save)
    shape = flags.shape(args)
    model = GPT(
        shape,
        positions=args.max_position_embeddings,
        rotary_base=args.rotary_base,
        epsilon=args.layernorm_epsilon,
    )
    model.initialise(args.seed, args.init_method_std)
    sharding = share(model, world, args)
    betas = (args.adam_beta1, args.adam_beta2)
    adam = AdamW(model, betas=betas, epsilon=args.adam_eps, weight_decay=args.weight_decay)
    course = flags.schedule(args)
    training = Training(args=args, world=world, model=model, sharding=sharding, adam=adam, schedule=course)
    say(training, lines.parameters(scaling.parameters(shape)))
    return training


def load(training: Training) -> None:
    """Continue from the checkpoint that the tracker in `--load` names; without one, start anew and say so.

    Raises:
        AutoexpError: there is a tracker, but what it names cannot be continued from.
        MissingCheckpointError: there is no tracker, and `--exit-on-missing-checkpoint` demands one.
    """
    root = training.args.load
    if root is None:
        return
    iteration = checkpoints.tracked(root)
    if iteration is None:
        say(training, lines.missing(root / checkpoints.TRACKER))
        if training.args.exit_on_missing_checkpoint:
            raise checkpoints.MissingCheckpointError(root)
        say(training, lines.FROM_RANDOM)
        return
    say(training, lines.loading(iteration, root))
    state.restore(training, checkpoints.read(root, iteration), checkpoints.archive(root, iteration))
    say(training, lines.loaded(iteration, root))


def train(training: Training, signals: Signals, metrics: Metrics) -> bool:
    """Iterate; return whether the last iteration was reached, rather than a signal obeyed."""
    args = training.args
    cut = text.windows(text.training(args.data_path), args.seq_length)
    held = held_out(args)
    reporter = Reporter()
    while training.iteration < args.train_iters:
        began = time.perf_counter()
        made = step(training, cut, lambda: signals.received)
        took_s = time.perf_counter() - began
        metrics.add(training, made, took_s)
        reporter.add(made, took_s)
        if training.iteration % args.log_interval == 0:
            reporter.report(training)
        if held is not None and evaluation_due(training):
            validate(training, held, last=False)
        if made.stop or due(training):
            save(training)
        if made.stop:
            return False
    return True


def finish(training: Training) -> None:
    """Save what the interval left unsaved, and evaluate: both after the done line, as in Megatron-LM."""
    if not due(training):
        save(training)
    held = held_out(training.args)
    if held is not None:
        validate(training, held, last=True)


def held_out(args: argparse.Namespace) -> Tensor | None:
    """Return the held-out windows, or nothing where no evaluation is wanted."""
    return text.windows(text.held_out(args.data_path), args.seq_length) if args.eval_iters else None


def validate(training: Training, held: Tensor, *, last: bool) -> None:
    """Evaluate and print the loss."""
    say(training, lines.validation(training.iteration, evaluate(training, held), last=last))


def due(training: Training) -> bool:
    """Say whether the iteration just made is one to save."""
    args = training.args
    on_interval = args.save_interval and training.iteration % args.save_interval == 0
    return bool(on_interval or training.iteration in args.save_extra_steps)


def evaluation_due(training: Training) -> bool:
    """Say whether to evaluate after the iteration just made; after the last one `finish` does."""
    at, args = training.iteration, training.args
    return bool(at % args.eval_interval == 0 and at < args.train_iters)


def save(training: Training) -> None:
    """Save a checkpoint if there is a folder for it; every rank gives its share, the first one writes."""
    root = training.args.save
    if root is None:
        return
    say(training, lines.saving(training.iteration, root, now()))
    content = state.content(training)
    if training.world.rank == 0:
        checkpoints.write(root, training.iteration, content)
    ranks.wait(training.world)
    say(training, lines.saved(training.iteration, root, now()))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread of torch's that meets a half dismantled interpreter aborts a run that succeeded.
    os._exit(status)
