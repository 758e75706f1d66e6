"""Writes a recipe as a person would: sections apart, short lists on a line, scripts as they are."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

LONGEST_LINE = 90
"""Of a list or a mapping that stands on a line of its own."""
LEAST_SHARED = 4
"""How many entries a mapping must share with another one to be written as its changes."""
_LIKE_A_NUMBER = re.compile(r"[-+.\deE_]*\d[-+.\deE_]*")
"""What the recipe's loader may take for a number, and this writer does not."""


class _Dumper(yaml.SafeDumper):
    """Writes scripts in literal style, lists inside their key's indentation, and no aliases."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002 - as the original
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - a recipe is read by people
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else "'" if _LIKE_A_NUMBER.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(dumper: yaml.SafeDumper, value: list[Any] | tuple[Any, ...]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=_is_short(list(value)))


def _mapping(dumper: yaml.SafeDumper, value: Mapping[str, Any]) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=_is_short(value))


def _is_short(value: Any) -> bool:
    """Say whether a value reads well on one line: no text with signs that would need quotes there."""
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return True
    texts = list(_texts(value))
    return not any("\n" in text or "'" in text for text in texts) and len(str(value)) <= LONGEST_LINE


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
_Dumper.add_representer(tuple, _list)
_Dumper.add_representer(dict, _mapping)


def write(recipe: Mapping[str, Any], origin: str) -> str:
    """Write a recipe, with a first line that says where it is from."""
    head = f"# Made of {origin} by autoexp import; what had to change was said then.\n"
    return head + "".join(map(_section, recipe, recipe.values()))


def _section(key: str, value: Any) -> str:
    """Write a top-level key; its mapping is never put on one line."""
    if not isinstance(value, dict) or not value:
        return _dump({key: value})
    parts = _stages(value) if key == "stages" else (_dump({name: item}) for name, item in value.items())
    return f"{key}:\n{_indented(''.join(parts))}"


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Write stages; what a later one has again is written once, under an anchor."""
    for number, (name, stage) in enumerate(stages.items()):
        others = [*stages.values()]
        before, after = others[:number], others[number + 1 :]
        body = "".join(_part(key, value, before, after) for key, value in stage.items())
        yield f"{name}:\n{_indented(body)}"


def _part(key: str, value: Any, before: list[Mapping[str, Any]], after: list[Mapping[str, Any]]) -> str:
    """Write a stage's key: an alias where the first stage that has it says the same, or most of it."""
    first = next((other[key] for other in before if key in other), None)
    anchor = key.replace("_", "-")
    if not isinstance(value, dict) or _is_short(value):
        return _dump({key: value})
    if first is None:
        mark = f" &{anchor}" if any(_shares(value, other.get(key)) for other in after) else ""
        return f"{key}:{mark}\n{_indented(_dump(value))}"
    if not _shares(first, value):
        return _dump({key: value})
    if first == value:
        return f"{key}: *{anchor}\n"
    changed = {name: item for name, item in value.items() if name not in first or first[name] != item}
    return f"{key}:\n  <<: *{anchor}\n{_indented(_dump(changed))}"


def _shares(first: Any, other: Any) -> bool:
    """Say whether a mapping is another one with a few changes."""
    if not isinstance(first, dict) or not isinstance(other, dict) or not first.keys() <= other.keys():
        return False
    if first == other:
        return not _is_short(first)
    alike = sum(other[name] == item for name, item in first.items())
    return alike >= LEAST_SHARED and alike * 2 >= len(other) and not _is_short(first)


def _indented(text: str) -> str:
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


class _Block(dict[str, Any]):
    """A mapping that is never put on one line."""


_Dumper.add_representer(
    _Block, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=False)
)


def _dump(value: dict[str, Any]) -> str:
    text = str(yaml.dump(_Block(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf))
    return text.removesuffix("...\n")  # the mark of a document's end, where a script ends with empty lines
