"""Modalities: `modalities run`, `warmstart`, `benchmark ...` and `profile ...`.

Its log has one line a report, in which the learning rate is a tensor's repr; its evaluation_results.jsonl says the same
in JSON, and is read too. Throughput is that of all GPUs. Python exceptions go to files of their own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from autoexp import figures
from autoexp.backends import Launch, flags, judged, torchrun
from autoexp.figures import number
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

MODULE = "modalities"
USUAL_PROGRAM = "run"
_TRAINING = ("run", "warmstart")
_ALONE = "benchmark"
"""Plans and lists only, in one process."""


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Write the command line; the param `program` is what stands behind `modalities`, such as `benchmark NAME`.

    What trains gets the job's directory as the root of its experiments: it must exist beforehand.
    """
    words = (launch.program or USUAL_PROGRAM).split()
    launcher = (*launch.inside, launch.python) if words[0] == _ALONE else torchrun(launch, always=True)
    root = {"experiments_root_path": launch.checkpoints.rpartition("/")[0]} if words[0] in _TRAINING else {}
    return (*launcher, "-m", MODULE, *words, *flags({**root, **args}))


_REPORT = re.compile(r"\|\s*step: (\d{1,18}) \|(.*)")
_TAG, _STEP = "dataloader_tag", "num_train_steps_done"
_TARGET = re.compile(r"^\s*num_target_steps: (\d{1,18})\s*$")
_SEEN = re.compile(r"^\s*num_seen_steps: (\d{1,18})\s*$")
_SAVING = re.compile(r"\bSaving distributed model checkpoint to .*seen_steps_(\d{1,18})-.*target_steps_(\d{1,18})\b")
_SAVED = "Distributed checkpoint saved."
_DONE = "Training done at "
_MIB = 1 << 20
HINTS = ("step", _SAVED, _DONE)
REPORT = None


def read(facts: LogFacts, line: str) -> LogFacts:
    """Take one complete log line, or a record of evaluation_results.jsonl, into account."""
    if _STEP in line:
        return _record(facts, line)
    if "step" in line:
        if found := _REPORT.search(figures.plain(line)):
            return _report(facts, int(found[1]), _pairs(found[2]))
        return _remark(facts, line)
    if _SAVED in line and facts.saving is not None:
        reached = max(facts.saving, facts.iteration or 0)
        return replace(facts, saves=facts.with_save(facts.saving), saving=None, iteration=reached)
    is_known = facts.reports or facts.train_iters
    return replace(facts, done=True) if _DONE in line and is_known else facts  # other programs say so too


def _pairs(text: str) -> dict[str, str]:
    """Read `name: value | name: value`; of a value such as `tensor(6.0030e-07)` what stands inside."""
    pairs = (part.partition(":") for part in text.split("|"))
    return {name.strip(): value.strip().removeprefix("tensor(").removesuffix(")") for name, _, value in pairs}


def _record(facts: LogFacts, line: str) -> LogFacts:
    """Take a record into account; evaluations stand in the same file under other tags, and a torn line is none."""
    try:
        record = json.loads(line[line.index("{") :])
    except (ValueError, RecursionError):
        return facts
    step = record.get(_STEP) if isinstance(record, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < figures.LARGEST:
        return facts
    return _report(facts, step, dict(_spelled(record)))


def _spelled(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a record's figures as the log spells them."""
    for group in ("losses", "metrics", "throughput_metrics"):
        figures_of = record.get(group)
        if isinstance(figures_of, dict):
            yield from ((name, str(value)) for name, value in figures_of.items())


def _report(facts: LogFacts, iteration: int, fields: Mapping[str, str]) -> LogFacts:
    if "train loss avg" not in fields:
        return facts
    loss, lr = number(fields["train loss avg"]), number(fields.get("lr mean"))
    mfu, memory = number(fields.get("train mfu (16-bit)")), number(fields.get("peak memory rank 0 (MB)"))
    return replace(
        figures.report(facts, iteration, lr=lr, loss=loss),
        lr=lr,
        samples_per_second=number(fields.get("train samples/s")),
        mfu=None if mfu is None or mfu < 0 else mfu,  # -1: it does not know the GPU
        peak_memory_bytes=None if memory is None or memory < 0 else int(memory * _MIB),
        diverged=loss is None,
    )


def _remark(facts: LogFacts, line: str) -> LogFacts:
    """Take a line into account that tells of steps and is no report."""
    bare = figures.bare(line)
    if found := _TARGET.search(bare):
        return replace(facts, train_iters=int(found[1]))
    if found := _SEEN.search(bare):
        return replace(facts, loaded=int(found[1]) or None)
    if found := _SAVING.search(line):
        return replace(facts, saving=int(found[1]), train_iters=int(found[2]))
    return facts


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:  # noqa: ARG001 - its configuration file says how far
    """Ask for `Training done` and for the last step: it says so too when its data end before that.

    Steps after the last multiple of the interval are neither logged nor saved, and so cannot be told.
    """
    return judged(seen.log.train_iters, seen, {f"its log has no '{_DONE.strip()}'": not seen.log.done})
