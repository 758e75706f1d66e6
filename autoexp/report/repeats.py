"""Runs of the same point, several times over: what they come to on average, and how sure that is. Pure.

Rule 1: runs repeat each other if they differ in nothing but axes that are called a seed, a repeat or a trial.
Rule 2: a mean has Student's interval for 95 % beside it; one of a single run has none.
Rule 3: a run is measured in full or not at all: the loss of one that did not end well is left out.
"""

from collections.abc import Iterable, Mapping, Sequence

from autoexp import scaling
from autoexp.model import JSON, State
from autoexp.report.numbers import middle
from autoexp.report.results import Results, Run
from autoexp.report.spelling import AXIS_PREFIX, HALF, Column, Kind, Table, without_empty
from autoexp.report.work import repeat

LEAST = 2
MEASURES = {
    "loss": "training loss",
    "held_out_loss": "held-out loss",
    "step_s": "step, median (s)",
    "samples_per_s": "samples/s",
    "tokens_per_s": "tokens/s",
    "tflops_per_gpu": "TFLOP/s per GPU",
    "speedup": "speed-up",
    "efficiency": "efficiency",
}


def table(results: Results, ladders: Table) -> Table:
    """One row for each point that was planned more than once; `ladders` is the table of scaling."""
    compared = {str(row["job"]): row for row in ladders.rows}
    groups = [group for group in _grouped(results.runs) if len(group) >= LEAST]
    axes = dict.fromkeys(name for group in groups for name in _point(group[0]))
    return without_empty(
        Table(
            name="repeats",
            title="Repeats",
            columns=(
                Column(key="stage", title="stage", short="stage"),
                *(Column(key=f"{AXIS_PREFIX}{name}", title=name, kind=Kind.AXIS, short=name) for name in axes),
                Column(key="devices", title="devices", kind=Kind.WHOLE, short="devices"),
                Column(key="repeats", title="repeats", kind=Kind.WHOLE, short="repeats"),
                *(column for number, key in enumerate(MEASURES) for column in _columns(key, number)),
                Column(key="notes", title="notes", kind=Kind.NOTES),
            ),
            rows=tuple(_row(group, results, compared) for group in groups),
            caption=(
                "Means over runs that differ in a seed only, with the interval in which the true mean is in 95 of 100 "
                "cases, by Student's t. Efficiencies and speed-ups are of runs of the same seed."
            ),
        )
    )


def _columns(key: str, number: int) -> Iterable[Column]:
    yield Column(key=key, title=MEASURES[key], kind=Kind.INTERVAL, short=MEASURES[key], rank=len(MEASURES) - number)
    yield Column(key=f"{key}{HALF}", title=f"{MEASURES[key]}, give or take", kind=Kind.COUNT, files_only=True)


def _point(run: Run) -> dict[str, JSON]:
    again = repeat(run.values)
    return {name: value for name, value in run.values.items() if name not in again}


def _grouped(runs: Iterable[Run]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        branch = run.branch.iteration if run.branch else None
        groups.setdefault(repr((run.stage, run.devices, sorted(_point(run).items()), branch)), []).append(run)
    return [group for group in groups.values() if repeat(group[0].values)]


def _row(group: Sequence[Run], results: Results, compared: Mapping[str, Mapping[str, JSON]]) -> dict[str, JSON]:
    one = group[0]
    told = [_told(run, results, compared.get(run.job, {})) for run in group]
    measured: dict[str, JSON] = {}
    for key in MEASURES:
        values = [value for each in told if isinstance(value := each[key], float)]
        several = len(values) >= LEAST
        mean, half = scaling.interval(values) if several else (values[0] if values else None, None)
        measured |= {key: mean, f"{key}{HALF}": half}
    short = sum(run.state is not State.SUCCEEDED for run in group)
    return {
        "stage": one.stage,
        **{f"{AXIS_PREFIX}{name}": value for name, value in _point(one).items()},
        "devices": one.devices,
        "repeats": len(group),
        **measured,
        "notes": [f"{short} of {len(group)} did not succeed: their losses are left out"] if short else [],
    }


def _told(run: Run, results: Results, compared: Mapping[str, JSON]) -> dict[str, JSON]:
    done = run.state is State.SUCCEEDED
    evaluation = run.evaluated(results.measure)
    is_base = compared.get("base") == run.job  # which is 1 by definition, and not by measurement
    return {
        "loss": run.final_loss if done else None,
        "held_out_loss": evaluation.loss if evaluation and done else None,
        "step_s": middle(run.step_times()),
        "samples_per_s": middle(run.sample_rates()),
        "tokens_per_s": middle(run.rates()),
        "tflops_per_gpu": middle(run.tflops()),
        "speedup": None if is_base else compared.get("speedup"),
        "efficiency": None if is_base else compared.get("efficiency"),
    }
