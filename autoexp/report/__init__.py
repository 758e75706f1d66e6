"""The report of a study: tables, plots, and one page with both.

`save` leaves this in the study's report/ folder, each file whole or as it was:

    {runs,checkpoints,cooldowns,scores,scaling,repeats,best,finetuning}.{md,csv}   the tables
    comparison.{md,csv}                            what another study had, if asked for
    report.json                                    all of them, for programs
    {loss,throughput}.{png,svg}                    the plots, where matplotlib is
    {scaling,efficiency,memory,steps}.{png,svg}    those of a study with a scaling table
    report.html                                    everything on one page
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from autoexp import __version__
from autoexp.errors import AutoexpError
from autoexp.files import write_atomically
from autoexp.model import JSON
from autoexp.report import canvas, colors, comparison, html, plots, spelling, tables
from autoexp.report.canvas import Plot
from autoexp.report.evaluations import is_training
from autoexp.report.results import Results, jobs_of, read
from autoexp.report.spelling import Table
from autoexp.studies import Study

FOLDER = "report"
PAGE = "report.html"
MINUTE = "%Y-%m-%d %H:%M UTC"
PLOT_TITLES = {
    "loss": "Loss against training tokens",
    "throughput": "Speed",
    "scaling": "Speed against devices",
    "efficiency": "Efficiency",
    "memory": "Memory by rank",
    "steps": "Times of steps",
}
WITHOUT_PLOTS = f"The plots are missing: matplotlib is not installed ({canvas.HOW_TO_GET})."


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report before it is written."""

    folder: Path
    tables: tuple[Table, ...]
    headlines: tuple[str, ...]
    plots: tuple[Plot, ...]
    html: str
    json: dict[str, JSON]


def has_training(study: Study) -> bool:
    """Say whether a study has training jobs; without them there is nothing to report."""
    jobs, _ = jobs_of(study)
    return any(map(is_training, jobs.values()))


def make(study: Study, var: str | None = None, *, against: Study | None = None) -> Report:
    """Read a study and put its report together.

    Args:
        study: The study.
        var: Where the runtime state is, if not beside the root.
        against: Another study to compare it with.
    """
    results = read(study, var)
    compared = (_compared(results, against, var if against.root == study.root else None),) if against else ()
    made = (*tables.make(results), *compared)
    drawn = _drawn(results)
    said = tables.headlines(results, made)
    at = datetime.now(UTC)
    page = html.Page(
        title=study.name,
        subtitle=f"Training study on machine {study.machine.name}, {at:{MINUTE}}",
        headlines=said if drawn else [*said, WITHOUT_PLOTS],
        sections=_sections(made, drawn),
        facts=_facts(study, at),
        swatches=_swatches(results),
    )
    return Report(
        folder=study.dir / FOLDER,
        tables=made,
        headlines=tuple(page.headlines),
        plots=drawn,
        html=html.render(page),
        json=_json(study, at.isoformat(timespec="seconds"), said, made),
    )


def _compared(results: Results, against: Study, var: str | None) -> Table:
    return comparison.table(results, read(against, var), against.name)


def _drawn(results: Results) -> tuple[Plot, ...]:
    try:
        return tuple(plots.draw(results))
    except ImportError:
        return ()


def save(report: Report) -> Path:
    """Write a report's files; those that an earlier one left and this one lacks are removed rather than mislead.

    Raises:
        AutoexpError: the folder cannot be written to.
    """
    page, files = report.folder / PAGE, _files(report)
    try:
        report.folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(report.folder / name, content, durable=False)
        for name in _possible() - files.keys():
            (report.folder / name).unlink(missing_ok=True)
        write_atomically(page, _bytes(report.html), durable=False)
    except OSError as error:
        raise AutoexpError(
            f"the report cannot be written to {report.folder}", why=str(error), fix="make the folder writable"
        ) from error
    return page


def _possible() -> set[str]:
    """Name the files that not every report has."""
    drawings = {f"{name}.{kind}" for name in PLOT_TITLES for kind in ("png", "svg")}
    return drawings | {"comparison.md", "comparison.csv"}


def _files(report: Report) -> dict[str, bytes]:
    files = {"report.json": _bytes(json.dumps(report.json, indent=1, allow_nan=False) + "\n")}
    for table in report.tables:
        files[f"{table.name}.md"] = _bytes(spelling.as_markdown(table))
        files[f"{table.name}.csv"] = _bytes(spelling.as_csv(table))
    for plot in report.plots:
        files |= {f"{plot.name}.png": plot.png, f"{plot.name}.svg": _bytes(plot.svg)}
    return files


def _bytes(text: str) -> bytes:
    """Encode a text; what no encoding has (half a file name's bytes) becomes a question mark."""
    return text.encode(errors="replace")


def _json(study: Study, at: str, said: list[str], made: tuple[Table, ...]) -> dict[str, JSON]:
    return {
        "v": 1,
        "study": study.name,
        "machine": study.machine.name,
        "provenance": dict(study.provenance or {}),
        "recipe_sha256": study.recipe_sha256,
        "written": at,
        "headlines": list(said),
        **{table.name: spelling.as_json(table) for table in made},
    }


def _sections(made: tuple[Table, ...], drawn: tuple[Plot, ...]) -> list[html.Figure | Table]:
    """Order the page: losses and what came of them, all runs, how fast they are, every checkpoint and score."""
    by_name: Mapping[str, Table] = {
        "table of scaling" if table.name == "scaling" else table.name: table for table in made if table.rows
    }
    figures = {
        plot.name: html.Figure(title=PLOT_TITLES[plot.name], wide=plot.inline, narrow=plot.narrow, caption=plot.caption)
        for plot in drawn
    }
    parts: Mapping[str, html.Figure | Table] = {**by_name, **figures}
    order = (
        *("loss", "comparison", "cooldowns", "runs", "throughput", "scaling", "table of scaling", "efficiency"),
        *("repeats", "best", "memory", "steps", "finetuning", "checkpoints", "scores"),
    )
    return [parts[name] for name in order if name in parts]


def _swatches(results: Results) -> dict[str, tuple[str, bool]]:
    families = results.families()
    return {run.job: (colors.family(families.index(run.family)), run.branch is not None) for run in results.runs}


def _facts(study: Study, at: datetime) -> dict[str, str]:
    planned = study.provenance or {}
    machine = study.machine
    return {
        "study": f"{study.name}, in {study.dir}",
        "machine": f"{machine.name}: {machine.description}" if machine.description else machine.name,
        "recipe": str(planned.get("recipe") or "unknown"),
        "recipe's revision": str(planned.get("revision") or "not under version control"),
        "recipe's SHA-256": study.recipe_sha256 or "unknown",
        "planned with": f"autoexp {planned.get('autoexp') or 'unknown'}",
        "written": f"{at:{MINUTE}}, by autoexp {__version__}",
    }
