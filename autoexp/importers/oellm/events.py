"""OELLM's monitoring in the words of a stage: events, retries and stalls. Pure.

There a line of the log, a change of Slurm's state, or a silence leads to one action, and Slurm's word for how a job
ended is one of the states. Here an ending is answered by `retry`, a silence is a stall, and the rest are `events`.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoexp.effects import DEFAULT_REMEDIES
from autoexp.importers.oellm.conditions import STATES, Conditions
from autoexp.importers.oellm.values import Values
from autoexp.model import EndingClass, Remedy
from autoexp.naming import safe
from autoexp.places import KeyPath

Tell = Callable[[str, KeyPath, str], None]
"""Tells of a place: `left-out`, `mended` or `unsure`, where, and what."""
LONGEST_SILENCE_S = 1800
TRIES = 3
OFTEN = 100
"""How often what changes nothing about the job is done; there without end."""
POLL_S = 60
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "FAILED": ("crashed", "network"), "TIMEOUT": ("time_limit",), "DEADLINE": ("time_limit",),
    "OUT_OF_MEMORY": ("host_oom",), "NODE_FAIL": ("node_fail",), "BOOT_FAIL": ("node_fail",),
    "PREEMPTED": ("preempted",), "CANCELLED": ("cancelled",),
}  # fmt: skip
"""What a state of Slurm's says of how an attempt ended."""
SPOKEN: Mapping[str, tuple[str, ...]] = {
    r"time limit": ("time_limit",),
    r"exit(ed)? (with )?(exit )?code": ("crashed", "network"),
    r"(cuda|hip|gpu|hbm).{0,20}out of memory|OutOfMemoryError": ("gpu_oom",),
    r"oom[-_ ]?kill|out of memory": ("host_oom",),
    r"node fail": ("node_fail",),
    r"preempt": ("preempted",),
    r"communication connection failure": ("network", "node_fail"),
}
"""Lines that say that an attempt is over, or about to be."""
DONE = re.compile(r"training is (done|finished|complete)|training (done|finished|complete)|on test set", re.IGNORECASE)
NAMED = {"success": "COMPLETED", "crash": "FAILED", "timeout": "TIMEOUT", "stall": "STALLED"}
"""States that its documentation calls by other names."""
ASKED = {"Restart": "restart", "Cancel": "cancel", "Finish": "finish"}
SAYING = {"Log": "message", "LogMessage": "message", "ErrorNote": "note", "PublishEvent": "event_name"}
"""Actions that leave a line somewhere, and where each has its text."""
_BRACES = re.compile(r"(?<!\$)\{([^{}$:]+)\}")


@dataclass(slots=True)
class Monitoring:
    """Reads one stage's monitoring; what has been written so far stands in `retry`, `stall`, `events` and `stages`."""

    values: Values
    tell: Tell
    retry: dict[str, Any] = field(default_factory=lambda: {"max_attempts": TRIES})
    stall: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)
    """Programs that events start, by name."""
    _answers: dict[str, str] = field(default_factory=dict)
    is_chain: bool = False
    restarting: dict[str, KeyPath] = field(default_factory=dict)
    """Events that begin again what has ended, each with where it stands."""
    threshold_s: int = 0
    """The silence that stalls a job whatever its events say; 0 is none."""

    def read(self, job: Mapping[str, Any]) -> None:
        """Read what a configuration's `job` says."""
        repeats = job.get("chain_repeat")
        if isinstance(repeats, int) and repeats > 1:
            self.is_chain = True
            self.retry = {"max_attempts": max(repeats, TRIES), "queue_ahead": True}
        self.threshold_s = self.seconds(
            job.get("inactivity_threshold_seconds"), ("job", "inactivity_threshold_seconds")
        )
        if silence_s := self.threshold_s:
            self.stall = {"no_progress": f"{silence_s}s" if silence_s % 60 else f"{silence_s // 60}m"}
        for key in ("log_events", "state_events"):
            listed = job.get(key)
            for number, raw in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(raw, Mapping):
                    _Event(self, raw, ("job", key, number), _given(job.get("metadata"))).read()
        for rule in self.events.values():
            rule["do"] = rule["do"][0] if len(rule["do"]) == 1 else rule["do"]
        if when := {ending: remedy for ending, remedy in self._answers.items() if not _is_usual(ending, remedy)}:
            self.retry["when"] = when
        if self.restarting:
            said = "what ends is judged by how it ended, and tried"
            said = (
                f"{', '.join(self.restarting)}: {said} {self.retry['max_attempts']} times at most, with growing waits"
            )
            self.tell("mended", next(iter(self.restarting.values())), said)

    def answer(self, endings: Iterable[str], remedy: str) -> None:
        """Answer endings, unless an earlier event has; the next link of a chain runs whatever became of it."""
        remedy = "retry" if self.is_chain and remedy == "fail" else remedy
        for ending in endings:
            resumed = ending in ("time_limit", "preempted") and remedy == "retry"
            self._answers.setdefault(ending, str(Remedy.RESUME) if resumed else remedy)

    def seconds(self, raw: Any, path: KeyPath) -> int:
        """Read a number of seconds; 0 is none."""
        if isinstance(raw, int | float) and math.isfinite(raw):
            return int(raw)
        if raw is not None:
            self.tell("left-out", path, f"{raw!r} is no number of seconds")
        return 0


