"""Recipe files: YAML through OmegaConf's loader, every key with its place.

What a recipe extends lies under it, a variant and then overrides over it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autoexp import folders
from autoexp.axes import Axis, Parts, Unpinned, axes_of
from autoexp.errors import AutoexpError, RecipeError
from autoexp.jobfiles import block
from autoexp.places import COMMAND_LINE, KeyPath, Places
from autoexp.quantities import SECONDS
from autoexp.stages import Recipe, read_recipe

VARIANT = "variant="
DEEPEST_BLOCK = 4
"""How deep the pairs of a changed recipe stand on lines of their own."""
MOST_COPIES = 100_000
"""How many values aliases may add to those that are written."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = Callable[["yaml.Mark | None"], str]
"""Spells where a mark stands: file and line, or the command line."""


def load(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `KEY=VALUE` overrides.

    Raises:
        RecipeError: the file cannot be read, is no YAML, or is no recipe; an override does not fit.
    """
    text = read_text(file)
    raw, places = load_yaml(file)
    is_whole = "extends" not in raw and not overrides
    raw, places = _on_bases(file, raw, places, ())
    asked = [each for each in overrides if each.startswith(VARIANT) and "variants" in raw]
    raw, places = _varied(raw, places, asked)
    written = dict(places.written)
    for override in overrides:
        if override not in asked:
            _override(raw, override, written)
    if not is_whole:
        text = f"# {file.name!a} with {' '.join(map(ascii, overrides))}\n{block(raw, depth=DEEPEST_BLOCK)}"
    return read_recipe(raw, Places(places.file, written), text)


def load_yaml(file: Path) -> tuple[dict[str, Any], Places]:
    """Read a YAML file's mapping, and where each of its keys stands.

    Raises:
        RecipeError: the file cannot be read, is no YAML mapping, or uses a form that YAML misreads.
    """
    return _parse(read_text(file), str(file))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put a mapping over another, key by key; null takes a key of the other away."""
    both = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping):
            both[key] = merged(base[key], over[key])
    return {key: value for key, value in both.items() if value is not None or base.get(key) is None}


def _on_bases(
    file: Path, raw: dict[str, Any], places: Places, above: tuple[Path, ...]
) -> tuple[dict[str, Any], Places]:
    """Put a recipe over those it extends, the last of them over the first; `above` are those that extend it."""
    named = raw.pop("extends", None) or ()
    under: dict[str, Any] = {}
    written: dict[KeyPath, str] = {}
    for name in named if isinstance(named, list | tuple) else [named]:
        path, chain = _base_of(name, file, places), (*above, file.resolve())
        if path.resolve() in chain:
            circle = " -> ".join(each.name for each in (*chain, path))
            fix = "let one of them extend nothing"
            raise places.error(("extends",), f"{name} extends itself", why=f"they go in a circle: {circle}", fix=fix)
        base, base_places = _on_bases(path, *load_yaml(path), chain)
        under, written = merged(under, base), {**written, **base_places.written}
    return merged(under, raw), Places(places.file, {**written, **places.written})


def _base_of(name: object, file: Path, places: Places) -> Path:
    """Find a recipe that is extended: beside the one that does, or by its name among all recipes."""
    if not isinstance(name, str) or not name:
        fix = "write extends: FILE, or a list of files"
        raise places.error(("extends",), f"{name!r} is no recipe", why="a recipe is a file", fix=fix)
    beside = file.parent / name
    if beside.is_file():
        return beside
    if "/" in name or Path(name).suffix:
        fix = "correct the name; it is looked for beside the recipe that extends it"
        raise places.error(("extends",), f"there is no recipe {name}", why=f"{beside} is no file", fix=fix)
    with_place = places.spell(("extends",))
    try:
        return folders.find("recipes", name, ".yaml")
    except AutoexpError as error:
        raise RecipeError(f"{with_place}: {error.what}", why=error.why, fix=error.fix) from error


def _varied(raw: dict[str, Any], places: Places, asked: Sequence[str]) -> tuple[dict[str, Any], Places]:
    """Put the variants that are asked for over a recipe."""
    variants = raw.pop("variants", None) or {}
    if not isinstance(variants, Mapping) or not all(isinstance(each, Mapping) for each in variants.values()):
        why = "each of them is put over the recipe"
        raise places.error(("variants",), "variants are NAME: {...}", why=why, fix="indent each variant's keys")
    for override in asked:
        name = override.removeprefix(VARIANT)
        if name not in variants:
            raise _refused(override, f"the recipe has no variant {name!r}", f"use one of {', '.join(variants)}")
        over = ("variants", name)
        moved = {path[len(over) :]: place for path, place in places.written.items() if path[: len(over)] == over}
        raw, places = merged(raw, variants[name]), Places(places.file, {**places.written, **moved})
    return raw, places


