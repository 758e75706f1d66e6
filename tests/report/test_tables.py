import math
from dataclasses import replace
from typing import Any

import pytest

from autoexp.machine import Partition
from autoexp.report import tables
from autoexp.report.results import Results, read
from autoexp.report.spelling import as_csv, as_json, as_markdown
from tests.report.test_ladders import run


def rows(study: Any, name: str) -> list[dict[str, Any]]:
    (table,) = [table for table in tables.make(read(study)) if table.name == name]
    found: Any = as_json(table)
    return list(found)


def row(study: Any, name: str, job: str) -> dict[str, Any]:
    return next(row for row in rows(study, name) if row["job"] == job)


def headlines(study: Any) -> list[str]:
    results = read(study)
    return tables.headlines(results, tables.make(results))


def test_a_run_is_told_by_its_last_report_and_its_last_evaluation(ladder: Any) -> None:
    told = row(ladder, "runs", "pretrain-lr0.01")
    assert (told["values"], told["iteration"], told["train_iters"], told["attempts"]) == ({"lr": 0.01}, 1000, 1000, 2)
    assert told["tokens"] == 1000 * 4 * 128
    assert told["training_loss"] == pytest.approx(2 + 40 / 1005, abs=1e-6)
    assert (told["held_out_loss"], told["evaluated_iteration"]) == (pytest.approx(2 + 40 / 1005 + 0.05), 1000)


def test_the_efficiency_on_the_most_devices_is_a_headline() -> None:
    runs = tuple(run(f"on{n}", n, 72 / n / (10 - n), tflops=10.0 - n) for n in (1, 2, 4))
    results = Results(study=None, runs=runs)  # type: ignore[arg-type]  # it is not asked for
    said = tables.headlines(results, tables.make(results))

    assert said[-1] == "On the most devices, 4: 66.7% efficiency, by on4."


def test_an_efficiency_beside_other_work_is_no_headline() -> None:
    runs = tuple(run(f"on{n}", n, 8.0 / n, tflops=10.0 - n) for n in (1, 2, 4))
    results = Results(study=None, runs=runs)  # type: ignore[arg-type]  # it is not asked for

    assert "efficiency" not in " ".join(tables.headlines(results, tables.make(results)))


def test_speed_is_the_median_of_the_reports(maker: Any) -> None:
    maker.train("pretrain")
    maker.log("pretrain", [])
    for attempt, ms in ((1, 500.0), (2, 250.0), (3, 250.0)):
        maker.losses("pretrain", {10 * attempt: 2.0}, attempt=attempt, ms=ms)
    told = row(maker.study(), "runs", "pretrain")
    assert (told["tokens_per_s"], told["tflops_per_gpu"]) == (4 * 128 / 0.25, 48.0)


def test_mfu_is_told_where_the_machine_file_has_a_peak(maker: Any) -> None:
    maker.losses(maker.train("pretrain"), {10: 2.0})
    study = maker.study()
    known = replace(study.machine, options={"partition": "gpu"}, partitions={"gpu": Partition(peak_tflops=48.0)})

    (plain, *_), (told, *_) = (tables.make(read(one)) for one in (study, replace(study, machine=known)))

    assert "mfu" not in [column.key for column in plain.columns]
    assert [column.key for column in told.columns].index("mfu") > 0
    assert (told.rows[0]["tflops_per_gpu"], told.rows[0]["mfu"]) == (24.0, 0.5)
    assert "MFU is TFLOP/s per GPU over the machine's peak of 48." in told.caption


def test_a_run_that_has_not_begun_has_no_numbers_but_a_reason(ladder: Any) -> None:
    told = row(ladder, "runs", "cooldown-lr0.01-tokens500k")
    numbers = ("iteration", "tokens", "training_loss", "held_out_loss", "perplexity", "tokens_per_s", "tflops_per_gpu")
    assert [told[name] for name in numbers] == [None] * len(numbers)
    assert (told["state"], told["attempts"]) == ("waiting", 0)
    assert told["notes"] == ["waiting: nothing to wait for"]


def test_each_axis_is_a_column_and_empty_where_a_run_has_none(ladder: Any) -> None:
    made = tables.make(read(ladder))[0]
    lines = as_csv(made).splitlines()
    assert lines[0].startswith("job,stage,lr,values.tokens,state,")
    assert lines[1].startswith("pretrain-lr0.01,pretrain,0.01,,waiting,")


def test_a_run_without_a_held_out_loss_says_so_where_others_have_one(maker: Any) -> None:
    for job in ("a", "b"):
        maker.losses(maker.train(job), {10: 2.0})
    maker.evaluate("a", 10, 2.0)
    study = maker.study()
    assert "no checkpoint of it has a held-out loss yet" not in row(study, "runs", "a")["notes"]
    assert "no checkpoint of it has a held-out loss yet" in row(study, "runs", "b")["notes"]


def test_checkpoints_come_by_job_and_iteration(ladder: Any) -> None:
    told = [(row["job"], row["iteration"], row["tokens"]) for row in rows(ladder, "checkpoints")]
    assert told == [
        *(("pretrain-lr0.01", iteration, iteration * 512) for iteration in (200, 400, 600, 800, 1000)),
        ("cooldown-lr0.01-tokens400k", 800, 800 * 512),
    ]


def test_an_evaluation_that_failed_is_a_row_with_its_reason(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, b'{"loss": ')
    (told,) = rows(maker.study(), "checkpoints")
    assert (told["held_out_loss"], told["perplexity"]) == (None, None)
    assert "eval/results.json cannot be read" in told["notes"][0]


