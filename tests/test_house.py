"""The house itself: sizes, mirrored tests, and what is imported when."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

TOP = Path(__file__).parent.parent
SOURCES = sorted([*TOP.glob("autoexp/**/*.py"), *TOP.glob("hooks/*.py")])
LONGEST_FUNCTION = 50
LONGEST_MODULE = 400
"""Lines of code: comments, docstrings and blank lines are free."""
SLOW = (
    "torch",
    "numpy",
    "omegaconf",
    "watchdog",
    "structlog",
    "rich",
    "transformers",
    "matplotlib",
    "starlette",
    "uvicorn",
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.fixture(params=SOURCES, ids=name_of)
def source(request: pytest.FixtureRequest) -> Path:
    """One module."""
    path: Path = request.param
    return path


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def code_lines(path: Path) -> set[int]:
    """Number the lines that hold code."""
    empty = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    lines = {line for token in tokens if token.type not in empty for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(parsed(path)):
        if isinstance(node, Definition) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return lines


def test_there_is_something_to_measure() -> None:
    assert {"autoexp/cli.py", "autoexp/commands/plan.py", "hooks/evaluate.py"} <= set(map(name_of, SOURCES))


def test_no_function_is_long(source: Path) -> None:
    functions = [node for node in ast.walk(parsed(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}

    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_no_module_is_long(source: Path) -> None:
    assert len(code_lines(source)) <= LONGEST_MODULE


def test_every_module_says_what_it_is(source: Path) -> None:
    assert ast.get_docstring(parsed(source))


def test_every_module_has_its_test(source: Path) -> None:
    inside = source.relative_to(TOP / "autoexp" if source.is_relative_to(TOP / "autoexp") else TOP)
    tests = TOP / "tests" / inside.parent
    mirrors = {"__init__.py": tests, "__main__.py": tests / "test_cli.py"}

    assert mirrors.get(source.name, tests / f"test_{source.name}").exists()


def test_every_test_has_its_module() -> None:
    of_the_whole = (
        *("crashes", "docs", "house", "kills", "pictures", "recipes", "seam", "security", "strace", "weather", "wheel"),
        *("slow_link", "slurm_demo", "slurm_faults", "slurm_pages"),
    )
    names = {f"test_{what}.py" for what in of_the_whole}
    tests = [path for path in TOP.glob("tests/**/test_*.py") if path.name not in names]
    orphans = []
    for path in tests:
        inside = path.relative_to(TOP / "tests").with_name(path.name.removeprefix("test_"))
        package = inside.parent if inside.stem == inside.parent.name else inside.with_suffix("")
        found = [TOP / "autoexp" / inside, TOP / inside, TOP / "autoexp" / package / "__init__.py"]
        orphans += [] if any(place.exists() for place in found) else [name_of(path)]

    assert orphans == []


# Imports, and what they cost


def imports(path: Path) -> Iterator[str]:
    """Name the packages that a module imports, wherever it does, but for those only types come from."""
    tree = parsed(path)
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {node for block in for_types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_what_reliability_md_names_is_there() -> None:
    promised = (TOP / "docs" / "reliability.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in TOP.glob("tests/**/test_*.py"))
    names, files = re.findall(r"`(?:[\w/.]+::)?(test_\w+)`", promised), re.findall(r"`(tests/[\w/.]+)", promised)

    assert len(names) > 50
    assert [name for name in names if f"def {name}(" not in tests] == []
    assert [name for name in files if not (TOP / name).exists()] == []


def test_the_base_install_has_all_that_the_watcher_imports() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {name.partition(">")[0].replace("pyyaml", "yaml") for name in project["dependencies"]}
    extras = {"trainers": {"torch", "numpy"}, "report": {"matplotlib"}, "conversion": {"numpy", "huggingface_hub"}}
    extras |= {"page": {"starlette"}, "commands/serve.py": {"uvicorn"}}
    extras["importers"] = {"hydra"}
    extras["trainers/hf_finetune.py"] = {"transformers"}
    extras["trainers/finetuning"] = {"transformers", "tokenizers", "accelerate", "datasets"}
    elsewhere = {TOP / "autoexp" / folder: names for folder, names in extras.items()}
    found: dict[str, set[str]] = {}
    for path in TOP.glob("autoexp/**/*.py"):
        foreign = set(imports(path)) - set(sys.stdlib_module_names) - {"autoexp"}
        extra = set().union(*(names for folder, names in elsewhere.items() if path.is_relative_to(folder)))
        for name in foreign - extra:
            found.setdefault(name, set()).add(name_of(path))

    assert {name: paths for name, paths in found.items() if name not in base} == {}
    assert base - found.keys() == set(), "declared, and not imported"


def imported_by(room: "Room", *words: str) -> set[str]:
    """Run a command, and say which slow packages it has imported."""
    script = f"""
import sys
from autoexp import cli
try:
    status = cli.main({list(words)!r}) if {bool(words)} else 0
except SystemExit as ended:
    status = ended.code
assert status == 0, status
print(*(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, **room.settings(timeout=60)
    )
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, make_room: object) -> Iterator["Room"]:
    """A study of one job."""
    with make_room(tmp_path_factory.mktemp("planned")) as room:  # type: ignore[operator]
        room.plan("one: {command: 'true'}\n")
        yield room


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="nothing but the import"),
        ("--help",),
        ("--version",),
        ("plan", "--help"),
        ("simulate", "--help"),
        ("status", "experiments"),
        ("status", "experiments", "--json"),
        ("events", "experiments"),
        ("why", "demo/one"),
        ("replay", "experiments"),
        ("mark", "demo/one", "hold"),
    ],
    ids=" ".join,
)
def test_what_only_looks_is_quick_to_start(planned: "Room", words: tuple[str, ...]) -> None:
    assert imported_by(planned, *words) == set()


def test_planning_needs_no_more_than_the_recipe_s_loader(planned: "Room") -> None:
    assert imported_by(planned, "plan", "demo.yaml", "--dry-run") == {"omegaconf"}


def test_a_study_of_commands_runs_without_any_extra(room: "Room") -> None:
    for name in ("torch", "numpy", "safetensors", "transformers", "matplotlib", "tokenizers"):
        room.write(f"absent/{name}.py", f"raise ImportError('{name} is not installed')\n")
    room.variables = {"PYTHONPATH": f"{room.home / 'absent'}:{room.environment()['PYTHONPATH']}"}
    stages = "  one: {command: 'true'}\n  two: {each: {job: one}, command: 'true'}\n"
    room.write("small.yaml", f"study: small\nmachine: bench\nstages:\n{stages}")

    done = room.run("run", "small.yaml")
    report = room.run("report", "small")

    assert (done.returncode, done.stderr) == (0, "")
    assert report.returncode == 0, report.stderr