def read_text(file: Path) -> str:
    """Return what stands in a file.

    Raises:
        RecipeError: it cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read", why=str(error), fix="check its path and permissions") from error


def _parse(text: str, file: str, *, has_lines: bool = True) -> tuple[dict[str, Any], Places]:
    written: dict[KeyPath, str] = {}

    def place(mark: yaml.Mark | None) -> str:
        return f"{file}:{mark.line + 1}" if has_lines and mark is not None else file

    try:
        node = yaml.compose(text, Loader=_LOADER)
        if not isinstance(node, yaml.MappingNode | None):
            raise RecipeError(
                f"{place(node.start_mark)}: this is no mapping",
                why=f"it is {node.value!r:.80}" if isinstance(node, yaml.ScalarNode) else "it is a list",
                fix="write key: value pairs",
            )
        if node is not None:
            limit = len(text) + MOST_COPIES
            written |= {(): place(node.start_mark), **dict(islice(_places(node, place, ()), limit))}
            if len(written) > limit:
                why, fix = "its aliases stand for each other, over and over", "write out what is meant"
                raise RecipeError(f"{file} holds more than {limit} values", why=why, fix=fix)
        raw = OmegaConf.to_container(OmegaConf.create(text, max_yaml_expanded_nodes=None)) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _syntax_error(error, place(mark), text[: mark.index + 1] if mark is not None else "") from error
    except OmegaConfBaseException as error:
        where = Places(file, written).spell(tuple((error.full_key or "").split(".")))
        why = str(error).split("\n", maxsplit=1)[0]
        fix = "close each quote and each brace, as in ${calc:'${x} + 1'}; a literal ${ is written \\${"
        raise RecipeError(f"{where}: not in the recipe language", why=why, fix=fix) from error
    except RecursionError as error:
        why = "it is nested too deeply, or one of its aliases leads back"
        raise RecipeError(f"{file} cannot be read", why=why, fix="write it out, and flatter") from error
    except ValueError as error:
        why = str(error).partition(";")[0]
        raise RecipeError(f"{file}: a number cannot be read", why=why, fix="quote it, if it is text") from error
    return _plain(raw), Places(file, written)


def _places(node: yaml.Node, place: Place, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every key's place, and refuse what YAML 1.1 reads otherwise than it looks."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = (*path, str(key.value))
            where = place(key.start_mark)
            if key.tag == "tag:yaml.org,2002:bool":
                raise RecipeError(
                    f"{where}: the key {key.value!r} is not a word in YAML",
                    why="unquoted, it is read as true or false",
                    fix=f'quote it: "{key.value}":',
                )
            yield name, where
            yield from _places(value, place, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*path, number), place(item.start_mark)
            yield from _places(item, place, (*path, number))
    elif isinstance(node, yaml.ScalarNode) and _is_sexagesimal(node):
        raise RecipeError(
            f"{place(node.start_mark)}: {'.'.join(map(str, path))}: {node.value} is not a time in YAML",
            why=f"it is read as the number {_sexagesimal(node.value):g}",
            fix=f"write a duration with its unit ({', '.join(f'90{unit}' for unit in SECONDS)}), or quote the text",
        )


def _is_sexagesimal(node: yaml.ScalarNode) -> bool:
    numbers = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    return bool(node.tag in numbers and ":" in node.value and not node.style)


def _sexagesimal(text: str) -> float:
    total = 0.0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        total = total * 60 + float(part)
    return total


def _plain(value: Any) -> Any:
    """Make every key text, as names are."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _syntax_error(error: yaml.YAMLError, where: str, read: str) -> RecipeError:
    problem = getattr(error, "problem", None) or str(error)
    if problem.startswith("found duplicate key"):
        name = problem.removeprefix("found duplicate key").strip()
        return RecipeError(f"{where}: {name} is defined twice", why="one of the two would be lost", fix="remove one")
    fix = "correct the line, or the one before it"
    if read.endswith("\t"):
        fix = "indent by spaces: YAML takes no tabs"
    if read.endswith("${") and "expected ',' or " in problem:  # the brace after it begins a mapping, for YAML
        fix = "quote what holds ${...} between { } or [ ]: {x: \"${calc:'1 + 2'}\"}"
    return RecipeError(f"{where}: this is no YAML", why=problem, fix=fix)


