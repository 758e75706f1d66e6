from collections.abc import Callable
from pathlib import Path

import pytest

from autoexp import study_files, targets
from autoexp.errors import AutoexpError
from autoexp.machine import Machine
from autoexp.model import JobSpec
from autoexp.outline import Plan
from autoexp.studies import Study
from autoexp.targets import Target


@pytest.fixture
def root(tmp_path: Path, make_spec: Callable[..., JobSpec], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the study `demo`, and its jobs `train-lr0.1` and `score-lr0.1`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOEXP_ROOT", raising=False)
    jobs = (make_spec("train-lr0.1"), make_spec("score-lr0.1"))
    folder = tmp_path / "experiments" / "demo"
    study = Study(dir=folder, plan=Plan(study="demo", jobs=jobs), machine=Machine(name="local"), key="0badcafe")
    study_files.write(study, "study: demo\n", None)
    return folder.parent


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("demo/train-lr0.1", id="study and job"),
        pytest.param("demo/jobs/train-lr0.1", id="the path under the root"),
        pytest.param("experiments/demo/jobs/train-lr0.1", id="a path"),
        pytest.param("experiments/demo/jobs/train-lr0.1/", id="with a slash behind"),
        pytest.param("experiments/../experiments/demo/jobs/train-lr0.1", id="a detour"),
    ],
)
def test_a_job_is_found_by_its_name_or_its_directory(root: Path, text: str) -> None:
    found = targets.find(text, None)

    assert found == Target(root, "demo", "train-lr0.1")
    assert found.dir == root / "demo" / "jobs" / "train-lr0.1"


def test_a_job_is_found_from_inside_its_own_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "demo" / "jobs" / "train-lr0.1")

    assert targets.find(".", None) == Target(root, "demo", "train-lr0.1")


@pytest.mark.parametrize("text", ["demo", "demo/", "experiments/demo"])
def test_a_study_is_found_by_its_name_or_its_directory(root: Path, text: str) -> None:
    found = targets.find(text, None, study=True)

    assert found == Target(root, "demo")
    assert found.dir == root / "demo"


def test_a_directory_stands_over_a_root_that_has_nothing_to_do_with_it(root: Path) -> None:
    assert targets.find("experiments/demo", "elsewhere", study=True).root == root


@pytest.mark.parametrize(
    ("text", "kinds", "fix"),
    [
        pytest.param("demo/trian-lr0.1", "job", "did you mean demo/train-lr0.1?", id="a misspelt job"),
        pytest.param("dmo/train-lr0.1", "job", "did you mean demo/train-lr0.1?", id="a misspelt study"),
        pytest.param("deno", "job or study", "did you mean demo?", id="a study"),
        pytest.param("something else", "job", "list them: autoexp status ROOT", id="nothing near"),
        pytest.param("", "job", "list them: autoexp status ROOT", id="nothing at all"),
        pytest.param("experiments", "job", "list them: autoexp status ROOT", id="the root"),
        pytest.param("experiments/demo/jobs", "job", "list them: autoexp status ROOT", id="the folder of the jobs"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest_name(root: Path, text: str, kinds: str, fix: str) -> None:
    assert root.is_dir()
    with pytest.raises(AutoexpError) as told:
        targets.find(text, None, study=kinds != "job")

    assert told.value.what == f"{text!r} names no {kinds}"
    assert told.value.fix == fix


def test_a_root_that_is_not_there_proposes_nothing(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError) as told:
        targets.find("demo", str(tmp_path / "nowhere"))

    assert told.value.fix == "list them: autoexp status ROOT"


def test_a_study_is_no_job_and_a_job_is_no_study(root: Path) -> None:
    assert root.is_dir()
    with pytest.raises(AutoexpError, match="'demo' names a study\n  why: a job is asked for"):
        targets.find("demo", None)
    with pytest.raises(AutoexpError, match="names a job\n  why: a study is asked for"):
        targets.find("demo/train-lr0.1", None, job=False, study=True)


def test_the_root_is_the_one_asked_for_or_the_environments_or_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOEXP_ROOT", raising=False)
    assert targets.default_root(None) == Path("experiments")
    monkeypatch.setenv("AUTOEXP_ROOT", "theirs")
    assert targets.default_root(None) == Path("theirs")
    assert targets.default_root(str(tmp_path)) == tmp_path


def test_an_existing_root_is_the_real_one(root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to(root)

    assert targets.existing_root(link) == root


@pytest.mark.parametrize(("name", "why"), [("file", "it is a file"), ("nothing", "there is no such folder")])
def test_a_root_that_is_no_folder_says_why(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(AutoexpError) as told:
        targets.existing_root(tmp_path / name)

    assert told.value.why == why