def test_a_cooldown_is_compared_with_its_parent_at_the_branch(ladder: Any) -> None:
    told = row(ladder, "cooldowns", "cooldown-lr0.01-tokens400k")
    assert (told["parent"], told["branch_iteration"], told["branch_tokens"]) == ("pretrain-lr0.01", 600, 600 * 512)
    before = 2 + 40 / 605 + 0.05
    assert (told["loss_at_branch"], told["loss_after"]) == (pytest.approx(before), 1.85)
    assert (told["difference"], told["better"]) == (pytest.approx(1.85 - before), True)


def test_a_cooldown_that_has_not_ended_is_not_judged(ladder: Any) -> None:
    told = row(ladder, "cooldowns", "cooldown-lr0.01-tokens500k")
    assert (told["loss_at_branch"] is None, told["loss_after"], told["difference"]) == (False, None, None)
    assert told["better"] is None
    assert told["notes"] == ["waiting: nothing to wait for"]


def test_a_cooldown_that_made_it_worse_is_not_better(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600, train_iters=700)
    maker.evaluate("pretrain", 600, 2.0)
    maker.evaluate("cooldown", 700, 2.5)
    told = row(maker.study(), "cooldowns", "cooldown")
    assert (told["difference"], told["better"]) == (0.5, False)


def test_an_evaluation_on_the_way_does_not_judge_a_cooldown(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600, train_iters=700)
    maker.evaluate("pretrain", 600, 2.0)
    maker.evaluate("cooldown", 650, 1.9)
    assert row(maker.study(), "cooldowns", "cooldown")["loss_after"] is None


def test_losses_on_different_texts_are_not_compared(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600, train_iters=700)
    maker.evaluate("pretrain", 600, {"loss": 2.0, "text_sha256": "a"})
    maker.evaluate("cooldown", 700, {"loss": 1.0, "text_sha256": "b"})
    told = row(maker.study(), "cooldowns", "cooldown")
    assert (told["difference"], told["better"]) == (None, None)
    assert "the two losses were measured on different texts" in told["notes"]


def test_a_branch_point_that_was_not_evaluated_is_said(maker: Any) -> None:
    maker.cooldown("cooldown", maker.train("pretrain"), 600, train_iters=700)
    maker.evaluate("cooldown", 700, 1.0)
    assert "pretrain has no evaluation of iteration 600" in row(maker.study(), "cooldowns", "cooldown")["notes"]


def test_of_several_measures_the_first_compares_runs_and_all_stand_in_the_checkpoints(maker: Any) -> None:
    maker.train("pretrain")
    for text, loss in (("wiki", 2.0), ("code", 1.0)):
        maker.evaluate("pretrain", 200, loss, values={"text": text})
    study = maker.study()
    assert row(study, "runs", "pretrain")["held_out_loss"] == 2.0
    assert [told["measure"] for told in rows(study, "checkpoints")] == ["evaluate, text wiki", "evaluate, text code"]
    runs, checkpoints, *_ = tables.make(read(study))
    assert "the held-out loss is that of evaluate, text wiki" in runs.caption
    assert "evaluation" in [column.title for column in checkpoints.shown]


def test_a_score_is_a_row_with_its_error_and_what_it_is_of(ladder: Any) -> None:
    (told,) = rows(ladder, "scores")
    assert (told["job"], told["iteration"], told["tokens"]) == ("pretrain-lr0.01", 1000, 1000 * 4 * 128)
    assert (told["task"], told["metric"], told["score"], told["stderr"]) == ("piqa", "acc", 0.7512345, 0.125)
    assert (told["few_shot"], told["samples"], told["notes"]) == (5, 12, [])
    assert told["evaluation_job"] == "benchmark-convert-pretrain-lr0.01@0001000"
    assert "| 0.7512 | 0.1250 | 5 | 12 |  |" in as_markdown(tables.scores(read(ladder)))


def test_a_checkpoint_whose_tasks_were_scored_has_no_row_for_a_loss(ladder: Any) -> None:
    assert {row["measure"] for row in rows(ladder, "checkpoints")} == {"evaluate"}


def test_scores_of_some_samples_and_scores_that_are_none_say_so(maker: Any) -> None:
    common = {"task": "piqa", "metric": "acc"}
    cut, none = {**common, "value": 0.5, "samples": 8, "samples_in_all": 100}, {**common, "value": math.nan}
    maker.evaluate(maker.train("pretrain"), 200, {"scores": [cut, none]})
    assert [row["notes"] for row in rows(maker.study(), "scores")] == [
        ["of 8 of 100 samples only: it compares with no other"],
        ["it is no number"],
    ]


def test_an_evaluation_of_tasks_that_failed_is_a_row_with_its_reason(maker: Any) -> None:
    maker.evaluate(maker.train("pretrain"), 200, None, argv=("evaluate.py", "--tasks", "piqa"))
    (told,) = rows(maker.study(), "scores")
    assert (told["task"], told["score"], told["notes"]) == (None, None, ["there is no eval/results.json"])
    assert not any("task" in line for line in headlines(maker.study()))


def test_headlines_say_what_it_comes_to(ladder: Any) -> None:
    best = "cooldown-lr0.01-tokens400k"
    assert headlines(ladder) == [
        "3 training runs: 3 waiting.",
        f"Lowest held-out loss: 1.8500 nats per token, perplexity 6.36, by {best} after 410k tokens.",
        "1 of 1 judged cooldown ended below the loss of the branch point: -0.2661 nats per token on average.",
        "1 cooldown cannot be judged so far; the notes say why.",
        "1 task scored at 1 checkpoint; see the scores.",
    ]


def test_a_study_without_training_says_so(maker: Any) -> None:
    assert headlines(maker.study()) == ["No training runs."]
