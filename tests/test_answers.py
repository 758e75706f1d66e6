import subprocess
import sys
from pathlib import Path

import pytest

from autoexp.answers import answer
from autoexp.conditions import Question


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    (folder / "data").mkdir(parents=True)
    for name in ("a.bin", "b.bin"):
        (folder / "data" / name).touch()
    (folder / "dangling").symlink_to("nowhere")
    return folder


@pytest.mark.parametrize(
    ("kind", "path", "count"),
    [
        pytest.param("exists", "data", 1, id="a directory"),
        pytest.param("exists", "data/a.bin", 1, id="a file"),
        pytest.param("exists", "data/c.bin", 0, id="a missing file"),
        pytest.param("exists", "data/a.bin/x", 0, id="below a file"),
        pytest.param("exists", "dangling", 0, id="a dangling link"),
        pytest.param("exists", "/", 1, id="an absolute path"),
        pytest.param("glob", "data/*.bin", 2, id="a pattern"),
        pytest.param("glob", "data/*.txt", 0, id="a pattern that nothing fits"),
        pytest.param("glob", "**/[ab].bin", 2, id="a pattern with brackets"),
    ],
)
def test_files_that_conditions_ask_about_are_looked_at(place: Path, kind: str, path: str, count: int) -> None:
    question = Question(kind=kind, path=path)

    assert answer([question], place) == {question: count}


def test_what_nobody_may_look_at_stays_unanswered(tmp_path: Path, humble: tuple[str, ...]) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    script = """
import sys; from pathlib import Path; from autoexp.answers import answer; from autoexp.conditions import Question
asked = [Question(kind="exists", path=path) for path in ("closed/x", "y" * 300, "closed")]
print([question.path for question in answer(asked, Path(sys.argv[1]))])
"""

    command = [*humble, sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    (tmp_path / "closed").chmod(0o700)
    assert (done.stdout, done.stderr) == ("['closed']\n", "")
