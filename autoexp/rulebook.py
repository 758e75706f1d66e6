"""What a stage does when something happens: `events:` read from a recipe, and what a log's lines make of it. Pure.

events:
  spike:
    log: 'iteration (?P<iteration>[0-9]+) .* grad norm: (?:nan|inf)'
    limit: 3
    do: [{append: {path: spikes.txt, text: '{job} at {iteration}'}}, {restart: {lr: 1e-4}}]
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autoexp.conditions import questions, read_condition
from autoexp.events import Requested
from autoexp.logs import LONGEST_LINE_BYTES, Match, numbered_lines
from autoexp.model import JSON, Condition, Deed, HookCall, Rule, State, Verb
from autoexp.patterns import TooSlow, compiled, problem
from autoexp.patterns import search as search_within
from autoexp.policies import PolicyError

VERBS: Mapping[str, Verb] = {
    **{str(verb): verb for verb in (Verb.HOLD, Verb.SAVE, Verb.RESTART, Verb.RETRY, Verb.CANCEL, Verb.FAIL)},
    "finish": Verb.SUCCEED,
}
"""What is asked of the job itself, as a marker would."""
DEEDS = (*VERBS, "submit", "append", "hook", "log", "notify")
RULE_KEYS = ("log", "contains", "state", "from", "limit", "when", "do")
MOST = 1000
"""How often a rule may be followed in the life of a job."""
LONGEST_QUOTE = 1000
"""Characters of a line that are kept."""
ALWAYS = ("line", "event", "study", "job", "attempt", "iteration")
"""What a text may name besides the groups of its regular expression."""


def search(rules: Sequence[Rule], data: bytes, offset: int, known: Sequence[Match] = ()) -> Iterator[Match]:
    """Find what rules wait for in complete lines, of which the first begins at `offset`."""
    if not any(rule.log for rule in rules):
        return
    left = Counter({rule.name: rule.limit for rule in rules if rule.log})
    left.subtract(match.rule for match in known)
    for place, raw in numbered_lines(data):
        line = raw[:LONGEST_LINE_BYTES].decode(errors="replace")
        for rule in rules:
            if left[rule.name] > 0 and (found := _found(rule.log, line)):
                left[rule.name] -= 1
                groups = {str(name): text or "" for name, text in _groups(found).items()}
                yield Match(rule=rule.name, offset=offset + place, line=line.strip()[:LONGEST_QUOTE], groups=groups)


def _found(regex: str, line: str) -> "re.Match[str] | None":
    with suppress(TooSlow):  # `problem` tells it, and it counts as not there
        return search_within(regex, line)
    return None


def problems(rules: Iterable[Rule]) -> Iterator[str]:
    """Say what is not looked for any more."""
    return (f"events.{rule.name}: {said}" for rule in rules if rule.log and (said := problem(rule.log)))


def _groups(found: "re.Match[str]") -> dict[str, str | None]:
    numbered = {str(number): text for number, text in enumerate(found.groups(), 1)}
    return {"0": found[0], **numbered, **found.groupdict()}


_NAME = re.compile(r"\{(\w+)\}")


def told(text: str, seen: Mapping[str, JSON]) -> str:
    """Put what was seen into a text; what is not known stays as it is written."""
    return _NAME.sub(lambda name: str(seen.get(name[1], name[0])), text)


def asked_of_job(rule: Rule, seen: Mapping[str, JSON], at: float) -> Iterator[Requested]:
    """List what a rule asks of the job, and of the very attempt that it was seen in."""
    attempt = int(str(seen["attempt"]))
    for deed in rule.do:
        if deed.name in VERBS:
            reason = told(deed.text, seen) or f"event {rule.name}: {seen['line']}"
            yield Requested(at=at, attempt=attempt, verb=VERBS[deed.name], reason=reason, params=deed.values)


def submitters(stage: str, events: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """List the stages, with the event, that submit a stage; `events` is what each stage waits for, as written."""
    for name, rules in events.items():
        for event, rule in rules.items():
            done = rule.get("do") if isinstance(rule, Mapping) else None
            if {"submit": stage} in (done if isinstance(done, list | tuple) else [done]):
                yield name, event


def read_rules(
    raw: Mapping[str, Any],
    hook: Callable[[str], str],
    stages: Collection[str],
    notify: Mapping[str, Any] | None = None,
) -> tuple[Rule, ...]:
    """Read a stage's events; `hook` finds a hook's file, and `notify` says how the stage tells people something.

    Raises:
        PolicyError: a key, a deed, a state or a name in a text is unknown, or a value is not what it should be.
        ConditionError: `when` is no condition.
    """
    return tuple(_Reader(str(name), hook, stages, notify).read(rule) for name, rule in raw.items())


@dataclass(frozen=True, slots=True)
class _Reader:
    name: str
    hook: Callable[[str], str]
    stages: Collection[str]
    notify: Mapping[str, Any] | None

    def read(self, raw: Any) -> Rule:
        if not isinstance(raw, Mapping):
            raise self._error((), f"{raw!r} is no event", "write NAME: {log: REGEX, do: [...]}")
        for key in raw:
            if key not in RULE_KEYS:
                raise self._error((str(key),), f"unknown key {key!r}", f"use one of {', '.join(RULE_KEYS)}")
        given = [key for key in ("log", "contains", "state") if raw.get(key) is not None]
        if len(given) != 1:
            said = "is seen by one of log, contains and state"
            raise self._error((), f"the event {self.name} {said}, not by {len(given)}", "keep one of the three")
        pattern = self._pattern(raw)
        names = (*ALWAYS, *pattern.groupindex, *map(str, range(pattern.groups + 1))) if pattern else ALWAYS
        return Rule(
            name=self.name,
            log=pattern.pattern if pattern else "",
            state=self._state(raw, "state"),
            came_from=self._state(raw, "from"),
            limit=self._limit(raw.get("limit", 1)),
            when=self._when(raw.get("when")),
            do=tuple(self._deeds(raw.get("do"), names)),
        )

    def _error(self, path: tuple[str, ...], what: str, fix: str) -> PolicyError:
        *within, key = (self.name, *path)
        return PolicyError(key, what, fix, tuple(within))

    def _pattern(self, raw: Mapping[str, Any]) -> "re.Pattern[str] | None":
        if raw.get("state") is not None:
            return None
        key = "log" if raw.get("log") is not None else "contains"
        text = raw[key]
        if not isinstance(text, str) or not text:
            raise self._error((key,), f"{text!r} is no text to look for", f"write {key}: TEXT")
        try:
            found = compiled(text if key == "log" else re.escape(text))
        except (re.error, OverflowError) as error:
            said = f"{text!r} is no regular expression: {error}"
            raise self._error((key,), said, "correct it, or write contains: TEXT") from error
        if found.search(""):
            raise self._error((key,), f"{text!r} matches every line", "say what the line has")
        return found

    def _state(self, raw: Mapping[str, Any], key: str) -> str:
        state = raw.get(key)
        if state is None:
            return ""
        if key == "from" and raw.get("state") is None:
            raise self._error((key,), "from goes with state", "remove it")
        if key == "from" and state == raw["state"]:
            raise self._error((key,), f"{state} never comes out of itself", "name another state, or remove from")
        if state not in set(State):
            raise self._error((key,), f"{state!r} is no state", f"use one of {', '.join(State)}")
        return str(state)

    def _limit(self, limit: object) -> int:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise self._error(("limit",), f"{limit!r} is no limit", f"write how often, from 1 to {MOST}")
        return limit

    def _when(self, raw: Any) -> Condition | None:
        if raw is None:
            return None
        condition = read_condition(raw)
        if any(question.kind == "runs" for question in questions(condition)):
            fix = "let a hook find out, or use another condition"
            raise self._error(("when",), "an event waits for no program", fix)
        return condition

    def _deeds(self, raw: Any, names: Sequence[str]) -> Iterator[Deed]:
        listed = raw if isinstance(raw, list | tuple) else [raw]
        if not listed or raw is None:
            raise self._error(("do",), f"nothing is done when {self.name} happens", f"use some of {', '.join(DEEDS)}")
        for one in listed:
            ((name, said),) = one.items() if isinstance(one, Mapping) and len(one) == 1 else ((one, None),)
            if name not in DEEDS:
                raise self._error(("do",), f"{name!r} is nothing that can be done", f"use one of {', '.join(DEEDS)}")
            yield self._checked(self._deed(str(name), said), names)

    def _deed(self, name: str, said: Any) -> Deed:
        match name, said:
            case "restart", Mapping():
                return Deed(name=name, values=dict(said))
            case "append", {"path": str(path), "text": str(text), **more} if not more:
                return Deed(name=name, path=path, text=text)
            case "submit", str(stage) if stage in self.stages:
                return Deed(name=name, text=stage)
            case "hook", Mapping() if len(said) == 1:
                ((hook, values),) = said.items()
                path = self.hook(str(hook))
                if isinstance(values, Mapping | None):
                    return Deed(name=name, hook=HookCall(name=str(hook), path=path, values=values or {}))
            case "notify", str(text):
                return Deed(name=name, text=text, hook=self._telling())
            case "log", str(text):
                return Deed(name=name, text=text)
            case _, str() | None if name in VERBS:
                return Deed(name=name, text=said or "")
        raise self._error(("do",), f"{name}: {said!r} does not fit", f"write {SHAPES.get(name, f'{name}: REASON')}")

    def _telling(self) -> HookCall:
        if self.notify is None:
            fix = "give the stage notify: {command: [mail, -s, autoexp, ME]}"
            raise self._error(("do", "notify"), "nobody says how people are told", fix)
        return HookCall(name="notify", path=self.hook("notify"), values=self.notify)

    def _checked(self, deed: Deed, names: Sequence[str]) -> Deed:
        texts = [deed.text, deed.path, *(deed.hook.values.values() if deed.hook and deed.name == "hook" else ())]
        for text in texts:
            for name in _NAME.findall(text) if isinstance(text, str) else ():
                if name not in names:
                    known = f"use one of {', '.join(names)}"
                    raise self._error(("do", deed.name), f"{{{name}}} is nothing that is known then", known)
        return deed


SHAPES: Mapping[str, str] = {
    "restart": "restart, restart: REASON, or restart: {PARAM: VALUE}",
    "append": "append: {path: FILE, text: TEXT}",
    "submit": "submit: STAGE, one of this recipe's",
    "hook": "hook: {NAME: {KEY: VALUE}}",
    "log": "log: TEXT",
    "notify": "notify: TEXT",
}
