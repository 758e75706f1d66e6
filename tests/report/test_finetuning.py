from dataclasses import replace
from typing import Any

from autoexp.model import State
from autoexp.report import finetuning
from autoexp.report.metrics import Metrics
from autoexp.report.results import Results, Run
from autoexp.report.spelling import as_json, as_markdown

SAID = {"train_loss": 1.5, "train_samples_per_second": 8.0, "eval_samples_per_second": 30.0, "eval_f1": 41.0}
TUNED = Run(
    job="one",
    stage="tune",
    state=State.SUCCEEDED,
    devices=2,
    metrics=Metrics(
        said=SAID, evaluated={2.0: 1.25, 1.0: 1.75}, steps_per_epoch=125, allocated=(1 << 30, 2 << 30), busy_percent=88
    ),
)
FAILED = replace(TUNED, job="two", state=State.FAILED, reason="gpu_oom: no memory", metrics=Metrics())


def table(*runs: Run) -> Any:
    return finetuning.table(Results(study=None, runs=runs))  # type: ignore[arg-type]  # it is not asked for


def test_losses_stand_by_epoch_beside_what_the_trainer_says_of_its_speed() -> None:
    (one, _) = as_json(table(TUNED, FAILED))
    assert isinstance(one, dict)

    assert (one["train_loss"], one["eval_loss_1"], one["eval_loss_2"]) == (1.5, 1.75, 1.25)
    assert (one["told_samples_per_s"], one["eval_samples_per_s"], one["steps_per_epoch"]) == (8.0, 30.0, 125)
    assert (one["peak_memory_gib"], one["gpu_busy_percent"], one["exact_match"], one["f1"]) == (2.0, 88, None, 41.0)


def test_a_training_that_failed_stands_there_with_its_reason() -> None:
    (_, two) = as_json(table(TUNED, FAILED))
    assert isinstance(two, dict)

    assert (two["eval_loss_1"], two["train_loss"]) == (None, None)
    assert two["notes"] == ["failed: gpu_oom: no memory"]


def test_what_nobody_logged_is_no_column_for_people() -> None:
    assert "exact match" not in as_markdown(table(TUNED))
    assert "exact_match" in [column.key for column in table(TUNED).columns]


def test_trainings_that_log_nothing_are_no_fine_tunings() -> None:
    assert table(replace(TUNED, metrics=Metrics())).rows == ()
