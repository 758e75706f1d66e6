"""What a training wrote down of itself for programs: its metrics.jsonl, as our trainers write it.

Rule 1: each `start` begins an attempt; steps that were done twice count for the attempt's speed each time.
Rule 2: memory only grows, so the last line tells the peak.
Rule 3: lines that are torn, or say something else, are passed over: a run without metrics is none the worse.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

from autoexp.files import open_regular
from autoexp.report.numbers import duration_s, finite, whole
from autoexp.report.series import Attempt, Point

FILE = "metrics.jsonl"


@dataclass(slots=True, kw_only=True)
class Metrics:
    """Everything that a report takes from it."""

    attempts: tuple[Attempt, ...] = ()
    """Their points are single steps."""
    """How the model was shared."""
    parameters: int | None = None
    held: tuple[int, ...] = ()
    """Bytes of the parameters that each process holds."""
    allocated: tuple[int, ...] = ()
    """The most bytes that each process ever had in use; without a GPU, its peak in memory."""
    reserved: tuple[int, ...] = ()
    """The most bytes that each process ever kept of its GPU."""
    busy_percent: float | None = None
    """Of the time, some kernel ran on the GPUs: the mean over steps and GPUs."""
    seq_length: int | None = None
    global_batch_size: int | None = None
    said: Mapping[str, float] = field(default_factory=dict)
    """The last word of transformers' Trainer on each of its figures."""
    evaluated: Mapping[float, float] = field(default_factory=dict)
    """Its loss on the questions kept apart, by epoch."""
    steps_per_epoch: int | None = None


def read_metrics(job_dir: Path) -> Metrics:
    """Read what there is."""
    reading = _Reading()
    for said in _lines(job_dir / FILE):
        if said.get("kind") == "start":
            reading.begin(said)
        elif said.get("kind") == "step":
            reading.step(said)
        elif said.get("kind") == "log":
            reading.log(said)
    return reading.end()


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with open_regular(path) as file:
            for line in file:
                said = _object(line)
                if said is not None:
                    yield said
    except OSError:
        return


def _object(line: bytes) -> Mapping[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


class _Reading:
    def __init__(self) -> None:
        self.found = Metrics()
        self.attempts: list[list[Point]] = []
        self.busy: list[float] = []
        self.said: dict[str, float] = {}
        self.evaluated: dict[float, float] = {}

    def begin(self, said: Mapping[str, Any]) -> None:
        self.attempts.append([])
        self.found.parameters = whole(said.get("parameters"))
        self.found.held = _bytes(said, "parameter_bytes")

    def step(self, said: Mapping[str, Any]) -> None:
        iteration = whole(said.get("step"))
        if iteration is None:
            return
        found, seconds = self.found, duration_s(said.get("step_s"))
        samples, tokens = duration_s(said.get("samples_per_s")), duration_s(said.get("tokens_per_s"))
        if samples and tokens and seconds:
            found.seq_length, found.global_batch_size = round(tokens / samples), round(samples * seconds)
        found.allocated = _most(found.allocated, _bytes(said, "peak_allocated_bytes"))
        found.reserved = _most(found.reserved, _bytes(said, "peak_reserved_bytes"))
        self.busy += [fmean(busy)] if (busy := _bytes(said, "gpu_busy_percent")) else []
        point = Point(
            iteration=iteration,
            loss=finite(said.get("loss")),
            seconds=seconds,
            tflops=finite(said.get("tflops_per_gpu")),
            mfu=finite(said.get("mfu")),
            global_batch_size=found.global_batch_size,
        )
        if not self.attempts:
            self.attempts.append([])
        self.attempts[-1].append(point)

    def log(self, said: Mapping[str, Any]) -> None:
        known = {key: number for key, value in said.items() if (number := finite(value)) is not None}
        epoch, loss, step = known.pop("epoch", None), known.get("eval_loss"), known.pop("step", None)
        self.said.update(known)
        if epoch and loss is not None:
            self.evaluated[epoch] = loss
        if epoch and step and "train_runtime" in known:
            self.found.steps_per_epoch = round(step / epoch)

    def end(self) -> Metrics:
        found, numbered = self.found, enumerate(self.attempts, 1)
        found.attempts = tuple(Attempt(number=number, points=tuple(points)) for number, points in numbered if points)
        found.busy_percent = fmean(self.busy) if self.busy else None
        found.said, found.evaluated = self.said, self.evaluated
        return found


def _most(before: tuple[int, ...], now: tuple[int, ...]) -> tuple[int, ...]:
    """Take the larger value of each process: each attempt begins from nothing."""
    return tuple(map(max, zip_longest(before, now, fillvalue=0)))


def _bytes(said: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Read a value for each process: what is none of all is none of any."""
    listed = said.get(key)
    wholes = listed if isinstance(listed, list) else []
    is_plain = all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in wholes)
    return tuple(wholes) if is_plain else ()
