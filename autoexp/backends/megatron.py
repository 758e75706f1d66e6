"""Megatron-LM, and programs that take its flags, write its log lines and keep its checkpoint layout.

Log formats: Megatron-LM `training.py` from 2021 to core 0.19 and its forks, which put prefixes before each line,
seconds for milliseconds, or `now/average` pairs.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoexp import figures
from autoexp.backends import Launch, flags, program_words, torchrun
from autoexp.branching import USUAL_LOG_INTERVAL
from autoexp.figures import whole
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

USUAL_PROGRAM = "pretrain_gpt.py"


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Write the command line: the program under torchrun where it takes several processes, then its flags."""
    where = {"load": launch.checkpoints, "save": launch.checkpoints}
    return (*torchrun(launch), *program_words(launch.program or USUAL_PROGRAM), *flags({**where, **args}))


_REPORT = re.compile(r"(?<!, )\biteration\s+(\d{1,18})\s*/\s*(\d{1,18})\s*\|(.*)")
"""NeMo's own `Training epoch 0, iteration 3/9 |` is another grammar."""
_SAVED = re.compile(r"successfully saved checkpoint (?:from|at) iteration\s+(\d{1,18})\b")
_LOADED = re.compile(r"\bload(?:ing|ed) (?:distributed )?checkpoint from .* at iteration (\d{1,18})\b")
_SAVING = re.compile(r"(?:saving checkpoint|scheduled an async checkpoint save) at iteration\s+(\d{1,18})\b")
_LOST = ("will not load any checkpoints and will start from random", "Invalid metadata file")
"""Said by a run that finds no tracker (it trains from random weights) or an unreadable one (it ends with code 0)."""
_DONE = "[after training is done]"
HINTS = ("iteration", _DONE, *_LOST)
REPORT = re.compile(_REPORT.pattern.encode())


def read(facts: LogFacts, line: str) -> LogFacts:
    """Take one complete log line into account."""
    if _DONE in line:
        return replace(facts, done=True)
    if any(words in line for words in _LOST):
        return replace(facts, lost=line.strip())
    if "iteration" not in line:
        return facts
    if found := _REPORT.search(line):
        return _report(facts, int(found[1]), int(found[2]), found[3])
    if found := _SAVED.search(line):
        saving = None if facts.saving == int(found[1]) else facts.saving
        return replace(facts, saves=facts.with_save(int(found[1])), saving=saving)
    if found := _SAVING.search(line):
        return replace(facts, saving=int(found[1]))
    if found := _LOADED.search(line):
        return replace(facts, loaded=int(found[1]), lost="", saving=None)
    return facts


def _report(facts: LogFacts, iteration: int, train_iters: int, rest: str) -> LogFacts:
    pairs = (part.partition(":") for part in rest.split("|"))
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    lr = _number(fields.get("learning rate"))
    return replace(
        figures.report(facts, iteration, lr=lr, loss=_number(fields.get("lm loss"))),
        lr=lr,
        train_iters=train_iters,
        tflops=_number(fields.get("throughput per GPU (TFLOP/s/GPU)") or fields.get("TFLOPs")),
        tokens_per_second=_number(fields.get("tokens per GPU (tokens/s/GPU)")),
        samples_per_second=_number(fields.get("samples per second")),
        seconds_per_iteration=_seconds(fields),
        global_batch_size=whole(fields.get("global batch size")),
        diverged=_has_diverged(fields),
    )


def _has_diverged(fields: Mapping[str, str]) -> bool:
    """Megatron leaves the loss out of the line where it is not a number; skipped fp16 steps leave it out too."""
    if whole(fields.get("number of nan iterations")):
        return True
    if "lm loss" in fields:
        return _number(fields["lm loss"]) is None
    return whole(fields.get("number of skipped iterations")) == 0


def _seconds(fields: Mapping[str, str]) -> float | None:
    milliseconds = _number(fields.get("elapsed time per iteration (ms)"))
    if milliseconds is not None:
        return milliseconds / 1000
    return _number(fields.get("elapsed time per iteration (s)"))


def _number(text: str | None) -> float | None:
    """Read a finite number; of a pair `now/average`, the first."""
    return figures.number((text or "").split("/", maxsplit=1)[0])


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:
    """Ask for everything a finished training leaves behind.

    The done marker alone proves nothing: it is printed before the final save, and at once when a finished run is
    started again; nor does the tracker, which an older run may have written. One that is to save nothing (`save: null`)
    has to report its last log interval instead.
    """
    wanted = whole(str(args.get("train-iters"))) or seen.log.train_iters
    if wanted is None:
        return Verdict(holds=False, reason="exit code 0, but neither its flags nor its log say how far it had to train")
    saved = [
        (f"the tracker says {seen.tracker}, not {wanted}", (seen.tracker or 0) >= wanted),
        (f"there is no whole checkpoint of iteration {wanted}", wanted in seen.checkpoints),
    ]
    last, interval = seen.log.iteration or 0, whole(str(args.get("log-interval"))) or USUAL_LOG_INTERVAL
    reported = [(f"its last report is of iteration {last} of {wanted}", last > wanted - interval)]
    missing = [
        ("its log has no '[after training is done]'", seen.log.done),
        *(saved if args.get("save", True) else reported),
        ("the loss is not a number", not seen.log.diverged),
    ]
    lacking = [what for what, there in missing if not there]
    if lacking:
        return Verdict(holds=False, reason=f"exit code 0, but {' and '.join(lacking)}")
    return Verdict(holds=True, reason=f"trained to iteration {wanted}")
