from dataclasses import replace
from typing import Any

from autoexp.model import State
from autoexp.report import comparison
from autoexp.report.results import Results, Run
from autoexp.report.series import Attempt, Point
from autoexp.report.spelling import as_json


def run(job: str, step_s: float, loss: float = 2.0, iteration: int = 1, **axes: Any) -> Run:
    points = (Point(iteration=iteration, loss=loss, seconds=step_s),)
    return Run(
        job=job,
        stage="train",
        values=axes,
        state=State.SUCCEEDED,
        attempts=(Attempt(number=1, points=points),),
        series=points,
        seq_length=8,
        global_batch_size=4,
    )


def rows(own: list[Run], other: list[Run]) -> list[Any]:
    one, two = (Results(study=None, runs=tuple(runs)) for runs in (own, other))  # type: ignore[arg-type]  # unasked for
    return as_json(comparison.table(one, two, "before"))


def test_the_same_jobs_are_compared_by_speed_and_loss() -> None:
    (row,) = rows([run("a", 1.0, 1.75)], [run("a", 2.0)])

    assert (row["tokens_per_s"], row["other_tokens_per_s"], row["speed_ratio"]) == (32.0, 16.0, 2.0)
    assert (row["loss_difference"], row["notes"]) == (-0.25, [])


def test_jobs_of_other_names_are_the_same_where_only_one_has_their_axes_values() -> None:
    (row,) = rows([run("train-lr1", 1.0, lr=1)], [run("old-lr1", 2.0, lr=1)])
    assert (row["other_job"], row["speed_ratio"]) == ("old-lr1", 2.0)

    twice = rows([run("train-lr1", 1.0, lr=1)], [run("old-lr1", 2.0, lr=1), run("older-lr1", 2.0, lr=1)])
    assert [row["other_job"] for row in twice] == [None, "old-lr1", "older-lr1"]


def test_what_only_one_study_has_says_so() -> None:
    mine, theirs = rows([run("a", 1.0, x=1)], [run("b", 1.0, x=2)])

    assert (mine["job"], mine["speed_ratio"], mine["notes"]) == ("a", None, ["the other study does not have it"])
    assert (theirs["job"], theirs["state"], theirs["notes"]) == ("b", None, ["only the other study has it"])


def test_losses_of_other_iterations_are_not_subtracted() -> None:
    failed = replace(run("a", 1.0, iteration=5), state=State.FAILED, reason="diverged")
    (row,) = rows([failed], [run("a", 1.0, iteration=9)])

    assert row["loss_difference"] is None
    assert row["notes"] == ["failed: diverged", "it is at iteration 5, the other at 9"]
