"""torchtitan's log lines of 2024 to 2026, and what counts as finished."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import Launch, torchtitan
from autoexp.logs import LogFacts, Seen

HEAD = "[titan] 2026-03-01 10:00:00,123 - root - INFO - "
COLOURED = (
    f"[rank0]:{HEAD}\x1b[31mstep: 20  \x1b[32mloss: 10.13333  \x1b[38;2;180;60;0mgrad_norm:  2.1000  "
    "\x1b[38;2;54;234;195mmemory: 61.31GiB(64.48%)  \x1b[34mtps: 7,311  \x1b[36mtflops: 1,412.53  "
    "\x1b[35mmfu: 41.71%\x1b[39m"
)
STARTS = (
    f"{HEAD}Trainer is initialized with 16384 tokens per DP rank, 1048576 tokens per train step, gradient accumulation "
    "steps 8, maximum context length 8192, total steps 30 (warmup 10)"
)
LAST = f"{HEAD}Saving a full checkpoint at last step, step 30."
SAVED = f"{HEAD}Last step checkpoint completed in 12.61s"
SHORT = "[titan] 2026-03-01 10:00:00,123 - root - WARNING - Ran out of data; last step was canceled."
DONE = f"{HEAD}Training completed"


def report(step: int, loss: str = "9.10000") -> str:
    return f"{HEAD}step: {step:2}  loss: {loss:>8}  grad_norm:  1.1000  memory: 61.30GiB(64.50%)  tps: 7,300  mfu: N/A"


def read(*lines: str, facts: LogFacts | None = None) -> LogFacts:
    facts = facts or LogFacts()
    for line in lines:
        facts = torchtitan.read(facts, line)
    return facts


@pytest.mark.parametrize("prefix", ["", "0: ", "[rank3]:", "n-17: ", "\x1b[1m"])
def test_a_report_is_read_behind_colours_and_prefixes(prefix: str) -> None:
    assert read(prefix + COLOURED) == LogFacts(
        iteration=20,
        reports=1,
        loss=10.13333,
        tflops=1412.53,
        mfu=0.4171,
        tokens_per_second=7311,
        peak_memory_bytes=int(61.31 * 2**30),
        first_iteration=20,
    )


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("step: 10  loss:  7.1  memory: 61.30GiB(64.50%)  wps: 10,938  mfu: 12.50%", "tokens_per_second", 10938),
        ("step: 10  loss:  7.1  memory: 61.30GiB(64.50%)  wps: 10,938  mfu: 12.50%", "mfu", 0.125),
        ("step: 10  loss:  7.1  tps: 1  tflops: 612.11  mfu: N/A", "mfu", None),
        ("step: 123456  loss: -7.1000  memory: -0.00GiB(-0.00%)  tps: 0", "iteration", 123456),
        ("step: 10  loss:  7.1  memory: -1.00GiB(-1.00%)  tps: 0", "peak_memory_bytes", None),
        ("step: 10  loss:  7.1", "loss", 7.1),
    ],
)
def test_older_and_other_reports_are_read_too(line: str, field: str, value: float | None) -> None:
    facts = read(HEAD + line)

    assert getattr(facts, field) == value
    assert not facts.diverged


@pytest.mark.parametrize(
    "line",
    [
        "validate step: 10  loss:  7.1000  memory: 61.30GiB(64.50%)  tps: 7,300",
        "\x1b[33mvalidate step: 10  \x1b[32mloss:  7.1000  \x1b[34mtps: 7,300",
        "Starting job: Llama 3 8B training",
        "Saving the checkpoint.",
        "Staging the checkpoint.",
        "Finished staging the checkpoint in 1.20 seconds.",
        "Finished saving the checkpoint in 1.20 seconds.",
        "Step 10 loss 3",
        "Training completed",
        "Profiling active. Traces will be saved at ./outputs/profile_trace",
    ],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert read(HEAD + line) == LogFacts()


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf", "NaN"])
def test_a_loss_that_is_no_number_is_divergence(loss: str) -> None:
    facts = read(report(10), report(20, loss))

    assert (facts.diverged, facts.loss, facts.iteration) == (True, 9.1, 20)
    assert not read(report(30), facts=facts).diverged


@given(st.integers(0, 10**9), st.floats(0, 1e4), st.floats(0, 1e7))
def test_whatever_numbers_a_report_holds_are_read(step: int, loss: float, rate: float) -> None:
    facts = read(f"{HEAD}step: {step:2}  loss: {loss:8.5f}  grad_norm: 1.0  tps: {round(rate):,}  mfu: 1.00%")

    assert (facts.iteration, facts.tokens_per_second) == (step, round(rate))
    assert facts.loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (STARTS, "train_iters", 30),
        (
            "Training starts at step 1, with local batch size 8, global batch size 64, total steps 1000 (warmup 200)",
            "train_iters",
            1000,
        ),
        (
            "Trainer is initialized with local batch size 8, global batch size 64, total steps 9",
            "global_batch_size",
            64,
        ),
        ("Loading the checkpoint at step 20.", "loaded", 20),
        ("Loading the checkpoint from ./outputs/checkpoint/step-20.", "loaded", 20),
        (LAST, "saving", 30),
        ("Saving a model only checkpoint in torch.bfloat16 at last step, step 30.", "saving", 30),
    ],
)
def test_remarks_are_read(line: str, field: str, value: int) -> None:
    assert getattr(read(line), field) == value


def test_a_fresh_start_is_told_until_something_is_loaded() -> None:
    fresh = read(f"{HEAD}No checkpoint was provided, this is a fresh start.")

    assert fresh.lost.endswith("this is a fresh start.")
    assert read("Loading the checkpoint from /ck/step-20.", facts=fresh).lost == ""


@pytest.mark.parametrize(
    "words", [SAVED, "Finished saving the checkpoint (or staging if async is enabled) in 3.10 seconds."]
)
def test_the_last_save_counts_when_it_is_finished(words: str) -> None:
    assert read(LAST).saves == ()
    assert (read(LAST, words).saves, read(LAST, words).saving) == ((30,), None)


# Finished


def finished(*lines: str, args: dict[str, Any] | None = None) -> tuple[bool, str]:
    verdict = torchtitan.finished(args or {}, Seen(log=read(*lines)))
    return verdict.holds, verdict.reason


def test_a_training_is_finished_at_its_last_step_even_if_that_is_not_reported() -> None:
    assert finished(STARTS, report(30), LAST, SAVED, DONE) == (True, "trained to iteration 30")
    assert finished(STARTS, report(20), DONE) == (True, "trained to iteration 30")
    assert finished(report(20), DONE, args={"training.steps": 20}) == (True, "trained to iteration 20")


def test_a_training_that_ran_out_of_data_says_completed_and_is_not() -> None:
    facts = read(STARTS, report(10), SHORT, DONE)

    assert (facts.done, facts.iteration) == (False, 10)
    holds, reason = finished(STARTS, report(10), SHORT, DONE)
    assert not holds
    assert reason.startswith(
        "exit code 0, but its log says: Ran out of data; last step was canceled and its log ends at"
    )


def test_a_run_that_goes_on_after_its_data_ran_out_may_finish() -> None:
    again = f"{HEAD}Training starts at step 11"

    assert finished(STARTS, report(10), SHORT, DONE, STARTS, again, report(30), DONE)[0]


@pytest.mark.parametrize(
    ("lines", "args", "reason"),
    [
        pytest.param([STARTS, report(30)], {}, "its log has no 'Training completed'", id="no mark"),
        pytest.param(
            [STARTS, report(30), DONE],
            {"training.steps": 40},
            "its log ends at iteration 30 of 40",
            id="more is asked for",
        ),
        pytest.param([STARTS, LAST, DONE], {}, "the save at iteration 30 is not finished", id="the save is open"),
        pytest.param([STARTS, report(30, "nan"), DONE], {}, "the loss is not a number", id="it diverged"),
    ],
)
def test_the_mark_alone_proves_nothing(lines: list[str], args: dict[str, Any], reason: str) -> None:
    assert finished(*lines, args=args) == (False, f"exit code 0, but {reason}")


# The command line

LAUNCH = Launch(python="py", processes=8, checkpoints="/ck")


def test_one_process_runs_under_torchrun_too() -> None:
    assert torchtitan.argv({"module": "llama3", "config": "llama3_8b"}, replace(LAUNCH, processes=1)) == (
        *("py", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m", "torchtitan.train"),
        *("--checkpoint.folder", "/ck", "--module", "llama3", "--config", "llama3_8b"),
    )


def test_the_older_spelling_and_a_script_of_one_s_own_are_possible() -> None:
    args = {"job.config_file": "./train_configs/llama3_8b.toml", "model.name": "llama3", "compile.enable": True}

    assert torchtitan.argv(args, replace(LAUNCH, nodes=2, program="./train.py")) == (
        *("srun", "--nodes=2", "--ntasks=2", "--kill-on-bad-exit=1", "py", "-m", "torch.distributed.run", "--nnodes=2"),
        *("--rdzv-backend=c10d", "--nproc-per-node=8", "./train.py", "--checkpoint.folder", "/ck"),
        *("--job.config_file", "./train_configs/llama3_8b.toml", "--model.name", "llama3", "--compile.enable"),
    )
