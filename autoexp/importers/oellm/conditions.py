"""OELLM's conditions as conditions of a stage. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from autoexp.importers.oellm.values import Values
from autoexp.importers.placeholders import pasting

Tell = Callable[[str], None]
STATES = {
    "PENDING": "queued", "RUNNING": "running", "COMPLETED": "succeeded", "CANCELLED": "cancelled",
    **dict.fromkeys(("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL"), "failed"),
}  # fmt: skip
_ITERATION = re.compile(r"\$\{sibling\.(\w+)\.checkpoints\}/iter_(\$\{calc:'[^']*'\}|\$\{[\w.]+\}|\d+)(?:/.*)?")
_STEP = re.compile(r"(\$\{sibling\.(\w+)\.checkpoints\}/step-(?:\d+|\$\{.*\}))(?:/(?:\.metadata)?)?")
"""torchtitan's: the index in it is written last."""
_PADDED = re.compile(r"\$\{calc:'pad\((?P<whole>int\((?P<number>.*)\)|.*?)(?:, 7)?\)'\}")
_PLAIN = re.compile(r"\$\{[\w.]+\}")
_FILLED = re.compile(r"(?<!\$)\{[A-Za-z_]\w*\}")
"""What OELLM fills in from a job's metadata."""
_CHECKPOINTS = re.compile(r"\$\{sibling\.(\w+)\.checkpoints\}(?:/.*)?")
_SIBLING = re.compile(r"\$\{sibling\.(\w+)\.\w+\}.*")


class Conditions:
    """Translates conditions, and tells of those it has no words for."""

    def __init__(self, values: Values, tell: Tell) -> None:
        self._values, self._tell = values, tell

    def all(self, raw: Any) -> dict[str, Any]:
        """Write one condition, or several that all must hold; empty without one."""
        listed = raw if isinstance(raw, list) else [raw]
        found = [made for each in listed if isinstance(each, Mapping) and (made := self.one(each))]
        return found[0] if len(found) == 1 else {"all": found} if found else {}

    def one(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Write one condition; empty for what always holds, or is told to have no words here."""
        name = str(raw.get("class_name", "")).removesuffix("Condition")
        said = {key: self._values.value(value) for key, value in raw.items() if not _is_nested(value)}
        for text in (value for value in said.values() if isinstance(value, str)):
            for filled in _FILLED.findall(text):
                said_so = f"{filled} in {text!r} was filled in from the job's metadata"
                self._tell(f"{said_so}; here it is text: write ${{...}}")
        for latch in ("persistent_pass", "persistent_fail"):
            if raw.get(latch):
                self._tell(f"{latch} is left out: a start is asked until it holds, and never again")
        if name in ("Composite", "And", "Or", "Not"):
            return self._composed(name, raw)
        writer = _WRITERS.get(name)
        if writer is None:
            if name != "AlwaysTrue":
                self._tell(f"the condition {name or raw} has no words in a recipe, and is left out")
            return {}
        return writer(said, self._tell)

    def _composed(self, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        if name == "Not":
            inner = self.all(raw.get("condition"))
            return {"not": inner} if inner else {}
        listed, is_any = _listed(raw.get("conditions")), name == "Or" or raw.get("mode") == "any"
        if is_any and any(_always_holds(each) for each in listed):
            return {}
        parts = [made for each in listed if (made := self.one(each))]
        return {"any" if is_any else "all": parts} if parts else {}


def _always_holds(raw: Mapping[str, Any]) -> bool:
    return str(raw.get("class_name", "")).removesuffix("Condition") == "AlwaysTrue"


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(each, Mapping) for each in value))


def _file(said: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    path = str(said.get("path"))
    if found := _ITERATION.fullmatch(path):
        return {"checkpoint_reached": {"stage": found[1], "iteration": _number(found[2])}}
    if found := _STEP.fullmatch(path):
        index = f"{found[1]}/.metadata"
        tell(
            f"{index} is waited for, which torchtitan writes last, or for {found[2]}'s success: checkpoint_reached "
            "does not follow torchtitan's folders, and file_exists does not look whether the checkpoint is whole"
        )
        return {"any": [{"file_exists": {"path": index}}, {"job_succeeded": {"stage": found[2]}}]}
    if found := _CHECKPOINTS.fullmatch(path):
        tell(f"{path} is left to nobody to write: it starts when the job of {found[1]} has succeeded")
        return {"job_succeeded": {"stage": found[1]}}
    return {"file_exists": {"path": path}}


def _number(written: str) -> int | str:
    """Write the iteration that a folder's name is made of, without its leading zeros."""
    found = _PADDED.fullmatch(written)
    text = written if found is None else found["number"] or found["whole"]
    if text.isdecimal():
        return int(text)
    return f"${{calc:'{found['whole']}'}}" if found and not _PLAIN.fullmatch(text) else text


def _state(said: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    state = STATES.get(str(said.get("state")).upper())
    found = _SIBLING.fullmatch(str(said.get("job_name")))
    if state is None or found is None:
        tell(f"a condition on the state {said.get('state')} of {said.get('job_name')} is left out")
        return {}
    return {"job_state": {"stage": found[1], "state": state}}


def _log(said: Mapping[str, Any], _: Tell) -> dict[str, Any]:
    path, pattern = str(said.get("log_path") or "${dir}/current.log"), said.get("pattern")
    if path == "${dir}/current.log":
        return {"log_matches": {"regex": pattern}}
    return {"file_contains": {"path": path, "regex": pattern}}


def _content(said: Mapping[str, Any], _: Tell) -> dict[str, Any]:
    pattern = str(said.get("pattern"))
    return {
        "file_contains": {
            "path": said.get("path"),
            "regex": pattern if said.get("mode") == "regex" else re.escape(pattern),
        }
    }


def _command(said: Mapping[str, Any], _: Tell) -> dict[str, Any]:
    line = said.get("command")
    return {"command_succeeds": {"command": pasting(line) if isinstance(line, str) else line}}


def _metadata(said: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Write that a value is what it should be, and one of those it may be, where both are given."""
    key, equals, within = said.get("key"), said.get("equals"), said.get("within") or []
    if (equals is None and not within) or not isinstance(within, list):
        tell(f"a condition on {key} is left out: it has no value, or list of values, to compare it with")
        return {}
    some = [{"metadata_equals": {"key": key, "value": value}} for value in within]
    parts = [*([] if equals is None else [{"metadata_equals": {"key": key, "value": equals}}]), *_any(some)]
    return parts[0] if len(parts) == 1 else {"all": parts}


def _any(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"any": conditions}] if conditions else []


_WRITERS: Mapping[str, Callable[[Mapping[str, Any], Tell], dict[str, Any]]] = {
    "FileExists": _file,
    "BlockingFileExists": _file,
    "SlurmState": _state,
    "LogPattern": _log,
    "FileContent": _content,
    "GlobExists": lambda said, _: {
        "glob_exists": {"pattern": said.get("pattern"), "min": said.get("min_matches", 1)},
    },
    "MaxAttempts": lambda said, _: {"attempts_below": {"n": said.get("max_attempts", 1)}},
    "Cooldown": lambda said, _: {"elapsed": {"for": f"{said.get('cooldown_seconds', 60)}s"}},
    "Timeout": lambda said, _: {"not": {"elapsed": {"for": f"{said.get('timeout_seconds', 600)}s"}}},
    "Command": _command,
    "ShellCommand": _command,
    "Metadata": _metadata,
}


def _listed(raw: Any) -> list[Mapping[str, Any]]:
    return [each for each in raw if isinstance(each, Mapping)] if isinstance(raw, list) else []
