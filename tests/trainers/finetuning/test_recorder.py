"""What is written of a fine-tuning's steps."""

import json
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoexp.errors import AutoexpError
from autoexp.trainers.finetuning.options import Options
from autoexp.trainers.finetuning.recorder import Recorder
from autoexp.trainers.jsonl import Lines
from autoexp.trainers.ranks import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
ARGS = SimpleNamespace(per_device_train_batch_size=2, gradient_accumulation_steps=3)
STATE = SimpleNamespace(global_step=5)


def stepped(path: Path, *, stop: bool = False, **asked: Any) -> SimpleNamespace:
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    with closing(Lines(path)) as lines:
        told = Recorder(ALONE, Options(max_length=10, **asked), lines, lambda: stop)
        told.on_train_begin(ARGS, STATE, control, model=torch.nn.Linear(7, 3))
        told.on_step_begin(ARGS, STATE, control)
        told.on_step_end(ARGS, STATE, control)
        told.on_log(ARGS, STATE, control, logs={"loss": 2.5, "epoch": 1.0})
    return control


def test_a_start_its_steps_and_what_the_trainer_says_are_lines(tmp_path: Path) -> None:
    control = stepped(tmp_path / "metrics.jsonl", peak_tflops=1e-6)

    start, step, log = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (start["strategy"], start["units"], start["parameters"], start["parameter_bytes"]) == ("none", 0, 24, [96])
    assert (step["kind"], step["step"]) == ("step", 5)
    assert step["samples_per_s"] * step["step_s"] == pytest.approx(2 * 3)
    assert step["tokens_per_s"] * step["step_s"] == pytest.approx(2 * 3 * 10)
    assert step["tflops_per_gpu"] * step["step_s"] == pytest.approx(6 * 24 * 60 / 1e12)
    assert step["mfu"] == pytest.approx(step["tflops_per_gpu"] / 1e-6)
    assert len(step["peak_allocated_bytes"]) == 1
    assert log == {"kind": "log", "step": 5, "loss": 2.5, "epoch": 1.0}
    assert not control.should_training_stop


def test_who_was_asked_to_stop_saves_and_ends(tmp_path: Path) -> None:
    control = stepped(tmp_path / "metrics.jsonl", stop=True)

    assert (control.should_save, control.should_training_stop) == (True, True)


def test_a_model_that_was_to_be_sharded_and_is_not_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="was not sharded layer by layer"):
        stepped(tmp_path / "metrics.jsonl", sharding_strategy="full_shard")
