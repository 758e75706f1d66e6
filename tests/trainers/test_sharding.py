import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import autoexp
from autoexp.trainers import sharding

TINY = (
    "--num-layers 2 --hidden-size 256 --num-attention-heads 4 --seq-length 32 --global-batch-size 8 --eval-iters 0 "
    "--micro-batch-size 1 --lr 1e-3 --lr-decay-style constant --train-iters 4 --log-interval 1 "
    f"--ffn-hidden-size {2 * sharding.WORTH_A_GATHER // 768}"  # layers that are worth a gather of their own
)
RANKS = 4
UNITS = 3
"""The two layers, and the rest."""
pytestmark = pytest.mark.skipif(torch.cuda.device_count() in range(1, RANKS), reason="a GPU takes one rank")

Run = Callable[..., list[dict[str, Any]]]


def start(more: str, ranks: int) -> "subprocess.CompletedProcess[str]":
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    words = [sys.executable, *launcher, "-m", "autoexp.trainers.gpt", *TINY.split(), *more.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(autoexp.__file__).parents[1])}
    return subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=270)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train on several processes, and return what the metrics say."""

    def train(more: str, ranks: int = RANKS) -> list[dict[str, Any]]:
        path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
        done = start(f"{more} --metrics {path}", ranks)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in path.read_text().splitlines()]

    return train


@pytest.fixture(scope="module")
def alone(run: Run) -> list[float]:
    """The losses of one process that shares with nobody."""
    return losses(run("", ranks=1))


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines if line["kind"] == "step"]


@pytest.mark.parametrize(
    ("flags", "replicas", "units"),
    [
        pytest.param("", 1, UNITS, id="full_shard is the usual one"),
        pytest.param("--sharding-strategy shard_grad_op", 1, UNITS, id="shard_grad_op"),
        pytest.param("--sharding-strategy hybrid_shard --shard-group-size 2", 2, UNITS, id="hybrid_shard"),
        pytest.param("--sharding-strategy hybrid_shard", 1, UNITS, id="hybrid_shard on one node"),
        pytest.param("--sharding-strategy ddp", RANKS, 0, id="ddp"),
        pytest.param("--sharding-strategy none", RANKS, 0, id="none"),
        pytest.param("--recompute-granularity full --prefetch", 1, UNITS, id="recomputed and prefetched"),
    ],
)
def test_each_strategy_holds_its_share_and_trains_like_one_process(
    run: Run, alone: list[float], flags: str, replicas: int, units: int
) -> None:
    begin, *steps = run(flags)

    assert (begin["world"], begin["units"], begin["replicas"]) == (RANKS, units, replicas)
    for held in begin["parameter_bytes"]:
        assert held / (4 * begin["parameters"]) == pytest.approx(replicas / RANKS, abs=0.01)
    assert losses(steps) == pytest.approx(alone, rel=1e-4)
    assert all(len(step["peak_allocated_bytes"]) == RANKS for step in steps)


@pytest.mark.parametrize("strategy", ["full_shard", "ddp"])
def test_computing_in_bfloat16_comes_close(run: Run, alone: list[float], strategy: str) -> None:
    found = losses(run(f"--bf16 --sharding-strategy {strategy}", ranks=2))

    assert found != pytest.approx(alone, rel=1e-6)
    assert found == pytest.approx(alone, rel=0.05)


def test_one_process_can_be_a_group_too(run: Run, alone: list[float]) -> None:
    begin, *steps = run("--sharding-strategy full_shard", ranks=1)

    assert (begin["strategy"], begin["units"]) == ("full_shard", UNITS)
    assert losses(steps) == pytest.approx(alone, rel=1e-5)


def test_a_checkpoint_of_one_strategy_is_continued_with_another(run: Run, alone: list[float], tmp_path: Path) -> None:
    where = f"--save {tmp_path} --load {tmp_path} --override-opt_param-scheduler"
    first = run(f"{where} --train-iters 2 --sharding-strategy hybrid_shard --shard-group-size 2")
    second = run(f"{where} --sharding-strategy ddp", ranks=2)

    assert losses(first) + losses(second) == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--cpu-offload --sharding-strategy full_shard", "there is no GPU to take them from"),
        ("--shard-group-size 2 --sharding-strategy hybrid_shard", "1 ranks are no multiple of 2"),
    ],
)
def test_what_cannot_be_shared_that_way_is_told(flags: str, says: str) -> None:
    done = start(flags, ranks=1)

    assert done.returncode == 1
    assert says in done.stderr
