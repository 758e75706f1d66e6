from typing import Any

import pytest

from autoexp.overview import Size, cut, picture

HEAD: dict[str, Any] = {
    "root": "/data/experiments",
    "watcher": {"pid": 7, "host": "login1", "since": ""},
    "problems": {},
    "error": "",
    "studies": [{"study": "demo", "stages": ["train", "score"], "budget": "", "done_at": None}],
}
NOW = 1_000_000.0
ROOM = Size(79, 23)


def job(name: str, state: str = "waiting", **fields: Any) -> dict[str, Any]:
    usual = {"study": "demo", "stage": "train", "progress": "", "reason": "", "at": NOW - 55}
    return {**usual, "job": name, "state": state, **fields}


def drawn(*jobs: dict[str, Any], size: Size = ROOM, colors: bool = False, **head: Any) -> list[str]:
    return picture({**HEAD, **head}, jobs, NOW, size, colors=colors)


def test_who_watches_stands_above_the_study_its_stages_and_the_jobs() -> None:
    running = job("train-2", "running", progress="7/40 loss 2.500", at=NOW - 7300)

    lines = drawn(job("train-1", "succeeded"), running, job("score-1", stage="score", reason="train-2 is running"))

    assert lines == [
        "/data/experiments  watched by pid 7 on login1",
        "demo: 1 running, 1 waiting, 1 succeeded",
        "  train  [############------------] 1/2  1 running",
        "  score  [------------------------] 0/1",
        "running    train-2  7/40 loss 2.500  2h",
        "waiting    score-1                   50s  train-2 is running",
        "succeeded  train-1                   50s",
    ]


def test_what_does_not_fit_is_counted_by_state() -> None:
    jobs = [job(f"train-{n:03}", "running" if n < 150 else "waiting") for n in range(200)]

    lines = drawn(*jobs, job("bad", "failed"))

    assert len(lines) == 23
    assert lines[3].startswith("failed   bad")
    assert lines[-1] == "and 132 more running, 50 more waiting"


@pytest.mark.parametrize("lines", range(1, 30))
@pytest.mark.parametrize("columns", [1, 10, 40, 79, 200])
def test_a_picture_is_never_larger_than_the_screen(columns: int, lines: int) -> None:
    studies = [
        {"study": f"study{n}", "stages": ["train"], "budget": "of 500 are used 7", "done_at": NOW + 9} for n in range(9)
    ]
    jobs = [job(f"a-long-name-{n}", "running", study=f"study{n % 9}", reason="日本語 " * 9) for n in range(60)]
    problems = {f"study{n}": "cannot be read" for n in range(5)}

    found = drawn(*jobs, size=Size(columns, lines), studies=studies, problems=problems)

    assert len(found) <= lines
    assert max(map(len, found)) <= columns


def test_many_studies_get_a_line_each_those_that_are_done_last_and_the_rest_are_counted() -> None:
    studies = [{"study": f"s{n:02}", "stages": ["train"], "budget": "", "done_at": None} for n in range(30)]
    jobs = [job("train", "succeeded" if n < 20 else "running", study=f"s{n:02}") for n in range(30)]

    lines = drawn(*jobs, studies=studies)

    assert lines[1:11] == [f"s{n}: 1 running" for n in range(20, 30)]
    assert lines[11] == "and 20 more studies"
    assert lines[12].split() == ["running", "s20/train", "50s"]


def test_a_budget_and_problems_are_told_and_many_problems_counted() -> None:
    problems = {f"study{n}": "its plan is torn" for n in range(5)}
    studies = [{**HEAD["studies"][0], "budget": "of 500 GPU hours 7 are used"}]

    lines = drawn(job("train-1"), problems=problems, studies=studies)

    assert lines[1:4] == [
        "problem: study0: its plan is torn",
        "problem: study1: its plan is torn",
        "and 3 more problems",
    ]
    assert "  GPU hours: of 500 GPU hours 7 are used" in lines


def test_when_a_study_will_be_done_is_told_while_somebody_watches() -> None:
    studies = [{**HEAD["studies"][0], "done_at": NOW + 2 * 3600 + 1700}]

    assert "  done in about 2h at this pace" in drawn(job("train-1"), studies=studies)
    assert not [line for line in drawn(job("train-1"), studies=studies, watcher=None) if "about" in line]


def test_without_a_watcher_or_a_study_it_says_what_to_type() -> None:
    lines = drawn(watcher=None, studies=[])

    assert lines == [
        "no watcher; start one: autoexp watch /data/experiments",
        "no studies; plan one: autoexp plan RECIPE",
    ]


def test_a_root_that_cannot_be_read_says_why_first() -> None:
    assert drawn(error="the journal is damaged")[0] == "cannot be read: the journal is damaged"


def test_only_the_state_is_colored_and_only_where_colors_are_wanted() -> None:
    bad = job("train-1", "failed", reason="exit code 1")

    assert drawn(bad, colors=True)[-1] == "\x1b[31mfailed\x1b[0m  train-1    50s  exit code 1"
    assert drawn(bad)[-1] == "failed  train-1    50s  exit code 1"


def test_long_names_lose_their_middle_and_reasons_their_end() -> None:
    named = job("pretrain-model100M-lr0.001-batch512-seed1234-warmup2000-decay0.1", reason="it " * 40)

    line = drawn(named, size=Size(60, 20))[-1]

    assert len(line) == 60
    assert line.startswith("waiting  pretrain-mod~")
    assert "decay0.1" in line
    assert line.endswith("~")


@pytest.mark.parametrize(
    ("text", "width", "wanted"),
    [
        ("short", 9, "short"),
        ("\x1b[31mred\n", 9, "?[31mred?"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本~"),
        ("日本語", 4, "日~"),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"),
        ("anything", 0, ""),
        ("anything", 1, "~"),
    ],
)
def test_a_text_is_cut_by_columns_and_shows_no_control(text: str, width: int, wanted: str) -> None:
    assert cut(text, width) == wanted