def _override(raw: dict[str, Any], override: str, written: dict[KeyPath, str]) -> None:
    """Apply one `KEY=VALUE`: a dotted path into the recipe, an axis to pin, or a param to set."""
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        raise _refused(override, "it is not KEY=VALUE", "write for example lr=1e-3 or stages.pretrain.args.lr=1e-3")
    said, _ = _parse(f"{json.dumps(name)}: {text}", f"{COMMAND_LINE} ({override})", has_lines=False)
    if list(said) != [name]:
        raise _refused(override, "it holds more than one value", "quote the value")
    value, places = said[name], []
    if "." in name or name in ("study", "machine"):
        places = [_set(raw, name.split("."), value, override)]
    elif found := list(_axes(raw, name)):
        for parts, axes in found:
            try:
                _pin(parts, axes, value, written, f"{COMMAND_LINE} ({override})")
            except Unpinned as error:
                raise _refused(override, error.why, error.fix) from error
    else:
        for path, holder in _params(raw, name, override):
            holder[name] = value
            places.append(path)
    for path in places:
        written[path] = f"{COMMAND_LINE} ({override})"


def _pin(parts: Parts, axes: list[Axis], value: Any, written: dict[KeyPath, str], place: str) -> None:
    """Pin an axis of one sweep; of several groups that have it, those stay that have the value, if any does."""
    having = [axis for axis in axes if axis.has(value)] or axes
    if len(axes) > 1 and len(having) == len(axes) and all(axis.is_named for axis in axes):
        entries = dict.fromkeys(label for axis in axes for label in axis.labels)
        if str(value) not in entries:
            raise Unpinned("the axis has no such entry", f"use one of {', '.join(entries)}")
    for axis in having:
        for path, kept in axis.pin(value):
            _shorten(written, path, kept)
        written[axis.path] = place
    for axis in reversed([axis for axis in axes if axis not in having]):
        for path, kept in parts.without(axis):
            _shorten(written, path, kept)


def _shorten(written: dict[KeyPath, str], path: KeyPath, kept: list[int]) -> None:
    """Let what is left of a list be found where it was written."""
    depth = len(path)
    below = {each: place for each, place in written.items() if len(each) > depth and each[:depth] == path}
    for each in below:
        del written[each]
    for each, place in below.items():
        written |= {(*path, n, *each[depth + 1 :]): place for n, old in enumerate(kept) if each[depth] == old}


def _set(raw: dict[str, Any], parts: Sequence[str], value: Any, override: str) -> KeyPath:
    """Set what a dotted path leads to; below a stage, what is missing on the way is made."""
    holder: Any = raw
    path: KeyPath = ()
    for depth, part in enumerate(parts):
        is_item = isinstance(holder, list) and part.isdecimal() and int(part) < len(holder)
        if not isinstance(holder, dict) and not is_item:
            raise _refused(override, f"the recipe has no {'.'.join(parts[:depth])}", "correct the path")
        key = int(part) if is_item else part
        path = (*path, key)
        if depth == len(parts) - 1:
            holder[key] = value
        elif isinstance(holder, dict) and depth > 1 and holder.get(part) is None:
            holder[part] = {}
        holder = holder[key] if is_item else holder.get(part)
    return path


def _params(raw: dict[str, Any], name: str, override: str) -> list[tuple[KeyPath, dict[str, Any]]]:
    """Find the params called `name`, the study's and the stages'."""
    stages = ((("stages", stage), body) for stage, body in (raw.get("stages") or {}).items() if isinstance(body, dict))
    levels = [((*path, "params"), level.get("params") or {}) for path, level in [((), raw), *stages]]
    found: list[tuple[KeyPath, dict[str, Any]]] = [((*path, name), params) for path, params in levels if name in params]
    if not found:
        known = sorted({known for _, params in levels for known in params} | {axis.name for axis in _every_axis(raw)})
        near = get_close_matches(name, known, n=1)
        fix = f"use one of {', '.join(known)}" if known else "use a dotted path"
        fix = f"did you mean {near[0]}?" if near else fix
        if override.startswith(VARIANT):
            raise _refused(override, "the recipe has no variants", "remove it, or write variants: {NAME: {...}}")
        what = f"no param and no axis {name!r}"
        raise _refused(override, f"the recipe has {what}", fix)
    return found


def _axes(raw: Mapping[str, Any], name: str) -> Iterator[tuple[Parts, list[Axis]]]:
    """Find every axis called `name`, in the study's sweep and the stages'."""
    for path, sweep in _sweeps(raw):
        if axes := [axis for axis in axes_of(sweep, path) if axis.name == name]:
            yield Parts(sweep, path), axes


def _every_axis(raw: Mapping[str, Any]) -> Iterator[Axis]:
    return (axis for path, sweep in _sweeps(raw) for axis in axes_of(sweep, path))


def _sweeps(raw: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    yield ("sweep",), raw.get("sweep")
    for stage, body in (raw.get("stages") or {}).items():
        if isinstance(body, dict):
            yield ("stages", stage, "sweep"), body.get("sweep")


def _refused(override: str, why: str, fix: str) -> RecipeError:
    return RecipeError(f"{override!r} cannot be applied to the recipe", why=why, fix=fix)
