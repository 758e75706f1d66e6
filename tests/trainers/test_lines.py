import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autoexp.trainers import lines

AT = datetime(2026, 11, 20, 21, 40, 1, 123, UTC)
RUN = Path("/scratch/run")
PROGRESS = lines.Progress(
    iteration=310,
    train_iters=1000,
    consumed=79360,
    iteration_s=1.22904,
    tflops=168.26,
    lr=3e-3,
    global_batch_size=256,
    loss=3.567857,
    grad_norm=0.42,
    skipped=0,
)


def test_progress_reads_as_megatron_lm_writes_it() -> None:
    assert lines.progress(AT, PROGRESS) == (
        " [2026-11-20 21:40:01.000123] iteration      310/    1000 | consumed samples:        79360 | "
        "elapsed time per iteration (ms): 1229.0 | throughput per GPU (TFLOP/s/GPU): 168.3 | "
        "learning rate: 3.000000E-03 | global batch size:   256 | lm loss: 3.567857E+00 | loss scale: 1.0 | "
        "grad norm: 0.420 | number of skipped iterations:   0 | number of nan iterations:   0 |"
    )


def test_a_slow_machine_keeps_its_throughput() -> None:
    assert "(TFLOP/s/GPU): 0.0208 |" in lines.progress(AT, replace(PROGRESS, tflops=0.0208))
    assert "(TFLOP/s/GPU): 0.000512 |" in lines.progress(AT, replace(PROGRESS, tflops=0.000512))
    assert "(TFLOP/s/GPU): 9.125 |" in lines.progress(AT, replace(PROGRESS, tflops=9.125))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_left_out_and_counted(loss: float) -> None:
    line = lines.progress(AT, replace(PROGRESS, loss=loss, grad_norm=loss, skipped=10))
    assert "lm loss" not in line
    assert "grad norm" not in line
    assert line.endswith("| number of skipped iterations:  10 | number of nan iterations:  10 |")


def test_a_checkpoint_is_announced_and_confirmed() -> None:
    assert lines.saving(800, RUN, AT) == (
        "[2026-11-20 21:40:01.000123] saving checkpoint at iteration     800 to /scratch/run in torch format"
    )
    assert lines.saved(800, RUN, AT) == (
        "  [2026-11-20 21:40:01.000123] successfully saved checkpoint from iteration     800 to /scratch/run "
        "[ t 1/1, p 1/1 ]"
    )


def test_loading_is_announced_and_confirmed() -> None:
    assert lines.loading(800, RUN) == " loading checkpoint from /scratch/run at iteration 800"
    assert lines.loaded(800, RUN) == (
        "  successfully loaded checkpoint from /scratch/run [ t 1/1, p 1/1 ] at iteration 800"
    )


def test_a_fresh_start_is_never_silent() -> None:
    assert lines.missing(RUN / "tracker.txt") == ("WARNING: could not find the metadata file /scratch/run/tracker.txt")
    assert lines.FROM_RANDOM == "    will not load any checkpoints and will start from random"


def test_a_validation_during_training_and_one_after_it_differ_as_megatron_lms_do() -> None:
    assert lines.validation(50, 1.0, last=False) == (
        " validation loss at iteration 50 | lm loss value: 1.000000E+00 | lm loss PPL: 2.718282E+00 | "
    )
    assert lines.validation(50, 1.0, last=True) == (
        " validation loss at iteration 50 on validation set | "
        "lm loss value: 1.000000E+00 | lm loss PPL: 2.718282E+00 | "
    )


def test_a_huge_loss_has_a_perplexity_too() -> None:
    assert re.search(r"PPL: \d\.\d+E\+08 ", lines.validation(1, 1e9, last=True))


def test_the_end_is_dated() -> None:
    assert lines.datetime_of("after training is done", AT) == (
        "[after training is done] datetime: 2026-11-20 21:40:01.000123 "
    )


def test_the_size_of_the_model_is_told() -> None:
    assert lines.parameters(102720).endswith("model parallel rank (0, 0): 102720")
