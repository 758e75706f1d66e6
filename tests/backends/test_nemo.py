"""NeMo's printed progress and its progress bar, and what counts as finished."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import Launch, nemo
from autoexp.logs import LogFacts, Seen

JOB_FINISHED = " Job finished"
STOPPED = "[INFO     | pytorch_lightning.utilities.rank_zero]: `Trainer.fit` stopped: `max_steps=250` reached."
SAVING = "[NeMo I 2025-05-15 23:42:46 nemo_logging:393] Scheduled async checkpoint save for /ck/m--step=249-last.ckpt"
SAVED = "[NeMo I 2025-05-15 23:43:04 nemo_logging:393] Successfully saved checkpoint from iteration     249 to /ck/x"


def report(iteration: int, total: int = 249, loss: str = "0.1058", step: int | None = None, epoch: int = 0) -> str:
    return (
        f"Training epoch {epoch}, iteration {iteration}/{total} | lr: 6.168e-09 | global_batch_size: 8 |"
        f" global_step: {iteration if step is None else step} | reduced_train_loss: {loss} |"
        " train_step_timing in s: 1.608 | consumed_samples: 2000 | val_loss: 0.194"
    )


def read(*lines: str, facts: LogFacts | None = None) -> LogFacts:
    facts = facts or LogFacts()
    for line in lines:
        facts = nemo.read(facts, line)
    return facts


@pytest.mark.parametrize("prefix", ["", "0: ", "[rank0]:", "[default0]: ", "(pretraining, pid=4112) ", "\x1b[36m"])
def test_a_report_is_read_behind_any_prefix(prefix: str) -> None:
    assert read(prefix + report(249)) == LogFacts(
        iteration=249,
        train_iters=249,
        reports=1,
        loss=0.1058,
        lr=6.168e-09,
        seconds_per_iteration=1.608,
        global_batch_size=8,
        first_iteration=249,
        first_lr=6.168e-09,
    )


@pytest.mark.parametrize(
    ("line", "iteration", "total", "loss"),
    [
        pytest.param(report(0), 0, 249, 0.1058, id="the first"),
        pytest.param(report(100, 250, step=99), 100, 250, 0.1058, id="counted from 1"),
        pytest.param(report(0, 999, step=19, epoch=1), 19, 999, 0.1058, id="the second epoch"),
        pytest.param(
            "Epoch 0: :  47%|████▋     | 7/15 [06:19<07:13, reduced_train_loss=11.50, global_step=5.000,"
            " consumed_samples=12288.0, train_step_timing in s=49.50]",
            7,
            15,
            11.5,
            id="the progress bar",
        ),
        pytest.param(
            "Epoch 0:   0%|          | 190/301501 [59:30<1572:41:13, 18.79s/it, loss=7.74, v_num=3-16,"
            " reduced_train_loss=7.560, global_step=189.0, consumed_samples=24192.0]",
            190,
            301501,
            7.56,
            id="an older progress bar",
        ),
    ],
)
def test_iterations_are_counted_as_it_counts_them(line: str, iteration: int, total: int, loss: float) -> None:
    facts = read(line)

    assert (facts.iteration, facts.train_iters, facts.loss, facts.reports) == (iteration, total, loss, 1)


@pytest.mark.parametrize(
    "line",
    [
        "Validation: iteration 3/10",
        "[rank: 0] Received SIGTERM: 15",
        "Sanity checking Validation: iteration 1/2",
        "[NeMo W 2025-12-05 10:25:40 rerun_state_machine:1263] Implicit initialization of Rerun State Machine!",
        " Job started",
        " iteration 10/ 100 | elapsed time per iteration (ms): 9.5 | lm loss: 2.5E+00 |",
        "the note 'Job finished' in a text",
        "Training epoch 0, iteration 3",
        JOB_FINISHED,
    ],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert read(line) == LogFacts()


@pytest.mark.parametrize("loss", ["nan", "inf"])
def test_a_loss_that_is_no_number_is_divergence(loss: str) -> None:
    facts = read(report(5), report(6, loss=loss))

    assert (facts.diverged, facts.loss, facts.iteration) == (True, 0.1058, 6)
    assert not read(report(7), facts=facts).diverged


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e4))
def test_whatever_numbers_a_report_holds_are_read(iteration: int, total: int, loss: float) -> None:
    facts = read(report(iteration, total, f"{loss:.4}"))

    assert (facts.iteration, facts.train_iters) == (iteration, total)
    assert facts.loss == pytest.approx(loss, rel=1e-3)


def test_an_async_save_is_open_until_it_is_called_successful() -> None:
    begun = read(SAVING)

    assert (begun.saves, begun.saving) == ((), 249)
    assert (read(SAVED, facts=begun).saves, read(SAVED, facts=begun).saving) == ((249,), None)
    assert read(SAVED.replace("249", "199"), facts=begun).saving == 249


def test_where_a_run_continued_from_is_read() -> None:
    assert read("Restored all states from the checkpoint at /ck/model_name=0--step=99-consumed=800.0-last").loaded == 99


def test_a_rate_of_work_is_read_where_it_is_measured() -> None:
    assert read(f"{report(3)} | TFLOPS_per_GPU: 412.5").tflops == 412.5


def test_of_the_gpus_that_a_monitor_lists_the_fullest_counts() -> None:
    peaks = (
        f"[gpu_memory_log - GPU {gpu}] Peak = {peak} MiB, Avg = 1.5 MiB, Mode = 2145, 2177 MB"
        for gpu, peak in enumerate((16273, 42273, 9))
    )

    assert read(*peaks).peak_memory_bytes == 42273 << 20


# Finished


def finished(*lines: str, args: dict[str, Any] | None = None) -> tuple[bool, str]:
    verdict = nemo.finished(args or {}, Seen(log=read(*lines)))
    return verdict.holds, verdict.reason


@pytest.mark.parametrize(
    ("lines", "args"),
    [
        pytest.param([report(249), JOB_FINISHED], {}, id="the last report"),
        pytest.param([report(249)], {"trainer.max_steps": 250}, id="counted from 0"),
        pytest.param([report(250, 250, step=249)], {"trainer.max_steps": 250}, id="counted from 1"),
        pytest.param([report(199), STOPPED], {"trainer.max_steps": 250}, id="the last report is left out"),
        pytest.param([STOPPED], {"trainer.max_steps": 250}, id="no report at all"),
        pytest.param([report(199), SAVING, STOPPED, SAVED], {}, id="the last save follows"),
        pytest.param([report(249)], {"trainer.max_steps": -1}, id="as many as there are"),
    ],
)
def test_a_training_is_finished_at_its_last_iteration(lines: list[str], args: dict[str, Any]) -> None:
    assert finished(*lines, args=args)[0]


@pytest.mark.parametrize(
    ("lines", "args", "reason"),
    [
        pytest.param(
            [report(120), JOB_FINISHED], {}, "its log ends at iteration 120 of 249", id="the script's mark lies"
        ),
        pytest.param(
            [report(248)], {"trainer.max_steps": 250}, "its log ends at iteration 248 of 249", id="one is missing"
        ),
        pytest.param(
            [report(249)], {"trainer.max_steps": 500}, "its log ends at iteration 249 of 500", id="more is asked for"
        ),
        pytest.param(
            [report(199), SAVING, STOPPED], {}, "the save at iteration 249 is not finished", id="the save is open"
        ),
        pytest.param([report(249, loss="nan")], {}, "the loss is not a number", id="it diverged"),
    ],
)
def test_no_mark_alone_proves_anything(lines: list[str], args: dict[str, Any], reason: str) -> None:
    assert finished(*lines, args=args) == (False, f"exit code 0, but {reason}")


def test_a_training_that_stopped_at_its_own_time_limit_is_not_finished() -> None:
    limit = "Time limit reached. Elapsed time is 1:00:41. Signaling Trainer to stop."

    holds, reason = finished(report(120), limit)

    assert not holds
    assert reason == f"exit code 0, but its log says: {limit[:-1]} and its log ends at iteration 120 of 249"


def test_the_script_s_mark_counts_behind_the_last_iteration() -> None:
    assert read(report(249), JOB_FINISHED).done
    assert not read(report(248), JOB_FINISHED).done


# The command line

LAUNCH = Launch(python="py", processes=2, checkpoints="/ck")
TORCHRUN = ("py", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_the_command_takes_flags_and_overrides() -> None:
    args = {"factory": "llama31_8b", "yes": True, "peft": "none", "trainer.max_steps": 250, "a": None, "b": [1, "x"]}

    assert nemo.argv(args, replace(LAUNCH, program="llm finetune")) == (
        *(*TORCHRUN, "--no-python", "env", "PYTHONUNBUFFERED=1", "nemo", "llm", "finetune"),
        *("--factory", "llama31_8b", "--yes"),
        *("trainer.devices=2", "trainer.num_nodes=1", "log.log_dir=/ck", "peft=none", "trainer.max_steps=250"),
        *("a=null", "b=[1,'x']"),
    )


def test_pretraining_is_what_it_does_unless_told_otherwise() -> None:
    assert nemo.argv({}, LAUNCH)[8:11] == ("nemo", "llm", "pretrain")


def test_a_script_takes_overrides_only() -> None:
    args = {"trainer.devices": 4, "model.sequence_parallel": True}

    assert nemo.argv(args, replace(LAUNCH, program="/opt/megatron_gpt_pretraining.py")) == (
        *(*TORCHRUN, "/opt/megatron_gpt_pretraining.py", "trainer.devices=4", "trainer.num_nodes=1"),
        *("model.sequence_parallel=True",),
    )
