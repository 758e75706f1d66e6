import json
from pathlib import Path
from typing import Any

from autoexp.logs import LogFacts
from autoexp.progress import Progress
from autoexp.snapshot import Snapshot


def seen(iteration: int | None = None, **fields: object) -> Snapshot:
    return Snapshot(at=1.0, attempt=1, log=LogFacts(iteration=iteration, **fields))  # type: ignore[arg-type]


def started(folder: Path) -> Progress:
    return Progress(folder / "progress.json", "inotify")


def read(folder: Path) -> Any:
    return json.loads((folder / "progress.json").read_text())


def test_it_says_how_far_each_running_job_has_come(tmp_path: Path) -> None:
    told = started(tmp_path)
    told.saw("demo/one", seen(7, train_iters=40, loss=2.5))
    told.saw("demo/two", seen())

    told.write(10.0)

    assert read(tmp_path) == {
        "v": 1,
        "at": 10.0,
        "observer": "inotify",
        "jobs": {"demo/one": {"iteration": 7, "train_iters": 40, "loss": 2.5}},
        "problems": {},
    }


def test_it_is_written_at_most_once_a_second(tmp_path: Path) -> None:
    told = started(tmp_path)
    written = []
    for tenth in range(31):
        told.saw("demo/one", seen(tenth))
        told.write(10.0 + tenth / 10)
        written.append(read(tmp_path)["jobs"]["demo/one"]["iteration"])

    assert sorted(set(written)) == [0, 10, 20, 30]


def test_it_says_when_it_wants_to_be_written(tmp_path: Path) -> None:
    told = started(tmp_path)
    assert told.due_in_s(10.0) == 0.0
    told.write(10.0)
    assert told.due_in_s(10.0) is None

    told.saw("demo/one", seen(7))

    assert told.due_in_s(10.25) == 0.75


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    told = started(tmp_path)
    told.saw("demo/one", seen(7))
    told.write(10.0)
    before = (tmp_path / "progress.json").stat().st_ino

    told.saw("demo/one", seen(7))
    told.problem("root", None)
    told.over("demo/two")
    told.write(20.0)

    assert (tmp_path / "progress.json").stat().st_ino == before


def test_at_the_end_it_is_written_at_once_as_json_that_others_read(tmp_path: Path) -> None:
    told = started(tmp_path)
    told.write(10.0)
    told.saw("demo/one", seen(7))

    told.write(10.1, at_once=True)

    assert json.loads((tmp_path / "progress.json").read_text())["at"] == 10.1
    assert "demo/one" in read(tmp_path)["jobs"]


def test_an_attempt_that_is_over_is_forgotten(tmp_path: Path) -> None:
    told = started(tmp_path)
    told.saw("demo/one", seen(7))
    told.over("demo/one")
    told.write(10.0)

    assert read(tmp_path)["jobs"] == {}


def test_a_problem_stands_until_it_is_solved(tmp_path: Path) -> None:
    told = started(tmp_path)
    told.problem("demo", "its folder is gone")
    told.write(10.0)
    assert read(tmp_path)["problems"] == {"demo": "its folder is gone"}

    told.problem("demo", None)
    told.write(20.0)

    assert read(tmp_path)["problems"] == {}
