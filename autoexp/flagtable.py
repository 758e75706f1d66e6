"""Make autoexp/flags/megatron.py, the flags that Megatron-LM knows, from its sources, which are read and never run.

  python -m autoexp.flagtable MEGATRON [MEGATRON ...] > autoexp/flags/megatron.py

MEGATRON is the folder of a checkout, or the one that `megatron` is installed in; of several, what any of them knows.
Its parser is made of plain calls of add_argument, and of dataclasses each of whose fields is a flag.
"""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

PARSERS = ("megatron/training/arguments.py", "megatron/post_training/arguments.py", "megatron/arguments.py")
"""Where pretrain_gpt.py's flags are declared, now and formerly."""
CONFIGS = ("megatron/core/*.py", "megatron/core/transformer/**/*.py", "megatron/training/**/*.py")
"""Where the dataclasses stand."""
FACTORY = "ArgumentGroupFactory"
Classes = Mapping[str, ast.ClassDef]


def flags_of(parser: ast.Module, classes: Classes) -> Iterator[str]:
    """List the flags that a parser's source declares."""
    lists = {
        target.id: node.value
        for node in ast.walk(parser)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.List)
    }
    for node in ast.walk(parser):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [text for text in texts(node.args) if text.startswith("--")]
            both = any(ast.unparse(key.value).endswith("BooleanOptionalAction") for key in node.keywords)
            yield from (*names, *(f"--no-{name.removeprefix('--')}" for name in names if both))
        if isinstance(node.func, ast.Name) and node.func.id == FACTORY and isinstance(node.args[0], ast.Name):
            given = next((keyword.value for keyword in node.keywords if keyword.arg == "exclude"), None)
            excluded = lists.get(given.id) if isinstance(given, ast.Name) else given
            left_out = set(texts(excluded.elts)) if isinstance(excluded, ast.List) else set()
            fields = fields_of(node.args[0].id, classes)
            yield from (flag for name, field in fields.items() if name not in left_out for flag in spelled(name, field))


def texts(nodes: Sequence[ast.expr]) -> Iterator[str]:
    """List those of some expressions that are texts."""
    yield from (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def fields_of(name: str, classes: Classes) -> dict[str, ast.AnnAssign]:
    """List the fields of a dataclass by name, those that it inherits first."""
    found: dict[str, ast.AnnAssign] = {}
    if name in classes:
        for base in classes[name].bases:
            found |= fields_of(base.id, classes) if isinstance(base, ast.Name) else {}
        for node in classes[name].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = node
    return found


def spelled(name: str, field: ast.AnnAssign) -> Iterator[str]:
    """Spell a field as flags: as its metadata says, else by its name; a switch that is on by default is turned off."""
    kind, options = ast.unparse(field.annotation), keywords(field.value)
    if kind.startswith("ClassVar") or ast.unparse(options.get("init", ast.Constant(value=True))) == "False":
        return
    named = [node for key, node in _items(options.get("metadata")) if key == "arg_names"]
    if named and isinstance(named[0], ast.List | ast.Tuple):
        yield from texts(named[0].elts)
        return
    default = options.get("default", field.value)
    is_switch = kind in ("bool", "Optional[bool]", "bool | None")
    is_off = isinstance(default, ast.Constant) and default.value is False
    flag = name.replace("_", "-")
    yield from (f"--no-{flag}", f"--disable-{flag}") if is_switch and not is_off else (f"--{flag}",)


def keywords(value: ast.expr | None) -> dict[str, ast.expr]:
    """Return what is given to `field(...)`; nothing for other values."""
    return {key.arg: key.value for key in value.keywords if key.arg} if isinstance(value, ast.Call) else {}


def _items(node: ast.expr | None) -> Iterator[tuple[object, ast.expr]]:
    """List the entries of a mapping, and those of the mappings in it."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield (key.value if isinstance(key, ast.Constant) else None), value
            yield from _items(value)


def version_of(top: Path) -> str:
    """Say which version a folder holds."""
    found = ast.parse((top / "megatron/core/package_info.py").read_text(encoding="utf-8"))
    numbers = {
        target.id: str(node.value.value)
        for node in found.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return ".".join(numbers[name] for name in ("MAJOR", "MINOR", "PATCH"))


def read(top: Path) -> set[str]:
    """List the flags that a version knows."""
    classes: dict[str, ast.ClassDef] = {}
    for path in sorted({path for pattern in CONFIGS for path in top.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        nodes = ast.parse(text).body if "dataclass" in text else []
        classes |= {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    parsers = (top / name for name in PARSERS)
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in parsers if path.is_file()]
    return {flag for tree in trees for flag in flags_of(tree, classes)}


def module(versions: Sequence[str], flags: set[str]) -> str:
    """Write the table as a Python module."""
    lines = "\n".join(wrap(" ".join(sorted(flag.removeprefix("--") for flag in flags)), 116, break_on_hyphens=False))
    told = " to ".join(dict.fromkeys((versions[0], versions[-1])))
    return f'''"""The flags of pretrain_gpt.py, without dashes, by `python -m autoexp.flagtable`. Pure."""

VERSIONS = "{told}"
FLAGS = frozenset(
    """
{lines}
""".split()  # noqa: SIM905 - a line for each would be a thousand
)
'''


def main(tops: Sequence[str]) -> int:
    """Write the table of these folders."""
    if not tops:
        sys.stderr.write(f"{__doc__}")
        return 2
    folders = [Path(top) for top in tops]
    ordered = sorted((version_of(top) for top in folders), key=lambda version: [int(n) for n in version.split(".")])
    sys.stdout.write(module(ordered, {flag for top in folders for flag in read(top)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
