"""The Trainer's bar and dictionaries as its versions write them, and what counts as finished."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import Launch, huggingface
from autoexp.errors import AutoexpError
from autoexp.logs import LogFacts, Seen

REPORT = "{'loss': 2.5692, 'grad_norm': 3.15, 'learning_rate': 4.33e-05, 'epoch': 0.4}"
EVALUATED = "{'eval_loss': 1.2965, 'eval_runtime': 1.2687, 'eval_samples_per_second': 39.41, 'epoch': 1.0}"
SUMMARY = (
    "{'train_runtime': 125.2999, 'train_samples_per_second': 11.971, 'train_steps_per_second': 0.742,"
    " 'train_loss': 0.7039, 'epoch': 2.93}"
)


def bar(iteration: int, total: int = 75, rate: str = "1.68s/it") -> str:
    return f"{100 * iteration // total:3d}%|███▌      | {iteration}/{total} [01:40<02:30,  {rate}]"


def read(*lines: str, facts: LogFacts | None = None) -> LogFacts:
    facts = facts or LogFacts()
    for line in lines:
        facts = huggingface.read(facts, line)
    return facts


# The bar


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        " ",
        "0: ",
        "[rank0]:",
        "[default0]: ",
        "[1,0]<stdout>:",
        "node-17: [rank0]: ",
        "\x1b[32m",
        "[rank0]: \x1b[0m",
    ],
)
def test_the_bar_tells_the_iteration_behind_any_prefix(prefix: str) -> None:
    facts = read(prefix + bar(30))

    assert (facts.iteration, facts.train_iters, facts.seconds_per_iteration, facts.reports) == (30, 75, 1.68, 0)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (bar(30, rate="4.00it/s"), 0.25),
        (bar(30, rate="1.25s/it"), 1.25),
        (bar(30, rate="?it/s"), None),
        (bar(30, rate="0.00it/s"), None),
        ("40% 30/75 [02:28<00:00, 25.52s/it]", 25.52),
        (" 40%|####      | 30/75 [2:02:28<1:00:00,  2.00s/it, loss=1.2]", 2.0),
    ],
)
def test_the_bar_tells_how_long_an_iteration_takes(line: str, seconds: float | None) -> None:
    facts = read(line)

    assert (facts.iteration, facts.train_iters, facts.seconds_per_iteration) == (30, 75, seconds)


@pytest.mark.parametrize(
    "line",
    [
        "Map:  40%|████      | 30/75 [00:00<00:00, 500.00 examples/s]",
        "Loading checkpoint shards: 100%|██████████| 2/2 [00:01<00:00,  1.50it/s]",
        "model.safetensors: 100%|██████████| 1.1G/1.1G [00:10<00:00, 105MB/s]",
        "[rank0]: Map (num_proc=4):  40%|████      | 30/75 [00:00<00:00, 500.00 examples/s]",
        "utilisation 40% 30/75",
        f"{bar(30)[:20]}",
    ],
)
def test_bars_of_something_else_tell_nothing(line: str) -> None:
    assert read(line) == LogFacts()


def test_the_evaluation_s_bar_below_the_training_s_is_not_the_training_s() -> None:
    facts = read(bar(25), f"{bar(0, 13, '?it/s')}\x1b[A", f"{bar(5, 13)}\x1b[A", f"{bar(13, 13)}\x1b[A")

    assert (facts.iteration, facts.train_iters) == (25, 75)


def test_an_evaluation_after_the_training_changes_nothing() -> None:
    assert read(bar(75), SUMMARY, bar(0, 13), bar(13, 13)).iteration == 75
    assert read(bar(20), REPORT, bar(75), bar(0, 13), bar(13, 13)).iteration == 75


def test_a_preparation_s_bar_makes_way_for_the_training_s() -> None:
    prepared = read(bar(0, 500), bar(500, 500), bar(0))

    assert (prepared.iteration, prepared.train_iters) == (None, 75)
    assert read(bar(1), facts=prepared).iteration == 1


def test_a_run_that_is_started_again_in_the_same_log_goes_on() -> None:
    facts = read(bar(40), REPORT, bar(0), bar(41))

    assert (facts.iteration, facts.train_iters) == (41, 75)


def test_a_program_that_trains_twice_is_followed_to_its_second_training() -> None:
    facts = read(bar(75), SUMMARY, bar(0, 150), bar(3, 150), REPORT, bar(4, 150))

    assert (facts.iteration, facts.train_iters, facts.done) == (4, 150, False)


# Reports


@pytest.mark.parametrize(
    "line",
    [
        REPORT,
        f"[rank0]:{REPORT}",
        f"0: {REPORT}",
        f"{bar(30)}{REPORT}",
        "{'loss': '2.5692', 'grad_norm': '3.15', 'learning_rate': '4.33e-05', 'epoch': '0.4'}",
        "{'loss': np.float64(2.5692), 'learning_rate': np.float64(4.33e-05), 'epoch': np.float64(0.4)}",
        "{'loss': tensor(2.5692), 'grad_norm': nan, 'learning_rate': 4.33e-05, 'epoch': 0.4}",
        '{"loss": 2.5692, "learning_rate": 4.33e-05, "epoch": 0.4}',
    ],
)
def test_a_report_is_of_the_iteration_that_the_bar_shows(line: str) -> None:
    facts = read(bar(30), line)

    assert (facts.iteration, facts.loss, facts.lr, facts.reports, facts.diverged) == (30, 2.5692, 4.33e-05, 1, False)
    assert (facts.first_iteration, facts.first_lr) == (30, 4.33e-05)


def test_a_report_that_tells_its_own_step_needs_no_bar() -> None:
    facts = read("{'loss': 2.5, 'learning_rate': 1e-05, 'global_step': 40}")

    assert (facts.iteration, facts.loss) == (40, 2.5)


def test_without_a_bar_a_loss_has_no_iteration() -> None:
    facts = read(REPORT)

    assert (facts.iteration, facts.loss, facts.reports) == (None, 2.5692, 0)


@pytest.mark.parametrize(
    "line",
    [
        EVALUATED,
        "Final Evaluation Metrics: {'exact_match': np.float64(0.03), 'f1': np.float64(0.0871)}",
        "{'loss': 2.5}",
        "config: {'loss': 'cross_entropy'}",
        REPORT[:12],
        "{",
        "{'",
    ],
)
def test_other_dictionaries_are_no_reports(line: str) -> None:
    assert read(bar(30), line) == read(bar(30))


@pytest.mark.parametrize(
    ("said", "diverged"),
    [
        ("'loss': nan, 'grad_norm': nan", True),
        ("'loss': inf, 'grad_norm': 3.0", True),
        ("'loss': 'nan', 'grad_norm': 'nan'", True),
        ("'loss': np.float64(nan)", True),
        ("'loss': 0.0, 'grad_norm': nan", True),
        ("'loss': 0.0, 'grad_norm': 0.1", False),
        ("'loss': 2.0, 'grad_norm': inf", False),
    ],
)
def test_a_loss_that_is_no_number_is_divergence_also_where_it_is_counted_as_nothing(
    said: str, *, diverged: bool
) -> None:
    line = f"{{{said}, 'learning_rate': 1e-05, 'epoch': 0.4}}"

    assert read(bar(30), line).diverged is diverged
    assert not read(bar(30), line, REPORT).diverged


@given(st.integers(1, 10**9), st.floats(-1e9, 1e9), st.floats(0, 1))
def test_whatever_numbers_a_report_holds_are_read(iteration: int, loss: float, lr: float) -> None:
    facts = read(bar(iteration, 10**9), str({"loss": loss, "learning_rate": lr, "epoch": 0.1}))

    assert (facts.iteration, facts.loss, facts.lr) == (iteration, loss, lr)


# What is said at log level info


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("  Total optimization steps = 1,250", "train_iters", 1250),
        ("  Total train batch size (w. parallel, distributed & accumulation) = 16", "global_batch_size", 16),
        ("  Continuing training from global step 40", "loaded", 40),
        ("[INFO|trainer.py:3503] 2026-03-01 10:00:00,1 >> Saving model checkpoint to out/checkpoint-50", "saving", 50),
        ("Saving model checkpoint to out", "saving", None),
        ("TrainOutput(global_step=75, training_loss=0.7, metrics={'train_runtime': 12.0})", "iteration", 75),
    ],
)
def test_remarks_are_read(line: str, field: str, value: int | None) -> None:
    assert getattr(read(line), field) == value


def test_a_save_counts_once_the_training_goes_on() -> None:
    begun = read(bar(50), "Saving model checkpoint to out/checkpoint-50", bar(50))

    assert (begun.saves, begun.saving) == ((), 50)
    assert read(bar(51), facts=begun).saves == (50,)
    assert (read(SUMMARY, facts=begun).saves, read(SUMMARY, facts=begun).saving) == ((50,), None)


# Finished


def finished(lines: Iterable[str], args: dict[str, Any] | None = None) -> tuple[bool, str]:
    verdict = huggingface.finished(args or {}, Seen(log=read(*lines)))
    return verdict.holds, verdict.reason


def test_the_summary_and_the_last_iteration_make_a_training_finished() -> None:
    facts = read(bar(30), REPORT, bar(75), SUMMARY, bar(75))

    assert (facts.done, facts.samples_per_second, facts.loss) == (True, 11.971, 2.5692)
    assert finished([bar(30), REPORT, bar(75), SUMMARY]) == (True, "trained to iteration 75")


@pytest.mark.parametrize(
    ("lines", "args", "reason"),
    [
        pytest.param([bar(75)], {}, "its log has no 'train_runtime'", id="no summary"),
        pytest.param([bar(60), SUMMARY], {}, "its log ends at iteration 60 of 75", id="stopped early"),
        pytest.param(
            [bar(75), SUMMARY], {"max_steps": 100}, "its log ends at iteration 75 of 100", id="not all asked for"
        ),
        pytest.param([bar(75), SUMMARY.replace("0.7039", "nan")], {}, "the loss is not a number", id="it diverged"),
    ],
)
def test_the_summary_alone_proves_nothing(lines: list[str], args: dict[str, Any], reason: str) -> None:
    assert finished(lines, args) == (False, f"exit code 0, but {reason}")


def test_epochs_that_are_not_full_are_no_reason_to_doubt() -> None:
    assert finished([bar(75), SUMMARY], {"max_steps": -1, "num_train_epochs": 3})[0]


def test_a_summary_without_a_bar_is_not_believed() -> None:
    holds, reason = finished([REPORT, SUMMARY])

    assert not holds
    assert "how far it had to train" in reason


# The command line


def test_the_recipe_s_program_starts_with_its_flags() -> None:
    launch = Launch(python="py", processes=2, program="train.py", checkpoints="/ck")

    argv = huggingface.argv({"model_name_or_path": "m", "fsdp": "full_shard auto_wrap", "bf16": True}, launch)

    assert argv == (
        *("py", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"),
        *("--output_dir", "/ck", "--model_name_or_path", "m", "--fsdp", "full_shard auto_wrap", "--bf16"),
    )
    assert huggingface.argv({"output_dir": "/o"}, replace(launch, processes=1, program="trl.scripts.sft")) == (
        *("py", "-u", "-m", "trl.scripts.sft", "--output_dir", "/o"),
    )


def test_without_a_program_there_is_nothing_to_start() -> None:
    with pytest.raises(AutoexpError, match="there is none"):
        huggingface.argv({}, Launch(python="py"))
