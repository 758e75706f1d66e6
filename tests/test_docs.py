"""The documentation is run: files it shows are written, commands it shows are executed, pictures are compared."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoexp.cli import COMMANDS
from autoexp.diagram import mermaid
from autoexp.lifecycle import accepted
from autoexp.model import State, Verb

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
ON_SLURM = "slurm.md"
"""Its commands need a cluster: tests/slurm works through it."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/.-]+\.(?:yaml|py))\n")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each fenced block with its language."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield found[1], found[2]


def runnable() -> list[Path]:
    pages = (page for page in PAGES if page.name != ON_SLURM)
    return [page for page in pages if any(language == "sh" for language, _ in blocks(page))]


def execute(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a shell block as a reader would, in one shell; whatever it leaves running is ended."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    child = subprocess.Popen(
        ("bash", "-euo", "pipefail", "-c", script),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(script, child.returncode, output)


def work_through(page: Path, folder: Path) -> None:
    """Write the files that a page shows, and run its commands."""
    for language, text in blocks(page):
        named = FILE.match(text)
        if language in ("yaml", "python") and named:
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(text, encoding="utf-8")
        if language == "sh":
            ran = execute(text, folder)
            assert ran.returncode == 0, f"{page.name}: {text}\n{ran.stdout}"


@pytest.mark.parametrize("page", runnable(), ids=lambda page: page.name)
def test_every_command_of_a_page_works(page: Path, tmp_path: Path) -> None:
    work_through(page, tmp_path)


def test_the_readmes_diagram_is_the_table_s() -> None:
    drawn = [text for language, text in blocks(TOP / "README.md") if language == "mermaid"]

    assert drawn == [f"{mermaid()}\n"], "run make diagram, and put its output into README.md"


def test_the_readme_lists_every_command() -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")

    assert [name for name in COMMANDS if f"`autoexp {name}" not in text] == []


def test_the_marker_table_refuses_what_the_lifecycle_refuses() -> None:
    columns: dict[str, list[State]] = {}
    lines = (TOP / "docs" / "markers.md").read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if line.startswith("|")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "verb":
            columns = {cell: [State(word) for word in cell.split(", ")] for cell in cells[1:]}
        for verb in re.findall(r"`(\w+)`", cells[0]) if columns else ():
            for cell, states in zip(cells[1:], columns.values(), strict=True):
                refused = {state for state in states if Verb(verb) not in accepted(state)}
                said = set(states) if cell.startswith("refused") else set()
                exceptions = {"succeeded: refused (restart)": {State.SUCCEEDED}}
                said |= next((extra for text, extra in exceptions.items() if text in cell), set())
                if "unless it is that already" in cell:
                    said |= {State.SUCCEEDED if verb == "succeed" else State.FAILED}
                assert refused == said, f"{verb} in {', '.join(states)}: {cell}"
    assert columns


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []
