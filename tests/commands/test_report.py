import json
import sys
from pathlib import Path

import pytest

from autoexp import cli, studies, study_files
from autoexp.commands.report import conclude
from autoexp.machine import Machine
from autoexp.model import JobSpec
from autoexp.outline import Plan
from autoexp.studies import Study

LINE = " iteration {}/ 100 | elapsed time per iteration (ms): 500.0 | global batch size: 4 | lm loss: {} |\n"


@pytest.fixture(autouse=True)
def plotless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots have tests of their own, and take seconds."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    args = {"seq-length": 128, "global-batch-size": 4, "train-iters": 100}
    jobs = tuple(
        JobSpec(id=name, study="ladder", stage=name, backend="megatron", args=args) for name in ("pretrain", "cooldown")
    )
    folder = tmp_path / "experiments" / "ladder"
    study = Study(dir=folder, plan=Plan(study="ladder", jobs=jobs), machine=Machine(name="local"), key="0badcafe")
    study_files.write(study, "study: ladder\n", None)
    for name, loss in (("pretrain", "3.0"), ("cooldown", "2.0")):
        log = folder / "jobs" / name / "attempts" / "001" / "output.log"
        log.parent.mkdir(parents=True)
        log.write_text(LINE.format(50, loss))
    link = folder / "jobs" / "cooldown" / "checkpoints" / "iter_0000040"
    link.parent.mkdir()
    link.symlink_to("../../pretrain/checkpoints/iter_0000040")
    return tmp_path / "experiments"


def test_it_prints_the_runs_and_cooldowns_and_where_the_files_are(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "ladder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training runs:"
    assert lines[1].split() == [
        *("job", "state", "iterations", "tokens", "loss", "held-out", "ppl", "tok/s", "TFLOP/s", "attempts")
    ]
    assert lines[2].split() == ["pretrain", "waiting", "50/100", "25.6k", "3.0000", "-", "-", "1.02k", "-", "1"]
    assert "Cooldowns:" in lines
    assert "page: experiments/ladder/report/report.html" in lines
    assert (
        lines[-1]
        == "beside it: report.json, {runs,checkpoints,cooldowns,scores,scaling,repeats,best,finetuning}.{md,csv}"
    )
    assert max(map(len, lines[:4])) <= 100
    assert (root / "ladder" / "report" / "report.html").is_file()


def test_it_says_under_the_table_why_something_is_missing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert root.is_dir()
    cli.main(["report", "ladder"])
    assert "  cooldown: waiting: nothing to wait for; pretrain has no evaluation of iteration 40" in (
        capsys.readouterr().out.splitlines()
    )


def test_json_is_what_report_json_says(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(root / "ladder"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((root / "ladder" / "report" / "report.json").read_text())
    assert [run["training_loss"] for run in told["runs"]] == [3.0, 2.0]


def test_the_page_is_written_where_it_is_asked_for_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "ladder", "--html", "mine.html"]) == 0
    assert "page: experiments/ladder/report/report.html, and mine.html" in capsys.readouterr().out
    assert Path("mine.html").read_bytes() == (root / "ladder" / "report" / "report.html").read_bytes()


def test_a_page_that_cannot_be_written_there_is_an_error_with_its_fix(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "ladder", "--html", str(root / "no" / "folder.html")]) == 1
    assert "fix: choose another FILE" in capsys.readouterr().err


def test_a_job_or_nothing_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert root.is_dir()
    assert cli.main(["report", "ladder/pretrain"]) == 1
    assert "names a job" in capsys.readouterr().err
    assert cli.main(["report", "nothing"]) == 1
    assert "names no study" in capsys.readouterr().err


def test_another_runtime_folder_than_the_roots_own_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".autoexp").mkdir()
    (root / ".autoexp" / "root.json").write_text('{"v":1,"var":"../var/experiments"}')
    assert cli.main(["report", "ladder", "--var", "elsewhere"]) == 1
    assert "keeps its runtime state in" in capsys.readouterr().err


def test_a_study_without_training_jobs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "experiments" / "plain"
    job = JobSpec(id="greet", study="plain", stage="greet", backend="command", argv=("echo", "hi"))
    study = Study(dir=folder, plan=Plan(study="plain", jobs=(job,)), machine=Machine(name="local"), key="0badcafe")
    study_files.write(study, "study: plain\n", None)
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("No training runs.")


def test_a_study_that_is_done_shows_its_report_if_it_trained(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(studies.load(root / "ladder"))
    assert (root / "ladder" / "report" / "report.html").exists()
    assert "page: experiments/ladder/report/report.html" in capsys.readouterr().out

    plain = Study(dir=root / "plain", plan=Plan(study="plain"), machine=Machine(name="local"), key="0badcafe")
    study_files.write(plain, "study: plain\n", None)
    conclude(plain)
    assert not (root / "plain" / "report").exists()
    assert capsys.readouterr().out == ""


def test_against_another_study_the_jobs_of_both_are_compared(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "ladder", "--against", "ladder"]) == 0
    assert "Compared with ladder:" in capsys.readouterr().out
    assert (root / "ladder" / "report" / "comparison.csv").is_file()

    assert cli.main(["report", "ladder", "--against", "nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_seeds_of_which_one_did_not_succeed_are_told_by_what_they_share(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = {"seq-length": 128, "global-batch-size": 4, "train-iters": 100}
    jobs = tuple(
        JobSpec(
            id=f"train-{n}", study="seeds", stage="train", backend="megatron", args=args, values={"lr": 1, "seed": n}
        )
        for n in (1, 2)
    )
    folder = root / "seeds"
    study = Study(dir=folder, plan=Plan(study="seeds", jobs=jobs), machine=Machine(name="local"), key="0badcafe")
    study_files.write(study, "study: seeds\n", None)
    for job in jobs:
        log = folder / "jobs" / job.id / "attempts" / "001" / "output.log"
        log.parent.mkdir(parents=True)
        log.write_text(LINE.format(50, "3.0"))

    assert cli.main(["report", "seeds"]) == 0

    said = capsys.readouterr().out
    assert "\n  train lr=1: 2 of 2 did not succeed: their losses are left out\n" in said
