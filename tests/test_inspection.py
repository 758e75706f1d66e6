"""What is made of one log, each fact with the line that says so."""

from pathlib import Path
from typing import Any

import pytest

from autoexp import inspection
from autoexp.errors import AutoexpError
from autoexp.logs import LONGEST_LINE_BYTES, MOST_SAVES

HEAD = "    will not load any checkpoints and will start from random"
SAVING = "[2026-03-01 10:00:00.1] saving checkpoint at iteration     {} to /ck in torch_dist format"
SAVED = "  successfully saved checkpoint from iteration     {} to /ck [ t 1/1, p 1/1 ]"
DONE = "[after training is done] datetime: 2026-03-01 12:00:00"
CANCELLED = "slurmstepd: error: *** JOB 1 ON n CANCELLED AT 2026-07-10T11:05:02"
KILLED = "srun: error: jwb0034: task 3: Killed"


def report(iteration: int, loss: str = " lm loss: 2.5E+00 |", nan: int = 0, total: int = 20) -> str:
    nans = f" number of skipped iterations: 0 | number of nan iterations: {nan} |"
    return (
        f" iteration {iteration}/ {total} | elapsed time per iteration (ms): 9.5 | learning rate: 1.0E-03 |{loss}{nans}"
    )


def inspected(folder: Path, *lines: str, name: str | None = None, end: str = "\n") -> dict[str, Any]:
    log = folder / "train.log"
    log.write_text("\n".join(lines) + end, encoding="utf-8")
    return inspection.read(log, name)


def events(found: dict[str, Any]) -> list[tuple[int, str]]:
    return [(said["line"], said["event"]) for said in found["evidence"]]


def test_a_finished_training_is_done_and_each_fact_has_its_line(tmp_path: Path) -> None:
    found = inspected(tmp_path, HEAD, report(10), report(15), report(20), SAVING.format(20), SAVED.format(20), DONE)

    assert events(found) == [(1, "lost"), (2, "progress"), (4, "progress"), (5, "saving"), (6, "saved"), (7, "done")]
    found.pop("evidence")
    assert found == {
        "kind": "log",
        "backend": "megatron",
        "iteration": 20,
        "train_iters": 20,
        "loss": 2.5,
        "figures": {"lr": 0.001, "seconds_per_iteration": 0.0095},
        "saves": [20],
        "done": True,
        "diverged": False,
        "ending": "success",
    }


@pytest.mark.parametrize(
    ("lines", "done", "ending"),
    [
        pytest.param([report(20), DONE, SAVING.format(20), SAVED.format(20)], True, "success", id="the save follows"),
        pytest.param([report(20), DONE, SAVING.format(20)], False, None, id="the save is still open"),
        pytest.param([report(20), DONE, SAVING.format(20), KILLED], False, "crashed", id="killed in the last save"),
        pytest.param([report(20), DONE, KILLED], False, "crashed", id="killed after the marker"),
        pytest.param([report(10), DONE], False, None, id="the marker comes too early"),
        pytest.param([report(20)], False, None, id="no marker"),
        pytest.param([" loading checkpoint from /ck at iteration 20", DONE], True, "success", id="done before"),
        pytest.param([report(10), KILLED, report(20), DONE], True, "success", id="another attempt went on"),
        pytest.param(
            [
                report(20),
                DONE,
                f"{CANCELLED} DUE TO TIME LIMIT ***",
            ],
            False,
            "time_limit",
            id="the time limit hit the last save",
        ),
        pytest.param(
            [report(10), f"{CANCELLED} ***"],
            False,
            "cancelled",
            id="cancelled",
        ),
        pytest.param([report(10), "Traceback (most recent call last):"], False, "crashed", id="an exception"),
        pytest.param(
            [report(10), "Traceback (most recent call last):", "torch.OutOfMemoryError: CUDA out of memory."],
            False,
            "gpu_oom",
            id="an exception that says why",
        ),
        pytest.param([report(10), report(15, "", 5)], False, "diverged", id="the loss is no number"),
    ],
)
def test_how_it_ended_is_told_by_what_stands_last(
    tmp_path: Path, lines: list[str], *, done: bool, ending: str | None
) -> None:
    found = inspected(tmp_path, *lines, name="megatron")

    assert (found["done"], found["ending"]) == (done, ending)


