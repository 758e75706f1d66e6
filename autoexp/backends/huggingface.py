"""HuggingFace's Trainer, and programs built on it (TRL, run_clm.py, a script of one's own).

Its log is a progress bar, with one dictionary a report between the bar's updates: Python's repr, which is no JSON, with
`nan` in it, and from transformers 5 with its numbers in quotes. Reports tell no iteration, so the bar's counts.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoexp import figures
from autoexp.backends import Launch, flags, judged, program_words, torchrun
from autoexp.errors import AutoexpError
from autoexp.figures import number, whole
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict

_SHARES = ("fsdp", "sharding_strategy")
"""Flags, of the Trainer and of `trainers.hf_finetune`, that demand ranks, be it a single one."""


def argv(args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
    """Write the command line: the recipe's program, under torchrun for several processes or to share, then its flags.

    Reports go to another stream than the bar: unbuffered, as they are under torchrun, they stand beside it in the log.

    Raises:
        AutoexpError: the recipe names no program.
    """
    if launch.program is None:
        raise AutoexpError(
            "backend huggingface starts a program that uses transformers.Trainer, and there is none",
            why="the recipe gives no param called program",
            fix="add params: {program: train.py}, a script's path or a module's name",
        )
    shares = any(args.get(name) for name in _SHARES)
    unbuffered = ("-u",) if launch.nodes * launch.processes == 1 and not shares else ()
    words = program_words(launch.program)
    return (*torchrun(launch, always=shares), *unbuffered, *words, *flags({"output_dir": launch.checkpoints, **args}))


_BAR = re.compile(r"\s*\d{1,3}%\s?(?:\|[^|]*\|)?\s+(\d{1,18})/(\d{1,18}) \[(?:[^\]]*?,\s*([\d.]+)(s/it|it/s))?")
"""A bar without a description is the training's, or the evaluation's; `Map:  40%|` is neither."""
_BELOW = "\x1b[A"
"""Ends a bar that stands below another one: the evaluation's, while the training's is open."""
_PAIR = re.compile(r"""['"]([\w/ .()-]{1,60})['"]:\s*(?:[\w.]{1,40}\()?['"]?([-+\w.]{1,40})""")
_TOTAL = re.compile(r"\bTotal optimization steps = ([\d,]{1,24})")
_BATCH = re.compile(r"\bTotal train batch size .*= ([\d,]{1,24})\s*$")
_LOADED = re.compile(r"\bContinuing training from global step (\d{1,18})\b")
_SAVING = re.compile(r"\bSaving model checkpoint to \S*checkpoint-(\d{1,18})\b")
_ENDED = re.compile(r"\bTrainOutput\(global_step=(\d{1,18}),")
_SUMMARY = "train_runtime"
HINTS = ("%", "{", "step", "Total", "checkpoint")
REPORT = None


def read(facts: LogFacts, line: str) -> LogFacts:
    """Take one complete log line into account."""
    if "%" in line:
        facts = _bar(facts, line)
    if "{" in line and "':" in line.replace('":', "':"):
        facts = _dictionary(facts, line)
    if "step" in line or "Total" in line or "checkpoint" in line:
        facts = _remark(facts, line)
    return facts


def _bar(facts: LogFacts, line: str) -> LogFacts:
    """Take the training's bar into account.

    Bars of others are told by where they stand, and by their total: the training's is the first, but for those of a
    preparation, which are complete before the training has reported anything.
    """
    found = None if _BELOW in line else _BAR.match(figures.bare(line))
    if not found:
        return facts
    iteration, total = int(found[1]), int(found[2])
    is_over = facts.iteration == facts.train_iters and not facts.reports and not facts.done
    if total != facts.train_iters and not (facts.train_iters is None or (is_over and iteration == 0)):
        return facts
    if iteration == 0:
        return replace(facts, train_iters=total, iteration=facts.iteration if total == facts.train_iters else None)
    facts = _saved(facts, iteration)
    rate = number(found[3])
    seconds = facts.seconds_per_iteration if not rate else rate if found[4] == "s/it" else 1 / rate
    return replace(facts, iteration=iteration, train_iters=total, seconds_per_iteration=seconds)


def _saved(facts: LogFacts, iteration: int | None) -> LogFacts:
    """Call a save successful once the training goes on: it waits for it, and says no more of it."""
    if facts.saving is None or (iteration is not None and iteration <= facts.saving):
        return facts
    return replace(facts, saves=facts.with_save(facts.saving), saving=None)


def _dictionary(facts: LogFacts, line: str) -> LogFacts:
    said = dict(_PAIR.findall(line[line.index("{") :]))
    if _SUMMARY in said:
        return _summary(_saved(facts, None), said)
    if "loss" not in said or not said.keys() & {"epoch", "learning_rate", "step", "global_step"}:
        return facts
    if facts.done:  # the program trains once more: the next bar is of that
        facts = replace(facts, done=False, iteration=None, train_iters=None)
    loss, lr = number(said["loss"]), number(said.get("learning_rate"))
    iteration = whole(said.get("step") or said.get("global_step"))
    if iteration is None:
        iteration = facts.iteration
    if iteration is not None:
        facts = figures.report(facts, iteration, lr=lr, loss=loss)
    return replace(facts, lr=lr, loss=facts.loss if loss is None else loss, diverged=_has_diverged(said, loss))


def _has_diverged(said: Mapping[str, str], loss: float | None) -> bool:
    """A loss that is not a number is counted as 0 by default (logging_nan_inf_filter); its gradient is not."""
    return loss is None or (loss == 0 and "grad_norm" in said and number(said["grad_norm"]) is None)


def _summary(facts: LogFacts, said: Mapping[str, str]) -> LogFacts:
    """Take the summary into account: the training is over, and evaluation and the last save are still to come."""
    return replace(
        facts,
        done=True,
        diverged=facts.diverged or ("train_loss" in said and number(said["train_loss"]) is None),
        samples_per_second=number(said.get("train_samples_per_second")) or facts.samples_per_second,
        tokens_per_second=number(said.get("train_tokens_per_second")) or facts.tokens_per_second,
    )


def _remark(facts: LogFacts, line: str) -> LogFacts:
    """Take what the Trainer says at log level info into account."""
    if found := _TOTAL.search(line):
        return replace(facts, train_iters=whole(found[1]), iteration=None, done=False)
    if found := _BATCH.search(figures.plain(line)):
        return replace(facts, global_batch_size=whole(found[1]))
    if found := _LOADED.search(line):
        return replace(facts, loaded=int(found[1]), saving=None)
    if found := _SAVING.search(line):
        return replace(facts, saving=int(found[1]))
    if found := _ENDED.search(line):
        return replace(facts, iteration=int(found[1]))
    return facts


def finished(args: Mapping[str, Any], seen: Seen) -> Verdict:
    """Ask for the summary, and for the last iteration: a callback that stops early, or at a signal, exits with 0 too.

    Whether it saves at all, and where its last model goes, is the program's own affair.
    """
    asked = whole(str(args.get("max_steps", args.get("max-steps"))))
    wanted = asked if asked and asked > 0 else seen.log.train_iters
    return judged(wanted, seen, {f"its log has no {_SUMMARY!r}": not seen.log.done})
