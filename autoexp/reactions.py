"""Doing what a recipe wants done when something happens: what it asks of the job, lines for files, and hooks.

It stays owed until the journal has it as answered; who dies in between leaves it to the next watcher, which may append
a line, or call a hook, a second time. What is asked of the job speaks of one attempt, and is refused later.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from autoexp import hooks
from autoexp.actions import AnswerEvent
from autoexp.asking import verdict
from autoexp.errors import AutoexpError, HookRefused
from autoexp.events import Answered, Event
from autoexp.files import append_line
from autoexp.happenings import rule_of
from autoexp.model import JSON, Deed, HookCall, Job, Rule
from autoexp.registry import Ledger
from autoexp.rulebook import asked_of_job, told

HOPELESS = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT),
    *(errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO),
}
"""Why a file cannot be written that waiting does not mend: what else is to be done must not wait for it."""


def answer(action: AnswerEvent, ledger: Ledger, at: float) -> Iterator[Event]:
    """Do what is owed for an event; yield what is asked of the job, and last that it is answered.

    Raises:
        HookRefused: a hook cannot do it now.
        OSError: a file cannot be written now.
    """
    job, key = ledger.jobs[action.job], (action.event, action.number)
    owed = next((owed for owed in job.due if (owed["event"], owed["number"]) == key), None)
    if owed is None:
        return
    rule, seen = _as_it_runs(job, ledger, action.event), {**owed, "study": job.spec.study, "job": job.id}
    said = Answered(at=at, event=action.event, number=action.number)
    if rule is None:  # the recipe was planned anew, and waits for it no more
        yield replace(said, problems=("the recipe has no such event any more",))
        return
    if hindrance := _hindrance(rule, ledger, job):
        yield replace(said, problems=(hindrance,))
        return
    half = action.job, *key
    done, problems = ledger.half_done.setdefault(half, {}), list[str]()
    for number, deed in enumerate(rule.do):
        try:
            if number not in done:
                done[number] = _do(deed, ledger.dir_of(job.id), seen)
        except AutoexpError as error:
            if isinstance(error, HookRefused) and error.temporary:
                raise
            problems.append(f"{deed.name}: {error.what}: {error.why}")
        except OSError as error:
            if error.errno not in HOPELESS:
                raise
            problems.append(f"{deed.name}: {error}")
    del ledger.half_done[half]
    yield from asked_of_job(rule, seen, at)
    yield replace(said, done=tuple(done[number] for number in sorted(done)), problems=tuple(problems))


def _hindrance(rule: Rule, ledger: Ledger, job: Job) -> str:
    """Say what keeps a rule from being followed.

    Raises:
        HookRefused: nobody knows now.
    """
    asked = verdict(rule.when, ledger, job, {}) if rule.when is not None else None
    if asked is None or asked.holds:
        return ""
    if asked.unknown:
        raise HookRefused(f"{rule.name} waits", why=f"when: {asked.reason}", fix="see to the file", temporary=True)
    return f"when: {asked.reason}"


def _as_it_runs(job: Job, ledger: Ledger, name: str) -> Rule | None:
    """Find an event's rule, with the values that the job's attempts have by now."""
    rule = rule_of(job, name)
    if rule is None or not job.reduced:
        return rule
    return next((again for again in ledger.reduced(job).events if again.name == name), rule)


def _do(deed: Deed, folder: Path, seen: Mapping[str, JSON]) -> str:
    """Do what touches the disk; say what was done."""
    text = told(deed.text, seen)
    if deed.name == "append":
        path = told(deed.path, seen)
        if "\0" in path:
            raise AutoexpError(f"{path!r} is no path", why="a path has no zero byte", fix="name the file otherwise")
        append_line(folder / path, text)
    if deed.hook is not None:
        call = deed.hook
        if deed.name == "notify":
            values = {**call.values, "text": text}  # its command is the recipe's: no log line may change it
        else:
            values = {key: told(value, seen) if isinstance(value, str) else value for key, value in call.values.items()}
        hooks.prepare(HookCall(name=call.name, path=call.path, values=values), folder)
        return f"{deed.name}: {text or call.name}"
    return f"{deed.name}: {text}" if text else deed.name
