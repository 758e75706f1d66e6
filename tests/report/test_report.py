import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoexp import report
from autoexp.errors import AutoexpError
from autoexp.studies import Study

TABLES = ["runs", "checkpoints", "cooldowns", "scores", "scaling", "repeats", "best", "finetuning"]
PLOTS = {"loss.png", "loss.svg", "throughput.png", "throughput.svg"}
TEXTS = {"report.html", "report.json", *(f"{table}.{kind}" for table in TABLES for kind in ("md", "csv"))}


def write(study: Study) -> Path:
    return report.save(report.make(study))


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture(scope="module")
def page(shared_ladder: Any) -> Path:
    """A report for tests that only read it."""
    return write(shared_ladder)


def names(page: Path) -> set[str]:
    return {path.name for path in page.parent.iterdir()}


def test_the_report_is_all_its_files_and_nothing_else(shared_ladder: Any, page: Path) -> None:
    assert page == shared_ladder.dir / "report" / "report.html"
    assert names(page) == TEXTS | PLOTS


def test_the_page_has_the_plots_the_tables_and_where_they_come_from(shared_ladder: Any, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    titles = (
        *("Loss against training tokens", "Cooldowns", "Training runs", "Speed"),
        *("Evaluated checkpoints", "Scores of tasks"),
    )
    places = [text.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert text.count("<svg ") == 4
    for fact in ("/recipes/ladder.yaml", "c0ffee", "ab" * 32, "local: this computer", str(shared_ladder.dir)):
        assert fact in text


def test_json_has_all_tables_and_only_numbers_that_json_knows(page: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    told = json.loads((page.parent / "report.json").read_text(), parse_constant=refuse)
    assert (told["v"], told["study"], told["machine"]) == (1, "ladder", "local")
    assert told["provenance"]["revision"] == "c0ffee"
    assert [len(told[name]) for name in TABLES] == [3, 6, 2, 1, 0, 0, 0, 0]


def test_csv_and_json_tell_the_same(page: Path) -> None:
    folder = page.parent
    told = json.loads((folder / "report.json").read_text())
    for name in TABLES:
        with (folder / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["job"] for row in rows] == [row["job"] for row in told[name]]
        if name == "scores":
            assert (rows[0]["score"], rows[0]["stderr"]) == (str(told["scores"][0]["score"]), "0.125")


def test_without_matplotlib_there_are_tables_and_the_way_to_plots(ladder: Any, without_matplotlib: None) -> None:
    del without_matplotlib
    page = write(ladder)
    assert names(page) == TEXTS
    text = page.read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "pip install &quot;autoexp[page]&quot;" in text


def test_plots_of_an_earlier_report_do_not_stay_beside_newer_tables(
    ladder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ladder.dir / "report"
    folder.mkdir()
    for name in PLOTS:
        (folder / name).write_text("old")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not names(write(ladder)) & PLOTS


def test_a_comparison_is_there_if_asked_for_and_gone_with_the_next_report(
    ladder: Any, without_matplotlib: None
) -> None:
    del without_matplotlib
    page = report.save(report.make(ladder, against=ladder))
    assert {"comparison.md", "comparison.csv"} < names(page)
    assert "Compared with ladder" in page.read_text(encoding="utf-8")
    told = json.loads((page.parent / "report.json").read_text())["comparison"]
    assert [row["speed_ratio"] for row in told][:2] == [1.0, 1.0]
    assert names(write(ladder)) == TEXTS


def test_only_a_study_with_training_jobs_has_something_to_report(maker: Any) -> None:
    assert not report.has_training(maker.study())
    maker.train("pretrain")
    assert report.has_training(maker.study())


def test_a_study_that_has_only_just_been_planned_has_a_report_too(maker: Any, without_matplotlib: None) -> None:
    del without_matplotlib
    maker.cooldown("cooldown", maker.train("pretrain"), 600, linked=False)
    assert "waiting: nothing to wait for" in write(maker.study()).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_an_error_with_its_fix(ladder: Any, without_matplotlib: None) -> None:
    del without_matplotlib
    (ladder.dir / "report").write_text("in the way")
    with pytest.raises(AutoexpError, match="the report cannot be written to") as caught:
        write(ladder)
    assert caught.value.fix


def test_a_failed_write_leaves_the_page_as_it_was(
    ladder: Any, without_matplotlib: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del without_matplotlib
    page = write(ladder)
    before = page.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(AutoexpError, match="No space left"):
        write(ladder)
    assert page.read_bytes() == before


def test_names_that_no_encoding_has_are_written_all_the_same(maker: Any, without_matplotlib: None) -> None:
    del without_matplotlib
    maker.train("pretrain", values={"file": os.fsdecode(b"half\xff")})
    made = report.make(maker.study())
    assert "half?" in report.save(made).read_text(encoding="utf-8")


def test_importing_the_report_loads_no_plotting(tmp_path: Path) -> None:
    code = "import sys, autoexp.report, autoexp.commands.report; print(*(m for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    ).stdout.split()
    assert not {"matplotlib", "numpy", "torch", "omegaconf"} & set(loaded)
