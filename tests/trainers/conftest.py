"""A tiny training, in this process or in its own.

In this process it costs a few milliseconds an iteration and no import; what depends on signals, on several
ranks or on the program's end runs in real processes.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import autoexp
from autoexp.trainers import gpt

TINY = (
    "--num-layers 2 --hidden-size 32 --ffn-hidden-size 64 --num-attention-heads 4 --num-query-groups 2 "
    "--seq-length 32 --global-batch-size 8 --micro-batch-size 4 --lr 1e-2 --log-interval 1 --eval-iters 0 "
    f"--data-path {argparse.__file__}"  # a text of a hundred kilobytes that is always there
)


@dataclass(frozen=True)
class Ran:
    """What a finished training left behind."""

    status: int
    out: str
    err: str

    @property
    def losses(self) -> list[str]:
        """The `lm loss` of every log line, as printed."""
        return [line.split("lm loss: ")[1].split(" |")[0] for line in self.out.splitlines() if "lm loss: " in line]

    @property
    def iterations(self) -> list[int]:
        """The iteration of every log line."""
        starts = [line.partition("] iteration ")[2] for line in self.out.splitlines()]
        return [int(start.split("/")[0]) for start in starts if start]


Train = Callable[[str], Ran]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Train]:
    """Run the trainer in this process with the tiny model and more flags."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}

    def run(more: str) -> Ran:
        capfd.readouterr()
        status = gpt.main([*TINY.split(), *more.split()])
        told = capfd.readouterr()
        return Ran(status, told.out, told.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the trainer as a program, in a process group of its own; `ranks` above 1 go through torchrun."""
    running: list[subprocess.Popen[str]] = []

    def launch(more: str, *, ranks: int = 1) -> subprocess.Popen[str]:
        command = [*_launcher(ranks), "-m", "autoexp.trainers.gpt", *TINY.split(), *more.split()]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(autoexp.__file__).parents[1]),
        }
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _launcher(ranks: int) -> Sequence[str]:
    if ranks == 1:
        return (sys.executable, "-W", "error")
    return (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))


@pytest.fixture
def ended() -> Callable[[subprocess.Popen[str]], Ran]:
    """Wait for a started training."""

    def wait(process: subprocess.Popen[str]) -> Ran:
        out, err = process.communicate(timeout=270)
        return Ran(process.returncode, out, err)

    return wait
