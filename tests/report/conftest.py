"""A study on disk as a watcher and its jobs leave it, made a piece at a time."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import studies, study_files
from autoexp.machine import Machine
from autoexp.model import HookCall, JobSpec, Run
from autoexp.outline import Plan
from autoexp.studies import Study

SEQ_LENGTH, BATCH = 128, 4


def report_line(iteration: int, loss: float | None, *, ms: float = 500.0, total: int = 1000, batch: int = BATCH) -> str:
    said = "" if loss is None else f" lm loss: {loss:.6E} |"
    return (
        f" [2026-11-20 21:40:01.123456] iteration {iteration:8d}/{total:8d} | consumed samples: {iteration * batch} |"
        f" elapsed time per iteration (ms): {ms:.1f} | throughput per GPU (TFLOP/s/GPU): {12000 / ms:.1f} |"
        f" learning rate: 1.000000E-03 | global batch size: {batch:5d} |{said} loss scale: 1.0 |"
        f" number of skipped iterations:   0 | number of nan iterations: {int(loss is None):3d} |\n"
    )


class Maker:
    """Builds a study; `study` writes plan.json and returns it."""

    def __init__(self, root: Path) -> None:
        self.dir = root / "experiments" / "ladder"
        self._planned: dict[str, JobSpec] = {}
        self._appeared: list[JobSpec] = []

    def train(
        self, job: str, *, values: Mapping[str, Any] | None = None, branch: tuple[str, int] | None = None, **args: Any
    ) -> str:
        source = f"{self.dir}/jobs/{branch[0]}/checkpoints" if branch else ""
        prepare = HookCall(
            name="cooldown_symlink", path="", values={"from": source, "iteration": (branch or [0, 0])[1]}
        )
        given = {"seq_length": SEQ_LENGTH, "global_batch_size": BATCH, "train_iters": 1000, **args}
        self._planned[job] = JobSpec(
            id=job,
            study="ladder",
            stage=job.split("-", maxsplit=1)[0],
            values=values or {},
            backend="megatron",
            args={name.replace("_", "-"): value for name, value in given.items() if value is not None},
            output="checkpoints",
            prepare=(prepare,) if branch else (),
        )
        return job

    def cooldown(self, job: str, parent: str, at: int, *, linked: bool = True, **args: Any) -> str:
        self.train(job, branch=(parent, at), **args)
        if linked:
            folder = self.dir / "jobs" / job / "checkpoints"
            folder.mkdir(parents=True)
            (folder / f"iter_{at:07d}").symlink_to(f"../../{parent}/checkpoints/iter_{at:07d}")
        return job

    def log(self, job: str, text: str | Iterable[str], attempt: int = 1) -> Path:
        path = self.dir / "jobs" / job / "attempts" / f"{attempt:03d}" / "output.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else "".join(text), encoding="utf-8")
        return path

    def losses(self, job: str, losses: Mapping[int, float | None], attempt: int = 1, **line: Any) -> None:
        self.log(job, (report_line(iteration, loss, **line) for iteration, loss in losses.items()), attempt)

    def evaluate(
        self,
        job: str,
        iteration: int | None,
        results: Any,
        *,
        stage: str = "evaluate",
        values: Mapping[str, Any] | None = None,
        argv: tuple[str, ...] = (),
    ) -> Path:
        """Add the chain of a conversion and an evaluation; results may be a loss, JSON, bytes, or None for none."""
        at = f"@{iteration:07d}" if iteration is not None else ""
        convert = JobSpec(
            id=f"convert-{job}{at}", study="ladder", stage="convert", parent=job, iteration=iteration, backend="command"
        )
        own = f"{stage}-{convert.id}{''.join(f'-{k}{v}' for k, v in (values or {}).items())}"
        spec = JobSpec(
            id=own,
            study="ladder",
            stage=stage,
            parent=convert.id,
            iteration=iteration,
            backend="command",
            output="eval",
            argv=argv,
            values={**self._planned[job].values, **(values or {})},
        )
        self._appeared += [convert, spec]
        path = self.dir / "jobs" / own / "eval" / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(results, float):
            results = {"loss": results, "perplexity": math.exp(results), "tokens": 4096}
        if results is not None:
            path.write_bytes(results if isinstance(results, bytes) else json.dumps(results).encode())
        return path

    def evaluate_batch(self, job: str, losses: Mapping[int, float | None]) -> None:
        """Add the chain of a conversion and an evaluation of several checkpoints; None leaves no results."""
        last = max(losses)
        kin: dict[str, Any] = {"study": "ladder", "iteration": last, "iterations": tuple(losses), "backend": "command"}
        convert = JobSpec(id=f"convert-{job}@{last:07d}", stage="convert", parent=job, **kin)
        spec = JobSpec(id=f"evaluate-{convert.id}", stage="evaluate", parent=convert.id, output="eval", **kin)
        self._appeared += [replace(each, runs=tuple(Run() for _ in losses)) for each in (convert, spec)]
        for iteration, loss in losses.items():
            path = self.dir / "jobs" / spec.id / f"iter_{iteration:07d}" / "eval" / "results.json"
            path.parent.mkdir(parents=True)
            if loss is not None:
                path.write_text(json.dumps({"loss": loss}))

    def study(self) -> Study:
        made = Study(
            dir=self.dir,
            plan=Plan(study="ladder", jobs=tuple(self._planned.values())),
            machine=Machine(name="local", description="this computer"),
            key="0badcafe",
            recipe_sha256="ab" * 32,
            provenance={"recipe": "/recipes/ladder.yaml", "revision": "c0ffee", "autoexp": "0.1.0"},
        )
        study_files.write(made, "study: ladder\n", None)
        if self._appeared:
            study_files.add_appeared(made, self._appeared)
        return studies.load(self.dir)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def falling(*iterations: int) -> dict[int, float]:
    """Losses as a training's fall."""
    return {iteration: 2.0 + 40 / (iteration + 5) for iteration in iterations}


@pytest.fixture
def ladder(maker: Maker) -> Study:
    return made_ladder(maker)


@pytest.fixture(scope="module")
def shared_ladder(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same for tests that do not change it."""
    return made_ladder(Maker(tmp_path_factory.mktemp("shared")))


def made_ladder(maker: Maker) -> Study:
    """A pretraining with two attempts, a cooldown that ended, and one that waits."""
    maker.train("pretrain-lr0.01", values={"lr": 0.01})
    maker.losses("pretrain-lr0.01", falling(*range(10, 610, 10)))
    maker.losses("pretrain-lr0.01", falling(*range(510, 1010, 10)), attempt=2, ms=400.0)
    maker.cooldown(
        "cooldown-lr0.01-tokens400k", "pretrain-lr0.01", 600, values={"lr": 0.01, "tokens": 400_000}, train_iters=800
    )
    maker.losses("cooldown-lr0.01-tokens400k", {i: 2.0 - (i - 600) / 1000 for i in range(610, 810, 10)}, total=800)
    maker.cooldown(
        "cooldown-lr0.01-tokens500k", "pretrain-lr0.01", 800, linked=False, values={"lr": 0.01, "tokens": 500_000}
    )
    for iteration in (200, 400, 600, 800, 1000):
        maker.evaluate("pretrain-lr0.01", iteration, falling(iteration)[iteration] + 0.05)
    maker.evaluate("cooldown-lr0.01-tokens400k", 800, 1.85)
    score = {"task": "piqa", "metric": "acc", "value": 0.7512345, "stderr": 0.125, "few_shot": 5, "samples": 12}
    maker.evaluate("pretrain-lr0.01", 1000, {"scores": [score]}, stage="benchmark")
    return maker.study()
