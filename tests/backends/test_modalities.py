"""Modalities' log lines and its evaluation_results.jsonl, and what counts as finished."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import Launch, modalities
from autoexp.logs import LogFacts, Seen

TARGET = "\tnum_target_steps: 20"
DONE = "Training done at 2026-03-01 10:00:00.123456."
SAVING = (
    "[RANK 0] main - INFO - Saving distributed model checkpoint to /ck/eid_2026-03-01__10-00-00_ab12-seen_steps_20"
    "-seen_tokens_80-target_steps_20-target_tokens_80..."
)
SAVED = "[RANK 0] main - INFO - Distributed checkpoint saved."


def report(step: int, loss: str = "11.62", **more: str) -> str:
    fields = {
        "train samples/s": "4.3",
        "train mfu (16-bit)": "0.61",
        "lr mean": "tensor(6.0030e-07)",
        "peak memory rank 0 (MB)": "40365.91",
        "train loss avg": loss,
        "train loss last": "11.5",
        "consumed tokens": "16384.0",
        **{name.replace("_", " "): value for name, value in more.items()},
    }
    return f"2026-03-01T10:00:00 | step: {step} | " + " | ".join(f"{k}: {v}" for k, v in fields.items()) + " | "


def record(step: object = 5, tag: str = "train", loss: object = 11.625) -> str:
    return json.dumps(
        {
            "dataloader_tag": tag,
            "num_train_steps_done": step,
            "losses": {f"{tag} loss avg": loss, f"{tag} loss last": loss},
            "metrics": {"consumed tokens": 16384, "grad norm avg": 42.6},
            "throughput_metrics": {
                "train samples/s": 2.747,
                "train mfu (16-bit)": 0.179,
                "lr mean": 6.003e-07,
                "peak memory rank 0 (MB)": 28988.5,
            },
        }
    )


def read(*lines: str, facts: LogFacts | None = None) -> LogFacts:
    facts = facts or LogFacts()
    for line in lines:
        facts = modalities.read(facts, line)
    return facts


@pytest.mark.parametrize("prefix", ["", "0: ", "[rank0]:", "[1,0]<stdout>:", "\x1b[32m"])
def test_a_report_is_read_behind_any_prefix(prefix: str) -> None:
    assert read(prefix + report(5)) == LogFacts(
        iteration=5,
        reports=1,
        loss=11.62,
        lr=6.003e-07,
        mfu=0.61,
        samples_per_second=4.3,
        peak_memory_bytes=int(40365.91 * 2**20),
        first_iteration=5,
        first_lr=6.003e-07,
    )


def test_a_record_of_the_results_file_says_the_same() -> None:
    facts = read(record(1), record(5))

    assert (facts.iteration, facts.loss, facts.lr, facts.reports) == (5, 11.625, 6.003e-07, 2)
    assert (facts.samples_per_second, facts.mfu, facts.peak_memory_bytes) == (2.747, 0.179, int(28988.5 * 2**20))


@pytest.mark.parametrize(
    "line",
    [
        record(tag="val"),
        record()[:40],
        record()[:-1],
        record("5"),
        record(step=True),
        record(-1),
        record(10**30),
        '{"num_train_steps_done": 5, "losses": [1]}',
        "num_train_steps_done",
        '["num_train_steps_done"]',
        f'{{"num_train_steps_done": {"[" * 4000}',
        "2026-03-01T10:00:00 | step: 5 | val loss: 3.2 | ",
        "step: 5 | train loss avg: 3.2",
        "num_seen_steps: 0",
        SAVED,
        DONE,
    ],
)
def test_evaluations_torn_records_and_other_lines_say_nothing(line: str) -> None:
    assert read(line) == LogFacts()


@pytest.mark.parametrize("line", [report(10, "nan"), report(10, "inf"), record(10, loss=float("nan"))])
def test_a_loss_that_is_no_number_is_divergence(line: str) -> None:
    facts = read(report(5), line)

    assert (facts.diverged, facts.loss, facts.iteration) == (True, 11.62, 10)
    assert not read(report(15), facts=facts).diverged


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (report(5, train_mfu_="x").replace("train mfu (16-bit): 0.61", "train mfu (16-bit): -1.0"), "mfu", None),
        (report(5).replace("40365.91", "-1.0"), "peak_memory_bytes", None),
        (report(5).replace("tensor(6.0030e-07)", "tensor(nan)"), "lr", None),
        (TARGET, "train_iters", 20),
        ("[rank0]:\tnum_target_steps: 20", "train_iters", 20),
        ("\tnum_seen_steps: 10", "loaded", 10),
        (SAVING, "saving", 20),
        (SAVING, "train_iters", 20),
    ],
)
def test_what_is_not_known_is_none_and_remarks_are_read(line: str, field: str, value: float | None) -> None:
    assert getattr(read(line), field) == value


@given(st.integers(0, 10**9), st.floats(0, 1e4), st.floats(0, 1e6))
def test_whatever_numbers_a_report_holds_are_read(step: int, loss: float, rate: float) -> None:
    facts = read(report(step, f"{loss:.2f}", **{"train samples/s": f"{rate:.1f}"}))

    assert facts.iteration == step
    assert facts.loss == pytest.approx(loss, abs=0.01)
    assert facts.samples_per_second == pytest.approx(rate, abs=0.1)


def test_a_save_counts_when_it_is_finished_and_tells_how_far_it_came() -> None:
    facts = read(report(15), SAVING, SAVED)

    assert (facts.saves, facts.saving, facts.iteration, facts.reports) == ((20,), None, 20, 1)


# Finished


def finished(*lines: str) -> tuple[bool, str]:
    verdict = modalities.finished({}, Seen(log=read(*lines)))
    return verdict.holds, verdict.reason


def test_a_training_is_finished_at_its_target() -> None:
    assert finished(TARGET, report(20), DONE) == (True, "trained to iteration 20")
    assert finished(report(15), SAVING, SAVED, DONE) == (True, "trained to iteration 20")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param([TARGET, report(15), DONE], "its log ends at iteration 15 of 20", id="its data ended"),
        pytest.param([TARGET, report(20)], "its log has no 'Training done at'", id="no mark"),
        pytest.param([report(20), SAVING, DONE], "the save at iteration 20 is not finished", id="the save is open"),
    ],
)
def test_the_mark_alone_proves_nothing(lines: list[str], reason: str) -> None:
    assert finished(*lines) == (False, f"exit code 0, but {reason}")


# The command line

LAUNCH = Launch(python="py", processes=2, checkpoints="/study/jobs/a/checkpoints")
TORCHRUN = ("py", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "modalities")


@pytest.mark.parametrize(
    ("program", "args", "words"),
    [
        (
            None,
            {"config_file_path": "c.yaml", "experiment_id": "a", "test_comm": True},
            (
                *TORCHRUN,
                *("run", "--experiments_root_path", "/study/jobs/a", "--config_file_path", "c.yaml"),
                *("--experiment_id", "a", "--test_comm"),
            ),
        ),
        (
            "warmstart",
            {"experiments_root_path": None, "last_checkpoint_info_file_path": "l.json"},
            (*TORCHRUN, "warmstart", "--last_checkpoint_info_file_path", "l.json"),
        ),
        (
            "profile distributed",
            {"experiment_root_path": "e"},
            (*TORCHRUN, "profile", "distributed", "--experiment_root_path", "e"),
        ),
        (
            "benchmark prepare_sweep_configs",
            {"world_sizes": "2,4"},
            ("py", "-m", "modalities", "benchmark", "prepare_sweep_configs", "--world_sizes", "2,4"),
        ),
    ],
)
def test_each_of_its_commands_can_be_started(program: str | None, args: dict[str, Any], words: tuple[str, ...]) -> None:
    assert modalities.argv(args, replace(LAUNCH, program=program)) == words
