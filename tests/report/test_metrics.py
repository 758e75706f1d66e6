import json
from pathlib import Path
from typing import Any

import pytest

from autoexp.report.metrics import Metrics, read_metrics


def line(kind: str, **said: Any) -> str:
    return json.dumps({"kind": kind, **said}) + "\n"


def step(number: int = 1, seconds: float = 0.5, *, peaks: Any = (), **said: Any) -> str:
    return line("step", step=number, step_s=seconds, peak_allocated_bytes=peaks, **said)


def read(folder: Path, *lines: str) -> Metrics:
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="latin-1")
    return read_metrics(folder)


def test_the_last_whole_line_tells_the_peaks_of_all_processes(tmp_path: Path) -> None:
    found = read(tmp_path, step(peaks=[1, 2]), step(2, peaks=[3, 4]), '{"kind": "step", "step": 3, "peak_all')

    assert found.allocated == (3, 4)


def test_the_peaks_are_those_of_the_attempt_that_took_most(tmp_path: Path) -> None:
    found = read(tmp_path, line("start"), step(peaks=[5, 2]), line("start"), step(2, peaks=[3, 4]))

    assert found.allocated == (5, 4)


def test_each_start_begins_an_attempt_and_tells_how_the_model_is_shared(tmp_path: Path) -> None:
    start = line("start", strategy="full_shard", parameters=100, parameter_bytes=[200, 200])
    found = read(tmp_path, start, step(1), step(2), start, step(2, 0.25, tflops_per_gpu=3.0, mfu=0.4))

    assert [[point.iteration for point in attempt.points] for attempt in found.attempts] == [[1, 2], [2]]
    (last,) = found.attempts[1].points
    assert (last.seconds, last.tflops, last.mfu) == (0.25, 3.0, 0.4)
    assert (found.parameters, found.held) == (100, (200, 200))


def test_samples_and_tokens_a_second_tell_the_batch_and_the_length(tmp_path: Path) -> None:
    found = read(tmp_path, step(1, 0.3, samples_per_s=16 / 0.3, tokens_per_s=16 * 64 / 0.3))

    assert (found.global_batch_size, found.seq_length) == (16, 64)


def test_how_busy_the_gpus_are_is_a_mean_over_steps_and_gpus(tmp_path: Path) -> None:
    assert read(tmp_path, step(gpu_busy_percent=[80, 100]), step(gpu_busy_percent=[70, 70])).busy_percent == 80
    assert read(tmp_path, step(gpu_busy_percent=[])).busy_percent is None


def test_what_the_trainer_logs_is_kept_losses_of_evaluations_by_epoch(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        line("log", step=10, loss=3.0, epoch=0.5),
        line("log", step=20, eval_loss=2.5, eval_samples_per_second=9.0, epoch=1.0),
        line("log", step=39, eval_loss=2.25, epoch=1.95),
        line("log", step=39, train_runtime=7.0, train_loss=2.75, epoch=1.95),
    )

    assert found.evaluated == {1.0: 2.5, 1.95: 2.25}
    assert (found.said["train_loss"], found.said["train_runtime"], found.steps_per_epoch) == (2.75, 7.0, 20)
    assert found.said["eval_samples_per_second"] == 9.0


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "\n\n",
            "[]\n3\nnull\n",
            "\xff\xfe\n",
            '{"kind": "start"}\n',
            "[" * 100_000 + "\n",
            line("step", step="x"),
        ),
        *(step(peaks=["a", None]), step(peaks=[-1]), step(peaks=[[2]]), step(peaks=3)),
    ],
)
def test_what_says_nothing_of_memory_has_no_peaks(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).allocated == ()


def test_without_metrics_there_are_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == Metrics()
    (tmp_path / "metrics.jsonl").mkdir()
    assert read_metrics(tmp_path) == Metrics()
