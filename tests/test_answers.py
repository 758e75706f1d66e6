import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from autoexp import patterns
from autoexp.answers import answer
from autoexp.conditions import Question
from autoexp.inquiries import Inquiries


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


@pytest.mark.parametrize(
    ("text", "regex", "count"),
    [
        (b"one\ntwo done\n", "done$", 1),
        (b"one\ntwo done", "^two", 1),
        (b"one\ntwo\n", "one.*two", 0),
        (b"\xff\xfe done\r\n", "done", 1),
        (b"x" * 200_000 + b"done", "done", 1),
        (b"", "", 0),
    ],
)
def test_a_file_is_searched_line_by_line(place: Path, text: bytes, regex: str, count: int) -> None:
    (place / "log").write_bytes(text)
    question = Question(kind="contains", path="log", regex=regex)

    assert answer([question], place) == {question: count}


def test_a_file_that_changes_is_searched_again(place: Path) -> None:
    question = Question(kind="contains", path="log", regex="done")

    assert answer([question], place) == {question: 0}
    for text, count in (("not yet", 0), ("not yet, done", 1)):
        (place / "log").write_text(text)
        assert answer([question], place) == {question: count}


def test_what_is_no_file_cannot_be_searched(place: Path) -> None:
    os.mkfifo(place / "fifo")
    asked = [Question(kind="contains", path=path, regex="x") for path in ("fifo", "data")]

    assert answer(asked, place) == {}


def test_a_search_without_end_stays_unanswered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.05)
    (place / "log").write_text("a" * 64 + "!\n")
    slow, quick = (Question(kind="contains", path="log", regex=regex) for regex in ("(aa*)*$", "a!"))

    assert answer([slow, quick], place) == {quick: 1}


def test_a_program_is_asked_by_whoever_can() -> None:
    question = Question(kind="runs", words=("true",), timeout_s=1.0)

    assert answer([question], Path("/")) == {}
    assert answer([question], Path("/"), lambda _: 1) == {question: 1}


def test_what_nobody_may_look_at_stays_unanswered(tmp_path: Path, humble: tuple[str, ...]) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    script = """
import sys; from pathlib import Path; from autoexp.answers import answer; from autoexp.conditions import Question
asked = [Question(kind="exists", path=path) for path in ("closed/x", "y" * 300, "closed")]
asked += [Question(kind="glob", path=path) for path in ("closed/*", "closed/x/*", "n*/x")]
print([question.path for question in answer(asked, Path(sys.argv[1]))])
"""

    command = [*humble, sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    (tmp_path / "closed").chmod(0o700)
    assert (done.stdout, done.stderr) == ("['closed', 'n*/x']\n", "")


@pytest.mark.parametrize("kind", ["exists", "glob", "contains"])
def test_a_path_that_no_system_takes_stays_unanswered_or_finds_nothing(place: Path, kind: str) -> None:
    question = Question(kind=kind, path="data/a\0b", regex="x")

    assert not any(answer([question], place).values())


def test_a_program_that_no_system_takes_stays_unanswered(place: Path) -> None:
    inquiries: Inquiries[str] = Inquiries()
    question = Question(kind="runs", words=("true", "a\0b"), timeout_s=1)

    assert answer([question], place, partial(inquiries.answer, "a", folder=place)) == {}
    inquiries.close()
