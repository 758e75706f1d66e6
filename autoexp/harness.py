"""Runs lm-evaluation-harness on a model's folder, and reads the scores that it wrote.

It is a program of its own, in our Python and our environment: HF_HUB_OFFLINE, HF_HOME and the GPUs are the job's.

Rule 1: a number that means nothing is never a score. A metric that is missing or not finite, a task without any, a
program that failed, or ended well and wrote nothing: each is an error.
Rule 2: scores compare only where as many examples were shown and as many samples asked, so both stand beside them.

Format of its results: lm_eval/result_schema.py; each metric's key is its name, a comma, and the filter of the answers.
"""

import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoexp.errors import HookRefused

PROGRAM = "lm_eval"
UNFILTERED = "none"
"""The filter of answers that are taken as they are."""
TAIL_BYTES = 8192
CUT = "only some samples of a task were asked: such scores compare with no others"
DTYPES = ("float32", "bfloat16")
"""Numbers in which no model overflows that can be trained: float16 is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to evaluate, and how."""

    model: Path
    """A folder with weights and a tokenizer."""
    tasks: tuple[str, ...]
    task_folder: Path | None = None
    """Where tasks of one's own are, beside those that the harness has."""
    few_shot: int | None = None
    """Examples shown before each question; nothing means as many as each task says."""
    limit: int | None = None
    """Samples of each task; nothing means all."""
    batch_size: int = 8
    dtype: str = DTYPES[0]


def evaluate(request: Request, folder: Path) -> dict[str, object]:
    """Run the harness; return its scores, with what was asked.

    Args:
        request: What to evaluate.
        folder: Where the harness writes; what an earlier run left there is removed.

    Raises:
        HookRefused: The harness failed, or a score is missing or means nothing.
        OSError: The folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ended = _run(_command(request, folder))
    results = _results(folder, ended)
    found = list(scores(results))
    return {
        "scores": found,
        "tasks": list(request.tasks),
        "limit": request.limit,
        **({"note": CUT} if any(is_cut(score) for score in found) else {}),
        "dtype": request.dtype,
        "lm_eval": results.get("lm_eval_version"),
        "model": str(request.model),
    }


def check(request: Request) -> None:
    """See what can be seen before anything is loaded.

    Raises:
        HookRefused: The harness is not installed, or the request makes no sense.
    """
    if find_spec(PROGRAM) is None:
        raise HookRefused(
            f"{PROGRAM} is not installed",
            why="lm-evaluation-harness scores tasks",
            fix='pip install "autoexp[evaluate]"',
        )
    if not all(request.tasks) or request.batch_size < 1:
        raise HookRefused("nothing to evaluate", why="a task has no name, or no batch has a sample", fix="name tasks")
    if request.task_folder and not request.task_folder.is_dir():
        raise HookRefused(
            f"{request.task_folder} holds no tasks",
            why="it is no folder",
            fix="give the folder of your tasks' YAML files",
        )
    for name, value, least in (("few-shot", request.few_shot, 0), ("limit", request.limit, 1)):
        if value is not None and value < least:
            raise HookRefused(
                f"--{name} {value} makes no sense", why=f"the least is {least}", fix="give more, or leave it out"
            )


def _command(request: Request, folder: Path) -> Iterator[str]:
    """Spell the command line; as JSON, since commas and brackets in a path would be read as something else.

    The output is named as a file, since a folder would get a sub-folder named after the model's whole path, which may
    be longer than a name can be.
    """
    model = {"pretrained": str(request.model.absolute()), "dtype": request.dtype}
    yield from (sys.executable, "-m", PROGRAM, "--model", "hf", "--model_args", json.dumps(model))
    yield from ("--tasks", ",".join(request.tasks), "--batch_size", str(request.batch_size))
    yield from ("--output_path", str(folder.absolute() / "results.json"))
    if request.task_folder:
        yield from ("--include_path", str(request.task_folder.absolute()))
    if request.few_shot is not None:
        yield from ("--num_fewshot", str(request.few_shot))
    if request.limit is not None:
        yield from ("--limit", str(request.limit))


def _run(command: Iterator[str]) -> str:
    """Run the program, passing on what it prints; return its last line.

    It stays in our process group, so whoever ends us ends it.

    Raises:
        HookRefused: it failed.
    """
    tail = b""
    with subprocess.Popen(tuple(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:  # noqa: S603
        while piece := process.stdout.read1() if process.stdout else b"":  # type: ignore[attr-defined]
            sys.stderr.buffer.write(piece)
            sys.stderr.buffer.flush()
            tail = (tail + piece)[-TAIL_BYTES:]
    lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    if process.returncode != 0:
        ended = f"signal {signal.Signals(-process.returncode).name}" if process.returncode < 0 else process.returncode
        raise HookRefused(
            f"{PROGRAM} ended with {ended}",
            why=said,
            fix="look at its output above; its task names are listed by: lm_eval ls tasks",
        )
    return said


def _results(folder: Path, said: str) -> Mapping[str, Any]:
    """Read the one file of results."""
    files = list(folder.glob("results_*.json"))
    if len(files) != 1:
        raise HookRefused(
            f"{PROGRAM} ended well, and left {len(files)} files of results in {folder}",
            why=f"its last line: {said}",
            fix="look at its output above",
        )
    try:
        results = json.loads(files[0].read_bytes())
    except (OSError, ValueError) as error:
        raise _meaningless(f"{files[0]} cannot be read", str(error)) from error
    if not isinstance(results, dict):
        raise _meaningless(f"{files[0]} holds no results", "it is not of the harness's format")
    return results


def scores(results: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """Yield each score of a file of results: task, metric, value, stderr (None where the metric has none) and more.

    Raises:
        HookRefused: one means nothing or is missing, or there is none.
    """
    entries = results.get("results")
    if not isinstance(entries, dict) or not entries:
        raise _meaningless("there are no scores", "the results are empty")
    for task in {**entries, **results.get("configs", {})}:
        found = list(_scores_of(task, entries.get(task, {}), results))
        if not found and task not in results.get("group_subtasks", {}):  # a group need not have one of its own
            raise _meaningless(f"the task {task} has no score", "none of its metrics was computed")
        yield from found


def _scores_of(task: str, entry: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    counted = results.get("n-samples", {}).get(task, {})
    for key, value in entry.items():
        metric, comma, name = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        if not _is_finite(value):
            raise _meaningless(f"the {metric} of {task} is {value!r}", "it is no finite number")
        stderr = entry.get(f"{metric}_stderr,{name}")
        yield {
            "task": task,
            "metric": metric if name == UNFILTERED else key,
            "value": value,
            "stderr": stderr if _is_finite(stderr) else None,
            "higher_is_better": results.get("higher_is_better", {}).get(task, {}).get(metric),
            "few_shot": results.get("n-shot", {}).get(task),
            "samples": counted.get("effective", entry.get("sample_len")),
            "samples_in_all": counted.get("original"),
            "version": results.get("versions", {}).get(task),
        }


def is_cut(score: Mapping[str, object]) -> bool:
    """Say whether a score is of some of its task's samples only."""
    return score["samples_in_all"] not in (None, score["samples"])


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _meaningless(what: str, why: str) -> HookRefused:
    return HookRefused(f"{PROGRAM} gave no result: {what}", why=why, fix="look at its output above, and at the task")
