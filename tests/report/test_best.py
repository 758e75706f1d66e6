from dataclasses import replace
from typing import Any

from autoexp.report import best
from autoexp.report.metrics import Metrics
from autoexp.report.results import Results, Run
from autoexp.report.series import Attempt, Point
from autoexp.report.spelling import as_json


def run(job: str, devices: int, rate: float | None, work: str = "model", **layout: int) -> Run:
    points = (Point(iteration=1, samples_per_s=rate),) if rate else ()
    return Run(
        job=job,
        stage="train",
        values=layout,
        attempts=(Attempt(number=1, points=points),),
        devices=devices,
        work={"model": work},
        layout={name: str(value) for name, value in layout.items()},
        metrics=Metrics(allocated=(3 << 30, 1 << 30)),
    )


def rows(*runs: Run) -> list[Any]:
    return as_json(best.table(Results(study=None, runs=runs)))  # type: ignore[arg-type]  # it is not asked for


def test_the_fastest_of_each_number_of_devices_comes_by_devices() -> None:
    four = [run("4a", 4, 10.0, mbs=1), run("4b", 4, 15.0, mbs=2)]
    two = [run("2a", 2, 8.0, mbs=1), run("2b", 2, 6.0, mbs=2), run("2c", 2, None, mbs=4)]
    found = rows(*four, *two)

    assert [(row["devices"], row["job"], row["samples_per_s"]) for row in found] == [(2, "2a", 8.0), (4, "4b", 15.0)]
    assert (found[0]["values"], found[0]["ahead"], found[0]["peak_memory_gib"]) == ({"mbs": 1}, 8 / 6, 3.0)
    assert (found[0]["measured"], found[0]["tried"]) == (2, 3)
    assert found[0]["notes"] == ["1 of 3 have no speed; the scaling table says why"]


def test_other_work_is_not_compared() -> None:
    assert rows(run("a", 2, 8.0, "small", mbs=1), run("b", 2, 6.0, "large", mbs=2)) == []


def test_what_was_tried_once_or_not_measured_is_not_the_best_of_anything() -> None:
    assert rows(run("a", 2, 8.0, mbs=1), run("b", 4, 6.0, mbs=1)) == []
    assert rows(run("a", 2, None, mbs=1), run("b", 2, None, mbs=2)) == []


def test_samples_of_other_lengths_are_compared_by_what_the_programs_tell_of_their_mfu() -> None:
    def telling(job: str, rate: float, mfu: float) -> Run:
        points = (Point(iteration=1, samples_per_s=rate, mfu=mfu),)
        return replace(
            run(job, 4, rate), attempts=(Attempt(number=1, points=points),), layout={}, work={}, values={"of": job}
        )

    (row,) = rows(telling("short", 20.0, 0.3), telling("long", 12.0, 0.45))

    assert (row["job"], row["mfu"], row["ahead"]) == ("long", 0.45, 0.45 / 0.3)
