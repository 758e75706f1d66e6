"""Write a study's report: tables (md, csv, json), plots (png, svg), and report.html with all of it.

It may be asked for at any time: what is still running or missing is shown as that.

  autoexp report demo
  autoexp report experiments/demo --html demo.html
  autoexp report demo --against demo-before
  autoexp report demo --json | jq '.cooldowns[] | {job, difference}'
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from autoexp import lease, report, studies, targets
from autoexp.commands import tell
from autoexp.errors import AutoexpError
from autoexp.files import write_atomically
from autoexp.model import JSON
from autoexp.report import Report
from autoexp.report.spelling import Kind, Table, as_lines
from autoexp.studies import Study

WIDTH = 100
"""Columns to fit into, unless the terminal has more."""
LONG = ("checkpoints", "scores")
"""Tables with rows for every checkpoint are left to the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp report`."""
    parser.add_argument("study", metavar="STUDY", help="a study's name under the root, or its directory")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the page here too")
    parser.add_argument("--against", metavar="STUDY", help="compare it with this study, job by job")
    parser.add_argument("--root", metavar="DIR", help="the experiments folder")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")
    parser.add_argument("--json", action="store_true", help="print report.json")


def run(arguments: argparse.Namespace) -> int:
    """Read, write the files, and print; safe beside a watcher."""
    target = targets.find(arguments.study, arguments.root, job=False, study=True)
    lease.var_of(target.root, arguments.var)  # another runtime folder than the root's own is refused
    made = report.make(studies.load(target.dir), arguments.var, against=_against(arguments))
    report.save(made)
    if arguments.html:
        _write_page(arguments.html, made.html)
    print(json.dumps(made.json) if arguments.json else "\n".join(_text(made, arguments.html)))
    return 0


def _against(arguments: argparse.Namespace) -> Study | None:
    if not arguments.against:
        return None
    return studies.load(targets.find(arguments.against, arguments.root, job=False, study=True).dir)


def conclude(study: Study, var: str | None = None) -> None:
    """Write and print the report of a study that is done; one without training jobs has nothing to report."""
    if report.has_training(study):
        made = report.make(study, var)
        report.save(made)
        tell("\n".join(_text(made, None)))


def _write_page(path: Path, page: str) -> None:
    try:
        write_atomically(path, page, durable=False)
    except OSError as error:
        raise AutoexpError(f"{path} cannot be written", why=str(error), fix="choose another FILE") from error


def _text(made: Report, page: Path | None) -> Iterator[str]:
    width = max(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    for table in made.tables:
        if table.name not in LONG and table.rows:
            yield from (f"{table.title}:", *as_lines(table, width), *_notes(table), "")
    yield from made.headlines
    yield f"page: {_short(made.folder / report.PAGE)}" + (f", and {page}" if page else "")
    yield f"beside it: {', '.join(_names(made))}"


def _notes(table: Table) -> Iterator[str]:
    for row in table.rows:
        notes = row["notes"]
        if isinstance(notes, list) and notes:
            yield f"  {row.get('job') or _group(table, row)}: {'; '.join(map(str, notes))}"


def _group(table: Table, row: Mapping[str, JSON]) -> str:
    """Name a row of several jobs by what they have in common."""
    axes = (f"{column.title}={row[column.key]}" for column in table.columns if column.kind is Kind.AXIS)
    return " ".join((str(row["stage"]), *axes))


def _names(made: Report) -> Iterator[str]:
    yield "report.json"
    yield f"{{{','.join(table.name for table in made.tables)}}}.{{md,csv}}"
    if made.plots:
        yield f"{{{','.join(plot.name for plot in made.plots)}}}.{{png,svg}}"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
