import argparse
import math
from collections.abc import Callable

import pytest

from autoexp.errors import AutoexpError
from autoexp.trainers import flags, gpt, ranks
from autoexp.trainers.gauges import Gauges
from autoexp.trainers.loop import Step
from autoexp.trainers.report import PATIENCE, Reporter
from autoexp.trainers.state import Training

SEEN = Gauges(allocated=(1,), reserved=(1,), busy=())
GOOD = Step(loss=3.0, grad_norm=1.0, taken=True, lr=0.1, gauges=SEEN, stop=False)
BAD = Step(loss=math.nan, grad_norm=math.nan, taken=False, lr=0.1, gauges=SEEN, stop=False)


@pytest.fixture
def training() -> Training:
    tiny = (
        "--num-layers 1 --hidden-size 8 --num-attention-heads 2 --seq-length 8 --micro-batch-size 2 "
        "--train-iters 100 --lr 1e-2 --lr-decay-style constant"
    )
    args: argparse.Namespace = flags.parse(tiny.split(), 1)
    return gpt.build(args, ranks.join())


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out.splitlines()[-1]


def test_a_line_averages_the_iterations_since_the_last_one(training: Training, told: Callable[[], str]) -> None:
    reporter = Reporter()
    reporter.add(GOOD, 0.5)
    reporter.add(Step(loss=5.0, grad_norm=2.0, taken=True, lr=0.1, gauges=SEEN, stop=False), 1.5)
    reporter.report(training)
    line = told()
    assert "elapsed time per iteration (ms): 1000.0 |" in line
    assert "lm loss: 4.000000E+00 |" in line
    assert "grad norm: 2.000 |" in line

    reporter.add(GOOD, 1.0)
    reporter.report(training)
    assert "lm loss: 3.000000E+00 |" in told()


def test_one_bad_iteration_takes_the_loss_off_the_line(training: Training, told: Callable[[], str]) -> None:
    reporter = Reporter()
    for made in (GOOD, BAD, GOOD):
        reporter.add(made, 1.0)
    reporter.report(training)
    line = told()
    assert "lm loss" not in line
    assert "number of nan iterations:   1 |" in line


def test_it_gives_up_only_on_bad_lines_in_a_row(training: Training) -> None:
    reporter = Reporter()
    for made in (BAD, BAD, GOOD, BAD, BAD):
        reporter.add(made, 1.0)
        reporter.report(training)
    reporter.add(BAD, 1.0)
    with pytest.raises(AutoexpError, match=rf"diverged(.|\n)*{PATIENCE} log intervals(.|\n)*--lr"):
        reporter.report(training)


def test_throughput_is_megatron_lms_count_over_the_time(training: Training, told: Callable[[], str]) -> None:
    reporter = Reporter()
    reporter.add(GOOD, training.flops_per_sample * 2 / 1e12 / 25)
    reporter.report(training)
    assert "throughput per GPU (TFLOP/s/GPU): 25.0 |" in told()
