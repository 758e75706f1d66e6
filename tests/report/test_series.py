from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.backends import huggingface, megatron, modalities, torchtitan
from autoexp.report.series import Attempt, Point, merged, read_attempt, read_attempts

LINE = " iteration {}/ 100 | elapsed time per iteration (ms): 500.0 | lm loss: {} | number of nan iterations: 0 |\n"


def attempt(folder: Path, number: int, text: str) -> Path:
    path = folder / "attempts" / f"{number:03d}" / "output.log"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path.parent


def points(*iterations: int) -> tuple[Point, ...]:
    return tuple(Point(iteration=iteration) for iteration in iterations)


def test_each_report_is_a_point(tmp_path: Path) -> None:
    folder = attempt(tmp_path, 1, "hello\n" + LINE.format(10, "3.5E+00") + "noise\n" + LINE.format(20, "3.0E+00"))
    read = read_attempt(folder, 1, megatron)
    assert [(point.iteration, point.loss, point.seconds) for point in read.points] == [(10, 3.5, 0.5), (20, 3.0, 0.5)]
    assert (read.train_iters, read.problem) == (100, "")


def test_what_a_program_tells_of_its_rate_and_memory_is_kept(tmp_path: Path) -> None:
    line = "2026 | step: {} | train samples/s: {} | train mfu (16-bit): 0.41 | peak memory rank 0 (MB): {} | {}\n"
    loss = "train loss avg: 3.5"
    text = line.format(1, 4.5, 512, loss) + line.format(2, 5.0, 256, loss)
    read = read_attempt(attempt(tmp_path, 1, text), 1, modalities)
    assert [(point.samples_per_s, point.mfu) for point in read.points] == [(4.5, 0.41), (5.0, 0.41)]
    assert read.peak_memory == 512 << 20

    said = "step: {}  loss: 3.5  grad_norm: 1.0  memory: 2.00GiB(10.00%)  tps: 1,234  tflops: 9.50  mfu: 41.00%\n"
    read = read_attempt(attempt(tmp_path, 2, said.format(1)), 2, torchtitan)
    (point,) = read.points
    assert (point.tokens_per_gpu_s, point.tflops) == (1234.0, 9.5)
    assert point.mfu == pytest.approx(0.41)
    assert read.peak_memory == 2 << 30


def test_an_attempt_lasts_from_its_start_to_its_end(tmp_path: Path) -> None:
    folder = attempt(tmp_path, 1, "")
    assert read_attempt(folder, 1, megatron).lasted_s is None
    (folder / "started.json").write_text('{"at": 10.5}')
    (folder / "exit.json").write_text('{"at": 12.0}')
    assert read_attempt(folder, 1, megatron).lasted_s == 1.5
    (folder / "withdrawn").mkdir()
    assert read_attempt(folder / "withdrawn", 2, megatron).lasted_s == 0.0
    (folder / "exit.json").write_text('{"at": "soon"}')
    assert read_attempt(folder, 1, megatron).lasted_s is None


def test_a_report_without_a_loss_does_not_keep_the_one_before_it(tmp_path: Path) -> None:
    nan = " iteration 20/ 100 | number of skipped iterations: 0 | number of nan iterations: 10 |\n"
    folder = attempt(tmp_path, 1, LINE.format(10, "3.5") + nan)
    assert [point.loss for point in read_attempt(folder, 1, megatron).points] == [3.5, None]


def test_a_bar_that_tells_no_loss_is_no_point_and_several_ranks_that_report_are_one(tmp_path: Path) -> None:
    bars = "".join(f"\r {number}%|#| {number}/100 [00:10<00:90,  0.50it/s]" for number in (1, 2, 3))
    said = "\r        \r{'loss': %s, 'learning_rate': 1e-05, 'epoch': 0.1}\n"
    text = (
        bars + said % "3.5" + said % "3.4" + bars.replace("/100", "/100 ") + "\r 9%|#| 9/100 [00:10<00:90,  2.00s/it]"
    )
    read = read_attempt(attempt(tmp_path, 1, text + said % "nan" + "\n"), 1, huggingface)

    assert [(point.iteration, point.loss, point.seconds) for point in read.points] == [(3, 3.4, 2.0), (9, None, 2.0)]


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    folder = attempt(tmp_path, 1, LINE.format(10, "3.5") + LINE.format(20, "3.0")[:40])
    assert [point.iteration for point in read_attempt(folder, 1, megatron).points] == [10]


def test_a_later_attempt_overrides_what_an_earlier_one_reported(tmp_path: Path) -> None:
    attempt(tmp_path, 1, "".join(LINE.format(i, "9.0") for i in (10, 20, 30)))
    attempt(tmp_path, 2, "".join(LINE.format(i, "2.0") for i in (20, 30, 40)))
    read = read_attempts(tmp_path, megatron)
    assert [(point.iteration, point.loss) for point in merged(read)] == [(10, 9.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_attempts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1000):
        attempt(tmp_path, number, "")
    (tmp_path / "attempts" / "notes").mkdir()
    assert [read.number for read in read_attempts(tmp_path, megatron)] == [9, 10, 1000]


def test_a_job_that_has_not_begun_has_no_attempts(tmp_path: Path) -> None:
    assert read_attempts(tmp_path, megatron) == ()


def test_an_attempt_without_a_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "001").mkdir(parents=True)
    assert read_attempts(tmp_path, megatron)[0].problem == "attempt 1 has no log"


def test_a_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "001" / "output.log").mkdir(parents=True)
    assert "cannot be read: Is a directory" in read_attempts(tmp_path, megatron)[0].problem


@pytest.mark.parametrize(
    ("number", "said"), [("9" * 18, "1 lines in the log of attempt 1 make no sense"), ("9" * 5000, "")]
)
def test_reports_of_no_iteration_cost_nothing_else(tmp_path: Path, number: str, said: str) -> None:
    folder = attempt(tmp_path, 1, LINE.format(number, "3.5") + LINE.format(20, "3.0"))
    read = read_attempt(folder, 1, megatron)
    assert [point.iteration for point in read.points] == [20]
    assert read.problem == said


def test_the_first_reports_of_an_attempt_do_not_count_for_its_speed() -> None:
    assert Attempt(number=1, points=points(1, 2, 3, 4, 5)).settled == points(3, 4, 5)


def test_a_short_attempt_keeps_all_its_reports_for_its_speed() -> None:
    assert Attempt(number=1, points=points(1, 2, 3, 4)).settled == points(1, 2, 3, 4)


@given(text=st.text(), noise=st.binary())
def test_no_log_is_too_strange_to_be_read(tmp_path_factory: Any, text: str, noise: bytes) -> None:
    folder = tmp_path_factory.mktemp("attempt")
    (folder / "output.log").write_bytes(LINE.format(text, text).encode(errors="replace") + noise + b"\n")
    read = read_attempt(folder, 1, megatron)
    assert all(point.iteration >= 0 for point in read.points)
