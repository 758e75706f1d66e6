"""The fine-tuning as a program: alone, on several ranks that share, stopped and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import autoexp
from autoexp.backends import huggingface
from autoexp.logs import LogFacts

TINY = (
    "--model tiny --data tiny --max_length 64 --train_size 16 --eval_size 5 --answer_tokens 2 --num_train_epochs 1 "
    "--learning_rate 1e-3 --lr_scheduler_type constant --logging_steps 1 --eval_strategy no --save_strategy no "
    "--gradient_accumulation_steps 1 --use_cpu true"
)
BATCH = 4
STEPS = 4
UNITS = 8
"""What accelerate makes of four layers: them, and what is before and behind them."""

Run = Callable[..., list[dict[str, Any]]]


def command(more: str, ranks: int, folder: Path) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else ["-u"]
    places = ["--output_dir", str(folder / "checkpoints"), "--metrics", str(folder / "metrics.jsonl")]
    shared = ["--per_device_train_batch_size", str(BATCH // ranks)]
    program = ["-m", "autoexp.trainers.hf_finetune", *TINY.split(), *shared, *more.split(), *places]
    return [sys.executable, *launcher, *program]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(autoexp.__file__).parents[1])}


def start(more: str, ranks: int, folder: Path) -> "subprocess.CompletedProcess[str]":
    words = command(more, ranks, folder)
    return subprocess.run(words, check=False, env=environment(), capture_output=True, text=True, timeout=270)


def said(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that shares with nobody: its folder, and its log."""
    folder = tmp_path_factory.mktemp("alone")
    done = start("", 1, folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_a_run_ends_with_a_model_that_was_judged(alone: tuple[Path, str]) -> None:
    folder, log = alone
    lines = said(folder)

    assert [line["kind"] for line in lines].count("step") == STEPS
    assert {"eval_exact_match", "eval_f1"} < lines[-1].keys()
    assert lines[0]["strategy"] == "none"
    assert (folder / "checkpoints" / "model.safetensors").is_file()
    facts = LogFacts()
    for line in log.replace("\r", "\n").splitlines():
        facts = huggingface.read(facts, line)
    assert (facts.done, facts.iteration, facts.train_iters) == (True, STEPS, STEPS)


@pytest.mark.parametrize(
    "way",
    [
        ("", 2, "ddp", 1),
        ("--sharding_strategy full_shard", 4, "full_shard", 4),
        ("--sharding_strategy shard_grad_op", 2, "shard_grad_op", 2),
        ("--sharding_strategy hybrid_shard --shard_group_size 2", 4, "hybrid_shard", 2),
    ],
)
@pytest.mark.skipif(torch.cuda.device_count() in range(1, 4), reason="a GPU takes one rank")
def test_ranks_that_share_learn_what_one_alone_does(
    alone: tuple[Path, str], tmp_path: Path, way: tuple[str, int, str, int]
) -> None:
    more, ranks, strategy, share = way

    done = start(more, ranks, tmp_path)

    assert done.returncode == 0, done.stderr
    lines, whole = said(tmp_path), said(alone[0])[0]["parameter_bytes"][0]
    assert (lines[0]["strategy"], lines[0]["units"]) == (strategy, UNITS if share > 1 else 0)
    assert max(lines[0]["parameter_bytes"]) == pytest.approx(whole / share, rel=0.05)
    assert losses(lines) == pytest.approx(losses(said(alone[0])), rel=2e-3)
    assert "eval_f1" in lines[-1]
    assert (tmp_path / "checkpoints" / "model.safetensors").stat().st_size >= whole


def test_a_run_that_is_asked_to_stop_saves_and_is_gone_on_with(tmp_path: Path) -> None:
    more = "--train_size 4000 --logging_steps 1000"
    with subprocess.Popen(command(more, 1, tmp_path), env=environment(), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 200
        while not any(line["kind"] == "step" for line in written(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=200)

    stopped = max(line.get("step", 0) for line in said(tmp_path))
    assert (process.returncode, "eval_f1" in said(tmp_path)[-1]) == (0, False)
    assert (tmp_path / "checkpoints" / f"checkpoint-{stopped}" / "model.safetensors").is_file()
    done = start(f"--train_size 4000 --max_steps {stopped + 2} --logging_steps 1", 1, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in said(tmp_path) if line["kind"] == "step"] == list(range(1, stopped + 3))


def written(folder: Path) -> list[dict[str, Any]]:
    """Read what there is of the metrics by now."""
    return said(folder) if (folder / "metrics.jsonl").exists() else []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("--sharding_strategy full_shard", "only ranks that torchrun started share a model"),
        ("--cpu_offload true", "there is no GPU to take them from"),
        ("--model /no/such/model", "cannot load the model"),
    ],
)
def test_the_users_to_mend_is_told_in_a_line_with_status_1(tmp_path: Path, more: str, why: str) -> None:
    done = start(more, 1, tmp_path)

    assert (done.returncode, why in done.stderr, "Traceback" in done.stderr) == (1, True, False)
