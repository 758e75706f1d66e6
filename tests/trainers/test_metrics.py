import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if TYPE_CHECKING:
    from tests.trainers.conftest import Train


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_each_iteration_is_a_line_behind_one_that_says_what_runs(
    train: "Train", tmp_path: Path, told: Callable[[], list[dict[str, Any]]]
) -> None:
    ran = train(f"--train-iters 3 --metrics {tmp_path}/run/metrics.jsonl --peak-tflops 0.5")

    begin, *steps = told()
    assert (begin["kind"], begin["world"], begin["strategy"], begin["units"], begin["device"]) == (
        *("start", 1, "none", 0, "cpu"),
    )
    assert begin["parameter_bytes"] == [4 * begin["parameters"]]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert [step["tokens"] for step in steps] == [8 * 32, 16 * 32, 24 * 32]
    assert [f"{step['loss']:.6E}" for step in steps] == ran.losses
    for step in steps:
        assert step["tokens_per_s"] == pytest.approx(8 * 32 / step["step_s"])
        assert step["mfu"] == pytest.approx(step["tflops_per_gpu"] / 0.5)
        assert len(step["peak_allocated_bytes"]) == 1
        assert step["gpu_busy_percent"] == []


def test_a_run_that_is_continued_goes_on_behind_what_stands_there(
    train: "Train", tmp_path: Path, told: Callable[[], list[dict[str, Any]]]
) -> None:
    flags = f"--save {tmp_path} --load {tmp_path} --lr-decay-style constant --metrics {tmp_path}/run/metrics.jsonl"
    train(f"--train-iters 2 {flags}")
    train(f"--train-iters 3 {flags} --override-opt_param-scheduler")

    lines = told()
    assert [line.get("step", line.get("iteration")) for line in lines] == [0, 1, 2, 2, 3]
    assert lines[-1]["mfu"] is None


def test_what_is_not_finite_is_null(train: "Train", tmp_path: Path, told: Callable[[], list[dict[str, Any]]]) -> None:
    train(f"--train-iters 50 --lr 1e30 --metrics {tmp_path}/run/metrics.jsonl")

    assert any(line["grad_norm"] is None and not line["taken"] for line in told() if line["kind"] == "step")


def test_a_file_that_cannot_be_written_is_told_before_anything_is_trained(train: "Train", tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ran = train(f"--train-iters 3 --metrics {tmp_path}/file/metrics.jsonl")

    assert ran.status == 1
    assert "cannot write" in ran.err
    assert ran.iterations == []


def test_tensorboard_draws_the_same_figures(train: "Train", tmp_path: Path) -> None:
    ran = train(f"--train-iters 2 --tensorboard-dir {tmp_path}/board")

    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [f"{event.value:.3E}" for event in events.Scalars("train/loss")] == [
        f"{float(loss):.3E}" for loss in ran.losses
    ]
    assert [event.step for event in events.Scalars("train/tokens_per_s")] == [1, 2]
