"""Megatron-LM's log grammar on lines as its versions and forks write them, and what counts as finished."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import Launch, megatron
from autoexp.logs import LogFacts, Seen

REPORT = (
    " iteration      100/    3052 | consumed samples:         1600 | elapsed time per iteration (ms): 512.5 |"
    " throughput per GPU (TFLOP/s/GPU): 201.5 | learning rate: 1.000000E-03 | global batch size:    16 |"
    " lm loss: 6.543210E+00 | loss scale: 1.0 | grad norm: 1.234 | num zeros: 0 | params norm: 301.2 |"
    " number of skipped iterations:   0 | number of nan iterations:   0 |"
)
DONE = "[after training is done] datetime: 2026-03-01 12:00:00 "
SAVED = "  successfully saved checkpoint from iteration     200 to /ck [ t 1/1, p 1/1 ]"


def read(lines: Iterable[str], facts: LogFacts | None = None) -> LogFacts:
    facts = facts or LogFacts()
    for line in lines:
        facts = megatron.read(facts, line)
    return facts


def report(iteration: int = 100, total: int = 3052, **fields: str) -> str:
    """Write a report with some of its fields changed; `-` leaves one out."""
    parts = [part.partition(":") for part in REPORT.split("|")[1:-1]]
    named = {name.strip(): value.strip() for name, _, value in parts}
    named |= {name.replace("_", " "): value for name, value in fields.items()}
    kept = " | ".join(f"{name}: {value}" for name, value in named.items() if value != "-")
    return f" iteration {iteration:8d}/{total:8d} | {kept} |"


# Reports


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("", id="2021"),
        pytest.param(" [2024-03-01 10:00:00]", id="a time"),
        pytest.param(" [2026-03-01 10:00:00.123456]", id="a time with microseconds"),
        pytest.param("[default7]:", id="torchrun's rank"),
        pytest.param("[rank31]: ", id="a rank"),
        pytest.param("12: ", id="srun's task"),
        pytest.param("node-17: [default0]: [2026-03-01 10:00:00]", id="all of them"),
        pytest.param("\x1b[32m", id="a colour"),
    ],
)
def test_a_report_is_read_behind_any_prefix(prefix: str) -> None:
    assert read([prefix + REPORT]) == LogFacts(
        iteration=100,
        train_iters=3052,
        reports=1,
        loss=6.54321,
        lr=1e-3,
        tflops=201.5,
        seconds_per_iteration=0.5125,
        global_batch_size=16,
        first_iteration=100,
        first_lr=1e-3,
    )


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        pytest.param(
            " iteration 10/ 100 | consumed samples: 160 | elapsed time per iteration (s): 1.25 | lm loss: 1.0 |",
            "seconds_per_iteration",
            1.25,
            id="seconds for milliseconds",
        ),
        pytest.param(" iteration 10/100 | lm loss: 9.0E+00 | TFLOPs: 45.67 |", "tflops", 45.67, id="TFLOPs"),
        pytest.param(
            " iteration 7/50 | elapsed time per iteration (ms): 1500.0/1600.0 | lm loss: 5.0E+00 |",
            "seconds_per_iteration",
            1.5,
            id="now/average in milliseconds",
        ),
        pytest.param(
            " iteration 7/50 | throughput per GPU (TFLOP/s/GPU): 400.5/398.1 | lm loss: 1.0 |",
            "tflops",
            400.5,
            id="now/average in throughput",
        ),
        pytest.param(" iteration 7/50 | lm loss: 2.5E+00/2.6E+00 |", "loss", 2.5, id="now/average in the loss"),
        pytest.param(
            " iteration 7/50 | tokens per GPU (tokens/s/GPU): 12130.4/12525.5 | lm loss: 1.0 |",
            "tokens_per_second",
            12130.4,
            id="tokens per GPU",
        ),
        pytest.param(
            " iteration 7/50 | lm loss: 1.0 | samples per second: 29.4 |", "samples_per_second", 29.4, id="all"
        ),
        pytest.param(" iteration        1/       1 | lm loss: 1E+01 |", "train_iters", 1, id="the only iteration"),
        pytest.param(" iteration 12345678/99999999 | lm loss: 1E+01 |", "iteration", 12345678, id="eight digits"),
        pytest.param(
            " iteration 5/9 | consumed samples: 80 | skipped samples: 16 | lm loss: 1.5E+00 |",
            "loss",
            1.5,
            id="skipped samples",
        ),
    ],
)
def test_forks_are_read_too(line: str, field: str, value: float) -> None:
    facts = read([line])

    assert getattr(facts, field) == value
    assert not facts.diverged


@given(st.integers(0, 10**8), st.integers(1, 10**8), st.floats(0, 1e4), st.floats(0.1, 1e6), st.text(max_size=10))
def test_whatever_numbers_a_report_holds_are_read(
    iteration: int, total: int, loss: float, milliseconds: float, tail: str
) -> None:
    line = report(iteration, total, lm_loss=f"{loss:.6E}", **{"elapsed time per iteration (ms)": f"{milliseconds:.1f}"})

    facts = read([line + tail.replace("|", "").replace(":", "")])

    assert (facts.iteration, facts.train_iters) == (iteration, total)
    assert facts.loss == pytest.approx(loss, rel=1e-5, abs=1e-9)
    assert facts.seconds_per_iteration == pytest.approx(milliseconds / 1000, abs=1e-4)


def test_the_newest_report_counts_even_if_a_resumed_run_counts_back() -> None:
    facts = read([report(300), report(310), report(201, lm_loss="2.0E+00")])

    assert (facts.iteration, facts.loss) == (201, 2.0)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "iteration",
        " validation loss at iteration 100 | lm loss value: 6.5E+00 | lm loss PPL: 6.6E+02 | ",
        "number of parameters on (tensor, pipeline) model parallel rank (0, 0): 10000000",
        "setting training iterations to 3052",
        "Training epoch 0, iteration 3/249 | lr: 1e-06 | reduced_train_loss: 1.5",
        "WARNING: could not find the metadata file /ck/latest_checkpointed_iteration.txt",
        pytest.param(f" iteration {'9' * 5000}/ 100 | lm loss: 2.0 |", id="a number that no training comes to"),
        pytest.param(f"successfully saved checkpoint at iteration {'9' * 5000}", id="a save of none"),
    ],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert read([line]) == LogFacts()


# Divergence


@pytest.mark.parametrize(
    ("line", "diverged"),
    [
        pytest.param(report(), False, id="a loss"),
        pytest.param(report(lm_loss="nan"), True, id="nan"),
        pytest.param(report(lm_loss="NAN"), True, id="NAN"),
        pytest.param(report(lm_loss="inf"), True, id="infinite"),
        pytest.param(report(lm_loss="-", number_of_nan_iterations="3"), True, id="nan iterations, and no loss"),
        pytest.param(report(number_of_nan_iterations="1"), True, id="one nan iteration among others"),
        pytest.param(report(lm_loss="-"), True, id="no loss, though nothing was skipped"),
        pytest.param(
            report(lm_loss="-", number_of_skipped_iterations="10"), False, id="all skipped: fp16 finds its scale"
        ),
        pytest.param(report(lm_loss="0.000000E+00"), False, id="zero"),
    ],
)
def test_a_report_without_a_finite_loss_has_diverged_unless_all_of_it_was_skipped(line: str, *, diverged: bool) -> None:
    assert read([line]).diverged is diverged


def test_a_lost_loss_leaves_the_last_one_known() -> None:
    facts = read([report(lm_loss="2.5E+00"), report(200, lm_loss="-", number_of_nan_iterations="1")])

    assert (facts.loss, facts.diverged, facts.iteration) == (2.5, True, 200)


def test_a_run_that_found_its_loss_again_has_not_diverged() -> None:
    assert not read([report(lm_loss="nan"), report(200)]).diverged


# Checkpoints


@pytest.mark.parametrize(
    "line",
    [
        SAVED,
        "  [2026-03-01 10:00:00.1]   successfully saved checkpoint from iteration 200 to /ck [ t 1/1, gtp_remat 1/1 ]",
        "  successfully saved checkpoint at iteration     200 to /ck",
        "[default0]:  successfully saved checkpoint from iteration     200 to /ck [ t 1/2, p 1/1 ]",
    ],
)
def test_a_save_counts_once_it_is_called_successful(line: str) -> None:
    assert read([line]).saves == (200,)


@pytest.mark.parametrize(
    "line",
    [
        "saving checkpoint at iteration     200 to /ck in torch format",
        "[2026-03-01 10:00:00.1] saving checkpoint at iteration 200 to /ck in torch_dist format",
        "  scheduled an async checkpoint save at iteration     200 to /ck",
    ],
)
def test_a_save_is_open_until_it_is_called_successful(line: str) -> None:
    begun = read([line])

    assert (begun.saves, begun.saving) == ((), 200)
    assert read([SAVED], begun).saving is None
    assert read([SAVED.replace("200", "100")], begun).saving == 200


def test_an_async_save_counts_when_it_is_finished_not_when_it_is_scheduled() -> None:
    scheduled = read(["  scheduled an async checkpoint save at iteration     200 to /ck", report(201)])

    assert scheduled.saves == ()
    assert read([SAVED], scheduled).saves == (200,)


@pytest.mark.parametrize(
    "line",
    [
        " loading checkpoint from /ck at iteration 200",
        " loading distributed checkpoint from /ck at iteration 200",
        "  successfully loaded checkpoint from /ck [ t 1/1, p 1/1 ] at iteration 200",
        "[default3]: loading checkpoint from /a b/ck at iteration 200",
    ],
)
def test_where_a_run_continued_from_is_read(line: str) -> None:
    assert read([line]).loaded == 200


@pytest.mark.parametrize(
    "line",
    [
        "    will not load any checkpoints and will start from random",
        "[rank0]:     will not load any checkpoints and will start from random",
        "ERROR: Invalid metadata file /ck/latest_checkpointed_iteration.txt. Exiting",
    ],
)
def test_a_run_that_finds_nothing_to_continue_from_is_lost_until_it_loads(line: str) -> None:
    lost = read([line])

    assert lost.lost == line.strip()
    assert read([" loading checkpoint from /ck at iteration 200"], lost).lost == ""


def test_the_first_report_keeps_its_learning_rate() -> None:
    facts = read([report(201, learning_rate="3.0E-04"), report(202, learning_rate="2.0E-04")])

    assert (facts.first_iteration, facts.first_lr) == (201, 3e-4)


# Finished

WHOLE = Seen(log=LogFacts(iteration=3052, train_iters=3052, done=True), tracker=3052, checkpoints=(3000, 3052))


def test_the_done_marker_is_read_whatever_else_stands_in_the_line() -> None:
    assert read([DONE]).done
    assert read([f"[rank3]: {DONE} (iteration 5)"]).done


def test_a_training_is_finished_when_everything_says_so() -> None:
    verdict = megatron.finished({"train-iters": 3052}, WHOLE)

    assert verdict.holds
    assert verdict.reason == "trained to iteration 3052"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(
            replace(WHOLE, log=replace(WHOLE.log, done=False)),
            "its log has no '[after training is done]'",
            id="no marker",
        ),
        pytest.param(replace(WHOLE, tracker=3000), "the tracker says 3000, not 3052", id="the final save is missing"),
        pytest.param(replace(WHOLE, tracker=None), "the tracker says None, not 3052", id="no tracker"),
        pytest.param(
            replace(WHOLE, checkpoints=(3000,)),
            "there is no whole checkpoint of iteration 3052",
            id="a torn checkpoint",
        ),
        pytest.param(
            replace(WHOLE, log=replace(WHOLE.log, diverged=True)), "the loss is not a number", id="it diverged"
        ),
    ],
)
def test_the_marker_alone_proves_nothing(seen: Seen, reason: str) -> None:
    verdict = megatron.finished({"train-iters": 3052}, seen)

    assert not verdict.holds
    assert verdict.reason == f"exit code 0, but {reason}"


def test_a_marker_before_the_final_save_is_no_end() -> None:
    facts = read([report(3052), DONE])

    verdict = megatron.finished({"train-iters": 3052}, Seen(log=facts, tracker=3000, checkpoints=(3000,)))

    assert verdict.reason == (
        "exit code 0, but the tracker says 3000, not 3052 and there is no whole checkpoint of iteration 3052"
    )


def test_a_training_that_saves_nothing_has_to_report_its_last_interval() -> None:
    args = {"train-iters": 95, "log-interval": 10, "save": None}

    found = [megatron.finished(args, Seen(log=LogFacts(done=True, iteration=last))) for last in (95, 90, 85, None)]

    assert [verdict.holds for verdict in found] == [True, True, False, False]
    assert "its last report is of iteration 85 of 95" in found[2].reason
    assert not megatron.finished(args, Seen(log=LogFacts(done=False, iteration=95))).holds


def test_where_nothing_says_how_far_to_train_nothing_is_finished() -> None:
    verdict = megatron.finished({"train-samples": 1000}, Seen(log=LogFacts(done=True)))

    assert not verdict.holds
    assert "how far it had to train" in verdict.reason


def test_a_finished_run_that_is_started_again_is_still_finished() -> None:
    facts = read([" loading checkpoint from /ck at iteration 3052", DONE])

    assert megatron.finished({"train-iters": 3052}, replace(WHOLE, log=facts)).holds


@pytest.mark.parametrize(
    ("args", "holds"),
    [
        pytest.param({"train-iters": "3052"}, True, id="as text"),
        pytest.param({"train-iters": 3052.0}, True, id="as a float"),
        pytest.param({"train-iters": 4000}, False, id="more than the log says"),
        pytest.param({}, True, id="as the log says"),
        pytest.param({"train-samples": 10**6}, True, id="in samples, as the log says in iterations"),
        pytest.param({"train-iters": "many"}, True, id="no number: as the log says"),
    ],
)
def test_how_far_to_train_comes_from_the_args_or_the_log(args: dict[str, Any], *, holds: bool) -> None:
    assert megatron.finished(args, WHOLE).holds is holds


# The command line


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        pytest.param(Launch(python="py"), ("py", "pretrain_gpt.py"), id="the usual program"),
        pytest.param(Launch(python="py", program="/opt/m/pretrain.py"), ("py", "/opt/m/pretrain.py"), id="a path"),
        pytest.param(Launch(python="py", program="my.trainer"), ("py", "-m", "my.trainer"), id="a module"),
        pytest.param(
            Launch(python="py", processes=4),
            ("py", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "pretrain_gpt.py"),
            id="several processes",
        ),
    ],
)
def test_a_program_starts_under_torchrun_where_it_takes_several_processes(
    launch: Launch, words: tuple[str, ...]
) -> None:
    argv = megatron.argv({}, launch)

    assert argv == (*words, "--load", "", "--save", "")


def test_a_recipe_may_load_and_save_elsewhere() -> None:
    argv = megatron.argv({"load": "/other", "lr": 0.1}, Launch(python="py", checkpoints="/mine"))

    assert argv[2:] == ("--load", "/other", "--save", "/mine", "--lr", "0.1")
