"""torchtitan: `torchtitan.train`, which `--job.config_file FILE` (until 2025) or `--module M --config C` describes.

Its throughput is per GPU. It has counted words for tokens (wps), told neither gradient norm nor TFLOP/s, and called its
saves by another name.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoexp import figures
from autoexp.backends import Launch, flags, judged, program_words, torchrun
from autoexp.figures import number, whole
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

USUAL_PROGRAM = "torchtitan.train"


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Write the command line: torchrun in any case, whose variables it asks for; then its flags by their full names.

    An absolute folder for checkpoints stands over its dump folder, in every version.
    """
    launcher = torchrun(launch, always=True)
    where = {"checkpoint.folder": launch.checkpoints}
    return (*launcher, *program_words(launch.program or USUAL_PROGRAM), *flags({**where, **args}))


_REPORT = re.compile(r"(?<!validate )\bstep:\s*(\d{1,18})\s+loss:\s*(\S+)(.*)")
_TOTAL = re.compile(r"\btotal steps (\d{1,18})\b")
_BATCH = re.compile(r"\bglobal batch size (\d{1,18})\b")
_STARTS = re.compile(r"\bTraining starts at step (\d{1,18})\b")
_LOADED = re.compile(r"\bLoading the checkpoint (?:at step |from \S*\bstep-)(\d{1,18})\b")
_SAVING = re.compile(r"\bSaving a (?:full|model only|model weights only) checkpoint.* at last step, step (\d{1,18})\b")
_SAVED = ("Last step checkpoint completed", "Finished saving the checkpoint")
_FRESH = "No checkpoint was provided, this is a fresh start"
_SHORT = "Ran out of data; last step was canceled"
_DONE = "Training completed"
_GIB = 1 << 30
HINTS = ("step", _FRESH, _SHORT, *_SAVED, _DONE)
REPORT = None


def read(facts: LogFacts, line: str) -> LogFacts:
    """Take one complete log line into account."""
    if "step" in line:
        line = figures.plain(line)
        if found := _REPORT.search(line):
            return _report(facts, int(found[1]), found[2], found[3])
        facts = _remark(facts, line)
    if _FRESH in line:
        return replace(facts, lost=line.strip())
    if _SHORT in line:
        return replace(facts, cut_short=_SHORT)
    if any(words in line for words in _SAVED) and facts.saving is not None:
        return replace(facts, saves=facts.with_save(facts.saving), saving=None)
    is_known = facts.reports or facts.train_iters
    if _DONE in line and is_known and not facts.cut_short:  # other programs say so too
        return replace(facts, done=True, iteration=facts.train_iters or facts.iteration)
    return facts


def _report(facts: LogFacts, iteration: int, loss: str, rest: str) -> LogFacts:
    fields = dict(re.findall(r"(\w{1,20}):\s*([^\s(]{1,40})", rest))
    memory = number(fields.get("memory", "").removesuffix("GiB"))
    percent = number(fields.get("mfu", "").removesuffix("%"))
    return replace(
        figures.report(facts, iteration, lr=None, loss=number(loss)),
        tokens_per_second=number(fields.get("tps", fields.get("wps"))),
        tflops=number(fields.get("tflops")),
        mfu=None if percent is None else round(percent / 100, 6),
        peak_memory_bytes=None if memory is None or memory < 0 else int(memory * _GIB),
        diverged=number(loss) is None,
    )


def _remark(facts: LogFacts, line: str) -> LogFacts:
    """Take a line into account that tells of a step and is no report."""
    if found := _TOTAL.search(line):
        facts = replace(facts, train_iters=int(found[1]))
    if found := _BATCH.search(line):
        facts = replace(facts, global_batch_size=int(found[1]))
    if _STARTS.search(line):
        facts = replace(facts, cut_short="", done=False, saving=None)
    if found := _LOADED.search(line):
        facts = replace(facts, loaded=int(found[1]), lost="")
    if found := _SAVING.search(line):
        facts = replace(facts, saving=int(found[1]))
    return facts


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:
    """Ask for `Training completed` and for the last step: it says so too when it ran out of data, and exits with 0."""
    wanted = whole(str(args.get("training.steps"))) or seen.log.train_iters
    return judged(wanted, seen, {f"its log has no '{_DONE}'": not seen.log.done})
