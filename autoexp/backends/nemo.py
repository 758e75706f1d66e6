"""NeMo: `nemo llm pretrain|finetune`, or a script that takes the same overrides, under PyTorch Lightning.

Its ProgressPrinter counts from 0: of 250 steps the last is `iteration 249/249`. Every figure but `global_step` is a
mean over the interval, even `consumed_samples`. The older progress bar is read too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from autoexp import figures
from autoexp.backends import Launch, flags, judged, torchrun
from autoexp.figures import number, whole
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

COMMAND = "nemo"
UNBUFFERED = ("env", "PYTHONUNBUFFERED=1")
"""torchrun sees to that for scripts only, and a progress that comes in blocks looks like none."""
USUAL_PROGRAM = "llm pretrain"
_FLAGS = ("factory", "yaml", "yes", "verbose", "dryrun", "load", "repl", "detach", "tail-logs")
"""What the command line takes as flags; everything else is an override."""


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Write the command line; the param `program` is what stands behind `nemo`, or a script's path.

    torchrun starts its processes in any case: Lightning believes it before it believes Slurm, whose tasks are fewer.
    """
    words = (launch.program or USUAL_PROGRAM).split()
    is_script = len(words) == 1 and words[0].endswith(".py")
    usual: dict[str, object] = {"trainer.devices": launch.processes, "trainer.num_nodes": launch.nodes}
    if not is_script:
        usual["log.log_dir"] = launch.checkpoints
        words = ["--no-python", *UNBUFFERED, COMMAND, *words]
    given = {**usual, **args}
    named = {name: value for name, value in given.items() if name in _FLAGS}
    rest = (f"{name}={_spelled(value)}" for name, value in given.items() if name not in _FLAGS)
    return (*torchrun(launch, always=True), *words, *flags(named), *rest)


def _spelled(value: object) -> str:
    """Spell an override: NeMo-Run and Hydra both read Python's booleans, brackets, and `null`."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(repr(item) if isinstance(item, str) else _spelled(item) for item in value)}]"
    return str(value)


_REPORT = re.compile(r"\bTraining epoch \d{1,9}, iteration (\d{1,18})/(\d{1,18}) \|(.*)")
_BAR = re.compile(r"\bEpoch \d{1,9}:[^\[]{0,400}?\b(\d{1,18})/(\d{1,18}) \[([^\[]*reduced_train_loss=[^\[]*)")
_STOPPED = re.compile(r"`Trainer\.fit` stopped: `max_steps=(\d{1,18})` reached")
_SHORT = re.compile(r"Time limit reached\. Elapsed time is .*Signaling Trainer to stop|`trainer\.should_stop` was set")
_SAVING = re.compile(r"Scheduled async checkpoint save for .*\bstep=(\d{1,18})\b")
_SAVED = re.compile(r"Successfully saved checkpoint from iteration\s+(\d{1,18})\b")
_LOADED = re.compile(r"Restored all states from the checkpoint at .*\bstep=(\d{1,18})\b")
_JOB_FINISHED = re.compile(r"^\s*Job finished\s*$")
"""Job scripts print it whatever became of the training, so it counts behind the last iteration only."""
_PEAK = re.compile(r"\[gpu_memory_log - GPU \d+\] Peak = (\d{1,9}) MiB")
_MIB = 1 << 20
HINTS = ("iteration", "reduced_train_loss", "step", "Job finished", "Time limit", "gpu_memory_log")
REPORT = None


def read(facts: LogFacts, line: str) -> LogFacts:
    """Take one complete log line into account."""
    if not any(hint in line for hint in HINTS):
        return facts
    line = figures.plain(line)
    if found := _REPORT.search(line):
        return _report(facts, int(found[1]), int(found[2]), dict(_pairs(found[3], "|", ":")))
    if found := _BAR.search(line):
        said = dict(_pairs(found[3].rpartition("]")[0] or found[3], ",", "="))
        return _report(facts, int(found[1]), int(found[2]), said)
    return _remark(facts, line)


def _pairs(text: str, between: str, inside: str) -> Iterator[tuple[str, str]]:
    for part in text.split(between):
        name, found, value = part.partition(inside)
        if found:
            yield name.strip(), value.strip()


def _report(facts: LogFacts, iteration: int, train_iters: int, fields: Mapping[str, str]) -> LogFacts:
    """Take a report into account; with more than one epoch only `global_step` counts on."""
    if "reduced_train_loss" not in fields:
        return replace(facts, iteration=iteration, train_iters=train_iters)
    step, loss, lr = whole(fields.get("global_step")), number(fields["reduced_train_loss"]), number(fields.get("lr"))
    return replace(
        figures.report(facts, max(iteration, step or 0), lr=lr, loss=loss),
        lr=lr,
        train_iters=train_iters,
        seconds_per_iteration=number(fields.get("train_step_timing in s")),
        global_batch_size=whole(fields.get("global_batch_size")),
        tflops=number(fields.get("tflops_per_sec_per_gpu", fields.get("TFLOPS_per_GPU"))),
        diverged=loss is None,
    )


def _remark(facts: LogFacts, line: str) -> LogFacts:
    if found := _STOPPED.search(line):
        return _stopped(facts, int(found[1]))
    if _JOB_FINISHED.search(figures.bare(line)):
        is_last = facts.iteration is not None and facts.iteration == facts.train_iters
        return replace(facts, done=facts.done or is_last)
    if found := _PEAK.search(line):
        return replace(facts, peak_memory_bytes=max(int(found[1]) * _MIB, facts.peak_memory_bytes or 0))
    if found := _SHORT.search(line):
        return replace(facts, cut_short=found[0])
    if found := _SAVING.search(line):
        return replace(facts, saving=int(found[1]))
    if found := _SAVED.search(line):
        saved = int(found[1])
        return replace(facts, saves=facts.with_save(saved), saving=None if facts.saving == saved else facts.saving)
    if found := _LOADED.search(line):
        return replace(facts, loaded=int(found[1]), cut_short="", saving=None)
    return facts


def _stopped(facts: LogFacts, steps: int) -> LogFacts:
    """Take the end of all steps into account, of which the last ones may stand in no report."""
    last = facts.train_iters if _is_all(facts.train_iters, steps) else steps
    return replace(facts, done=True, iteration=last, train_iters=facts.train_iters or last)


def _is_all(train_iters: int | None, steps: int) -> bool:
    """Say whether a log's own last iteration is that of so many steps, counted from 0 or from 1."""
    return train_iters in (steps - 1, steps)


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:
    """Ask for the last iteration: a script's `Job finished` proves nothing, and a preempted training exits with 0.

    The last report may be missing; Lightning's own word that all steps are done stands for it.
    """
    asked, told = whole(str(args.get("trainer.max_steps"))), seen.log.train_iters
    wanted = told if not asked or asked < 0 or _is_all(told, asked) else asked
    return judged(wanted, seen, {})
