"""Recipe files: YAML through OmegaConf's loader, every key with its place, overrides applied."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autoexp.errors import RecipeError
from autoexp.places import KeyPath, Places
from autoexp.quantities import SECONDS
from autoexp.stages import Recipe, read_recipe

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `KEY=VALUE` overrides.

    Raises:
        RecipeError: the file cannot be read, is no YAML, or is no recipe; an override does not fit.
    """
    raw, places = load_yaml(file)
    text = file.read_text(encoding="utf-8")
    if overrides:
        written = dict(places.written)
        for override in overrides:
            _override(raw, override, written)
        places = Places(places.file, written)
        text = f"# {file.name} with {' '.join(overrides)}\n{json.dumps(raw, indent=2)}\n"
    return read_recipe(raw, places, text)


def load_yaml(file: Path) -> tuple[dict[str, Any], Places]:
    """Read a YAML file's mapping, and where each of its keys stands.

    Raises:
        RecipeError: the file cannot be read, is no YAML mapping, or uses a form that YAML misreads.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read", why=str(error), fix="check its path and permissions") from error
    try:
        node = yaml.compose(text, Loader=_LOADER)
        written = dict(_places(node, str(file), ())) if node is not None else {}
        raw = OmegaConf.to_container(OmegaConf.create(text or "{}"))
    except yaml.YAMLError as error:
        raise _syntax_error(file, error) from error
    except OmegaConfBaseException as error:
        where = Places(str(file), written).spell(tuple((error.full_key or "").split(".")))
        raise RecipeError(f"{where}: not in the recipe language", why=str(error), fix="correct it") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{file} is no mapping", why=f"it is a {type(raw).__name__}", fix="write key: value pairs")
    return _plain(raw), Places(str(file), written)


def _places(node: yaml.Node, file: str, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every key's place, and refuse what YAML 1.1 reads otherwise than it looks."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = (*path, str(key.value))
            place = f"{file}:{key.start_mark.line + 1}"
            if key.tag == "tag:yaml.org,2002:bool":
                raise RecipeError(
                    f"{place}: the key {key.value!r} is not a word in YAML",
                    why="unquoted, it is read as true or false",
                    fix=f'quote it: "{key.value}":',
                )
            yield name, place
            yield from _places(value, file, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*path, number), f"{file}:{item.start_mark.line + 1}"
            yield from _places(item, file, (*path, number))
    elif isinstance(node, yaml.ScalarNode) and _is_sexagesimal(node):
        raise RecipeError(
            f"{file}:{node.start_mark.line + 1}: {'.'.join(map(str, path))}: {node.value} is not a time in YAML",
            why=f"it is read as the number {_sexagesimal(node.value)}",
            fix=f"write a duration with its unit ({', '.join(f'90{unit}' for unit in SECONDS)}), or quote the text",
        )


def _is_sexagesimal(node: yaml.ScalarNode) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:int" and ":" in node.value and not node.style)


def _sexagesimal(text: str) -> int:
    total = 0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        total = total * 60 + int(part)
    return total


def _plain(value: Any) -> Any:
    """Make every key text, as names are."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _syntax_error(file: Path, error: yaml.YAMLError) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return RecipeError(f"{file}{line}: this is no YAML", why=problem, fix="correct the line, or the one before it")


def _override(raw: dict[str, Any], override: str, written: dict[KeyPath, str]) -> None:
    """Apply one `KEY=VALUE`: a dotted path into the recipe, an axis to pin, or a param to set."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise _refused(override, "it is not KEY=VALUE", "write for example lr=1e-3 or stages.pretrain.args.lr=1e-3")
    try:
        value = _plain(OmegaConf.to_container(OmegaConf.create(f"value: {text}")))["value"]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise _refused(override, str(error).split("\n", maxsplit=1)[0], "quote the value") from error
    path: KeyPath = tuple(name.split("."))
    if len(path) > 1 or name in ("study", "machine"):
        _set(raw, path, value, override)
    elif axes := list(_axes(raw, name)):
        path = axes[0][0]
        for _, holder in axes:
            holder[name] = _pinned(holder[name], value, override)
    else:
        _known_param(raw, name, override)
        raw.setdefault("params", {})[name] = value
        path = ("params", name)
    written[path] = f"the command line ({override})"


def _set(raw: dict[str, Any], path: KeyPath, value: Any, override: str) -> None:
    holder: Any = raw
    for part in path[:-1]:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        raise _refused(override, f"the recipe has no {'.'.join(map(str, path[:-1]))}", "correct the path")
    holder[path[-1]] = value


def _axes(raw: Mapping[str, Any], name: str) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Find every axis called `name`, in the study's sweep and the stages'."""
    yield from _axes_of(raw.get("sweep"), name, ("sweep",))
    for stage, body in (raw.get("stages") or {}).items():
        if isinstance(body, dict):
            yield from _axes_of(body.get("sweep"), name, ("stages", stage, "sweep"))


def _axes_of(sweep: Any, name: str, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if not isinstance(sweep, dict):
        return
    for key in ("params", "configs"):
        if isinstance(sweep.get(key), dict) and name in sweep[key]:
            yield (*path, key, name), sweep[key]
    for number, group in enumerate(sweep.get("groups") or ()):
        yield from _axes_of(group, name, (*path, "groups", number))


def _pinned(values: Any, value: Any, override: str) -> list[Any]:
    """Keep the axis's one value; a named entry is pinned by its name."""
    named = [entry for entry in (values if isinstance(values, list) else [values]) if isinstance(entry, dict)]
    entries = {name: {name: params} for entry in named for name, params in entry.items()}
    if not entries:
        return [value]
    if str(value) not in entries:
        raise _refused(override, "the axis has no such entry", f"use one of {', '.join(entries)}")
    return [entries[str(value)]]


def _known_param(raw: Mapping[str, Any], name: str, override: str) -> None:
    stages = (body for body in (raw.get("stages") or {}).values() if isinstance(body, dict))
    params = {name for level in (raw, *stages) for name in level.get("params") or {}}
    if name not in params:
        known = ", ".join(sorted(params))
        raise _refused(override, f"the recipe has no param and no axis {name!r}", f"use one of {known}")


def _refused(override: str, why: str, fix: str) -> RecipeError:
    return RecipeError(f"{override!r} cannot be applied to the recipe", why=why, fix=fix)
