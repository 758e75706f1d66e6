"""What a training says: the first rank's stdout is its log.

Lines are flushed one by one, because others follow the log while it is written.
"""

import math
from datetime import datetime

from autoexp.errors import AutoexpError
from autoexp.trainers import lines
from autoexp.trainers.loop import Step
from autoexp.trainers.state import Training

PATIENCE = 3
"""Log intervals in a row with something not finite after which a run gives up."""


class Reporter:
    """Turns iterations into log lines, and gives up on a run that has diverged."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.seconds = 0.0
        self.bad_in_a_row = 0

    def add(self, made: Step, seconds: float) -> None:
        """Take note of an iteration."""
        self.steps.append(made)
        self.seconds += seconds

    def report(self, training: Training) -> None:
        """Write the log line of the iterations since the one before it.

        Raises:
            AutoexpError: for several lines now something was not finite.
        """
        skipped = sum(not made.taken for made in self.steps)
        say(training, lines.progress(now(), self._progress(training, skipped)))
        self.steps, self.seconds = [], 0.0
        self.bad_in_a_row = self.bad_in_a_row + 1 if skipped else 0
        if self.bad_in_a_row == PATIENCE:
            raise AutoexpError(
                f"training diverged before iteration {training.iteration}",
                why=f"the loss or its gradient was not finite in {PATIENCE} log intervals in a row",
                fix="lower --lr or lengthen --lr-warmup-iters, and continue from a checkpoint before that",
            )

    def _progress(self, training: Training, skipped: int) -> lines.Progress:
        args, mean_s = training.args, self.seconds / len(self.steps)
        flops = training.flops_per_sample * args.global_batch_size / training.world.size
        return lines.Progress(
            iteration=training.iteration,
            train_iters=args.train_iters,
            consumed=training.consumed,
            iteration_s=mean_s,
            tflops=flops / mean_s / 1e12,
            lr=training.lr,
            global_batch_size=args.global_batch_size,
            loss=math.nan if skipped else sum(made.loss for made in self.steps) / len(self.steps),
            grad_norm=self.steps[-1].grad_norm,
            skipped=skipped,
        )


def dated(training: Training, event: str) -> None:
    """Print an event with its time."""
    say(training, lines.datetime_of(event, now()))


def say(training: Training, line: str) -> None:
    """Print a log line once, however many ranks there are."""
    if training.world.rank == 0:
        print(line, flush=True)


def now() -> datetime:
    """Return the local time."""
    return datetime.now().astimezone()