def _is_usual(ending: str, remedy: str) -> bool:
    """Say whether an answer is what happens anyway; a stalled job is stopped only if something is said of hung ones."""
    return ending != "hung" and remedy == DEFAULT_REMEDIES[EndingClass(ending)]


def _given(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _class(raw: Any) -> str:
    return str(_given(raw).get("class_name", ""))


@dataclass(slots=True)
class _Event:
    """One event, with all actions that are bound to it."""

    into: Monitoring
    raw: Mapping[str, Any]
    path: KeyPath
    metadata: Mapping[str, Any]

    def read(self) -> None:
        bound = list(self._actions())
        if self._is_silence():
            self._read_silence(bound)
        elif self.path[1] == "log_events":
            self._read_line(bound)
        else:
            self._read_state(bound)

    @property
    def name(self) -> str:
        return str(self.raw.get("name") or "_".join(str(each).lower() for each in self._transition()) or "event")

    def tell(self, code: str, said: str) -> None:
        self.into.tell(code, self.path, f"{self.name}: {said}")

    def _actions(self) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
        """Yield each action with its conditions: one at HEAD, or those of the documentation's list of bindings."""
        listed = self.raw.get("actions")
        for each in (self.raw.get("action"), *(listed if isinstance(listed, list) else ())):
            if not isinstance(each, Mapping):
                continue
            inner = each.get("action") if _class(each) == "EventAction" else each
            several = each.get("conditions")
            given = [self.raw.get("condition"), each.get("condition"), *(several if isinstance(several, list) else ())]
            yield _given(inner), [condition for condition in given if isinstance(condition, Mapping)]

    # What sets it off

    def _is_silence(self) -> bool:
        return self.raw.get("pattern_type") == "inactivity" or "inactivity_timeout_s" in self.raw

    def _read_silence(self, bound: list[tuple[Mapping[str, Any], list[Any]]]) -> None:
        polls = self.raw.get("inactivity_polls")
        polled_s = polls * POLL_S if isinstance(polls, int) else 0
        silent_s = max(self.into.seconds(self.raw.get("inactivity_timeout_s"), self.path), polled_s)
        least_s = max(silent_s, LONGEST_SILENCE_S)
        if threshold_s := self.into.threshold_s:
            if threshold_s != silent_s:
                said = f"a job is stalled after {self.into.stall['no_progress']}, its inactivity_threshold_seconds"
                self.tell("mended", said)
        else:
            self.into.stall = {"no_progress": f"{least_s // 60}m"}
            if 0 < silent_s < least_s:
                said = f"a save or an evaluation may be silent for {silent_s} s: a job is stalled after"
                self.tell("mended", f"{said} {least_s // 60}m without another iteration")
        self._answered(("hung",), bound)
        self._write({"state": "stalled"}, bound)

    def _read_line(self, bound: list[tuple[Mapping[str, Any], list[Any]]]) -> None:
        pattern = str(self.raw.get("pattern") or "")
        is_regex = self.raw.get("pattern_type") == "regex"
        if trouble := _trouble(pattern, is_regex=is_regex):
            self.tell("left-out", f"the pattern {pattern!r} {trouble}")
            return
        if DONE.search(pattern):
            rest = [(action, given) for action, given in bound if _class(action) != "FinishAction"]
            if len(rest) < len(bound):
                said = "such a line may come before the last save: a training is judged by its last checkpoint"
                self.tell("mended", f"{said}, any program by its exit code")
            bound = rest
        endings = next((found for spoken, found in SPOKEN.items() if re.search(spoken, pattern, re.IGNORECASE)), ())
        if endings:
            self._answered(endings, bound)
        written = self.into.values.value(pattern)
        self._write({"log" if is_regex else "contains": written}, bound)

    def _transition(self) -> list[Any]:
        said = self.raw.get("transition")
        return said if isinstance(said, list) and len(said) == 2 else []  # noqa: PLR2004 - from, and to

    def _read_state(self, bound: list[tuple[Mapping[str, Any], list[Any]]]) -> None:
        before, after = self._transition() or (None, NAMED.get(self.name, self.name))
        state = str(after or "").upper()
        if state == "STALLED":
            self._answered(("hung",), bound)
            self._write({"state": "stalled"}, bound)
            return
        ours = "failed" if state in ENDINGS and state != "CANCELLED" else STATES.get(state)
        if ours is None:
            self.tell("left-out", f"{after or 'whatever comes'} after {before or 'anything'} is no state of Slurm's")
            return
        self._answered(ENDINGS.get(state, ()), bound)
        if ours == "failed" and bound:
            self.tell("mended", "it is failed once, when nothing is left to be tried")
        if ours == "succeeded":
            bound = [(action, given) for action, given in bound if _class(action).removesuffix("Action") not in ASKED]
        origin = STATES.get(str(before or "").upper()) if ours in ("queued", "running") else None
        self._write({"state": ours, **({"from": origin} if origin and origin != ours else {})}, bound)

    # What is done

    def _answered(self, endings: Iterable[str], bound: list[tuple[Mapping[str, Any], list[Any]]]) -> None:
        """Answer an ending by `retry`, and take what that answers out of the list."""
        for action, given in list(bound):
            asked = _class(action).removesuffix("Action")
            if asked not in (*ASKED, "UpdateChainExcludes") or not endings:
                continue
            goes_on = asked != "Cancel" or self.into.is_chain
            if goes_on or "hung" in endings or self.path[1] == "state_events":
                bound.remove((action, given))
            remedy = {"Restart": "retry", "UpdateChainExcludes": "exclude_node"}.get(asked, "fail")
            self.into.answer(endings, remedy)
            most = [each["max_attempts"] for each in given if isinstance(each.get("max_attempts"), int)]
            if most and asked == "Restart":
                self.into.retry["max_attempts"] = max(1, *most)
            if len(most) < len(given):
                self.tell("left-out", "its condition; how it ended decides, and how often it was tried")
            if asked == "Restart":
                self.into.restarting.setdefault(self.name, self.path)
            elif asked == "UpdateChainExcludes":
                said = "nodes that the scheduler blames are left out by the remedy exclude_node, without a file"
                self.tell("mended", said)

    def _write(self, seen: Mapping[str, Any], bound: list[tuple[Mapping[str, Any], list[Any]]]) -> None:
        """Write what is left of the actions as events, one for those that have the same conditions."""
        for action, given in bound:
            deed, when = self._deed(action, is_line="state" not in seen), self._when(given)
            if deed is None or when is None:
                continue
            name, most = _unused(safe(self.name), self.into.events), _limit(deed)
            extra = {**({"limit": most} if most > 1 else {}), **({"when": when} if when else {})}
            last: dict[str, Any] = next(reversed(self.into.events.values()), {})
            if {**last, "do": []} == {**seen, **extra, "do": []}:
                last["do"].append(deed)
            else:
                self.into.events[name] = {**seen, **extra, "do": [deed]}

    def _when(self, given: list[Any]) -> dict[str, Any] | None:
        """Write conditions; None, which is told, where one has no words here."""
        problems: list[str] = []
        plain = [{key: value for key, value in each.items() if not key.startswith("persistent_")} for each in given]
        when = Conditions(self.into.values, problems.append).all(plain)
        if "command_succeeds" in str(when):
            problems.append("an event waits for no program")
        if _BRACES.search(str([value for each in plain for value in each.values() if isinstance(value, str)])):
            problems.append("a condition knows nothing of the line")
        if problems:
            self.tell("left-out", f"it has a condition without words here: {problems[0]}")
            return None
        return when

    def _deed(self, action: Mapping[str, Any], *, is_line: bool) -> Any:
        """Write one action; None, which is told, if it has no words here."""
        asked = _class(action).removesuffix("Action")
        if asked in ASKED:
            changed = action.get("adjustments")
            if asked == "Restart" and isinstance(changed, Mapping):
                self.into.values.read.update(changed)
                names, values = self.into.values.names, self.into.values
                return {"restart": {names.of(path): values.value(value) for path, value in changed.items()}}
            reason = self._text(str(action.get("reason") or ""), is_line=is_line)
            return {ASKED[asked]: reason} if reason else ASKED[asked]
        if asked in SAYING:
            text = str(action.get(SAYING[asked]) or "Event {event_name} triggered")
            return {"log": self._text(text, is_line=is_line)}
        if asked == "AppendToFile":
            texts = {"path": action.get("path"), "text": action.get("content") or "{match}"}
            if action.get("dedup", True):
                self.tell("unsure", f"what is appended to {texts['path']} is so though it may stand there already")
            return {"append": {key: self._text(str(text), is_line=is_line) for key, text in texts.items()}}
        return self._program(action)

    def _program(self, action: Mapping[str, Any]) -> Any:
        """Write a program as a stage that the event submits."""
        command = action.get("command") or _given(action.get("job_config")).get("command")
        said = f"the action {_class(action) or action} is left out"
        if not command:
            self.tell("left-out", f"{said}: write a stage of its own, and `do: {{submit: STAGE}}`")
        elif _BRACES.search(str(command)):
            why = "its program wants to know what the line says"
            self.tell("left-out", f"{said}: {why}; for checkpoints, write a stage with `each: {{checkpoint: STAGE}}`")
        else:
            name = safe(self.name)
            words = command if isinstance(command, list) else ["bash", "-c", str(command)]
            self.into.stages[name] = {"command": [self.into.values.value(str(word)) for word in words]}
            return {"submit": name}
        return None

    def _text(self, text: str, *, is_line: bool) -> str:
        return str(self.into.values.value(_BRACES.sub(lambda name: self._seen(name[1], is_line=is_line), text)))

    def _seen(self, name: str, *, is_line: bool) -> str:
        """Write what a name in braces stands for; one that nobody defines stays a word."""
        groups = _given(self.raw.get("extract_groups")) if is_line else {}
        group = groups.get(name)
        known = {"event_name": "{event}", "attempts": "{attempt}", **dict.fromkeys(("job_id", "job_name"), "{job}")}
        known |= dict.fromkeys(("match", "line"), "{0}" if is_line else "{line}")
        known |= {key: str(value) for key, value in {**self.metadata, **_given(self.raw.get("metadata"))}.items()}
        known |= dict(zip(("old_status", "new_status"), map(str, self._transition()), strict=False))
        if group is not None:
            return "{0}" if group == "match" else f"{{{group}}}"
        if name not in known:
            self.tell("unsure", f"{{{name}}} is nothing that is known then, and stays a word")
        return known.get(name, name)


def _trouble(pattern: str, *, is_regex: bool) -> str:
    """Say why a pattern cannot be looked for in single lines; empty if it can."""
    if not is_regex:
        return "" if pattern else "is empty"
    try:
        found = re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    return "matches every line" if found.search("") else "spans lines" if r"\n" in pattern else ""


def _limit(deed: Any) -> int:
    """Say how often something is done: what ends a job, or starts another, is bounded."""
    name = deed if isinstance(deed, str) else next(iter(deed))
    return {"restart": TRIES, "log": OFTEN, "append": OFTEN}.get(str(name), 1)


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