def test_a_save_that_was_only_scheduled_is_none(tmp_path: Path) -> None:
    scheduled = "  scheduled an async checkpoint save at iteration     400 to /ck"

    assert inspected(tmp_path, report(10), SAVING.format(400), scheduled, report(15))["saves"] == []


def test_all_saves_of_a_long_log_are_named(tmp_path: Path) -> None:
    saved = (SAVED.format(number) for number in range(1, 3 * MOST_SAVES))

    assert inspected(tmp_path, report(10), *saved)["saves"] == list(range(1, 3 * MOST_SAVES))


def test_a_lost_loss_is_divergence_and_the_last_finite_one_stays(tmp_path: Path) -> None:
    found = inspected(tmp_path, report(10), report(15, "", 5), report(16, "", 1))

    assert (found["diverged"], found["loss"], found["iteration"]) == (True, 2.5, 16)
    assert (2, "diverged") in events(found)


def test_the_grammar_that_finds_most_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    assert inspected(tmp_path, "hello")["backend"] == "command"
    assert inspected(tmp_path, KILLED)["backend"] == "command"
    assert inspected(tmp_path, report(10), name="command")["iteration"] is None
    with pytest.raises(AutoexpError, match="unknown backend"):
        inspected(tmp_path, report(10), name="nope")


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    assert inspected(tmp_path, report(20), DONE, end="")["done"]


@pytest.mark.parametrize(
    "lines", [[""], ["\0" * 100], ["iteration " + "9" * 5000 + "/ 9 | lm loss: 1 |"], ["x" * (3 * LONGEST_LINE_BYTES)]]
)
def test_no_log_is_too_strange_to_be_read(tmp_path: Path, lines: list[str]) -> None:
    assert inspected(tmp_path, *lines)["done"] is False


def test_an_answer_about_nothing_has_every_field(tmp_path: Path) -> None:
    empty = inspected(tmp_path, "")

    assert inspection.nothing(None, "gone") == {**empty, "why": "gone"}


BAR = "\r 44%|####      | {}/75 [00:10<00:20,  1.50s/it]"
LOSS = "{'loss': 2.5, 'learning_rate': 1e-05, 'epoch': 0.4}"
SUMMARY = "{'train_runtime': 125.2, 'train_samples_per_second': 11.9, 'train_loss': 0.7, 'epoch': 2.93}"


@pytest.mark.parametrize(
    ("lines", "done", "ending"),
    [
        pytest.param([BAR.format(75), SUMMARY], True, "success", id="finished"),
        pytest.param(
            [BAR.format(33), "Traceback (most recent call last):", BAR.format(34)], False, "crashed", id="failed"
        ),
        pytest.param([BAR.format(33), "CUDA out of memory.", BAR.format(34)], False, "gpu_oom", id="out of memory"),
        pytest.param([BAR.format(75), SUMMARY, "Traceback (most recent call last):"], False, "crashed", id="not saved"),
        pytest.param([BAR.format(33), KILLED, BAR.format(75), SUMMARY], True, "success", id="another attempt went on"),
        pytest.param([BAR.format(33), KILLED, BAR.format(40), LOSS], False, None, id="another attempt is on its way"),
        pytest.param([BAR.format(60), SUMMARY], False, None, id="stopped early"),
    ],
)
def test_a_bar_that_is_drawn_once_more_hides_no_ending(
    tmp_path: Path, lines: list[str], *, done: bool, ending: str | None
) -> None:
    found = inspected(tmp_path, BAR.format(1), *lines)

    assert (found["backend"], found["done"], found["ending"]) == ("huggingface", done, ending)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (report(10), "megatron"),
        ("Training epoch 0, iteration 3/249 | lr: 1e-06 | global_step: 3 | reduced_train_loss: 1.6", "nemo"),
        ("[titan] - INFO - step: 10  loss:  7.1  tps: 7,300", "torchtitan"),
        ("2026-03-01T10:00:00 | step: 5 | train samples/s: 4.3 | train loss avg: 2.5 | ", "modalities"),
        (BAR.format(3) + "\r" + LOSS, "huggingface"),
    ],
)
def test_each_framework_s_report_is_known_also_behind_a_bar_of_something_else(
    tmp_path: Path, line: str, name: str
) -> None:
    assert inspected(tmp_path, BAR.format(3), line)["backend"] == name
