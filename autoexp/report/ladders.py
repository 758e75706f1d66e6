"""How a study's trainings scale: runs beside each other that differ in devices, or in how they use them. Pure.

Rule 1: runs stand on one ladder if they are of one stage, and of the same values on all axes but those that follow from
the number of devices (a zip of `world` and `layers`, say). Runs on no ladder stand beside each other if they do the
same work in different layouts (strategies of sharing, TP x EP).
Rule 2: the fewest devices are what the others are compared with, the first in the plan of several. What does the same
work in another stage, on fewer devices or before them, is that for them too: a baseline of a single GPU.
Rule 3: what a step costs is what the log says of it; where it says nothing, samples count, and a note says so unless
their work is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from autoexp import scaling
from autoexp.model import JSON, State
from autoexp.report.numbers import middle
from autoexp.report.results import Results, Run
from autoexp.report.spelling import AXIS_PREFIX, Column, Table, without_empty
from autoexp.report.spelling import Kind as Spelled
from autoexp.report.work import of_a_sample, repeat
from autoexp.scaling import Kind, Measured

GIB = 1 << 30
BY_SAMPLES = "its log does not tell the operations of a step: its samples are compared, as if the models were the same"
EMPTY: Mapping[str, JSON] = dict.fromkeys(
    ("base", "scaling", "samples_factor", "runtime_factor", "memory_factor", "speedup", "efficiency", "serial_fraction")
)


def table(results: Results) -> Table:
    """One row a run, ladder by ladder; a base that several have stands there once."""
    ladders = list(of(results.runs))
    found: dict[tuple[object, ...], Mapping[str, JSON]] = {}
    for row in (row for ladder in ladders for row in rows(ladder)):
        found.setdefault((row["job"], row["base"]), row)
    axes = dict.fromkeys(name for ladder in ladders for run in ladder for name in run.values)
    several = len({row["base"] for row in found.values() if row["base"]}) > 1
    return without_empty(
        Table(
            name="scaling",
            title="Scaling",
            columns=tuple(_columns(axes, several=several)),
            rows=tuple(found.values()),
            caption=(
                "Each run is compared with the fewest devices that do its work. Efficiency is the ratio of operations "
                "a device and second: where a step's work stays the same (strong) that is speed-up x N0 / N, where it "
                "grows with the devices (weak) T(N0) / T(N). Where it does neither (mixed) a ratio of times would tell "
                "nothing. The serial fraction is Karp and Flatt's. A training's whole time compares where all of its "
                "work is the same: it has its start, its evaluations and its saves in it. Steps at the start of an "
                "attempt are left out of everything else."
            ),
        )
    )


def _columns(axes: Iterable[str], *, several: bool) -> Iterator[Column]:
    """List the columns; those that no run has a value for are for programs."""
    number, share = Spelled.COUNT, Spelled.SCORE
    yield Column(key="job", title="job", short="job")
    yield from (Column(key=f"{AXIS_PREFIX}{name}", title=name, kind=Spelled.AXIS) for name in axes)
    yield Column(key="devices", title="devices", kind=Spelled.WHOLE, short="devices")
    yield Column(key="nodes", title="nodes", kind=Spelled.WHOLE)
    yield Column(key="samples_per_device", title="samples a device", kind=number, short="batch", rank=5)
    yield Column(key="step_s", title="step, median (s)", kind=number, short="step s", rank=1)
    yield Column(key="step_spread_s", title="between quartiles (s)", kind=number, below=True)
    yield Column(key="samples_per_s", title="samples/s", kind=number, short="samples/s", rank=3)
    yield Column(key="tokens_per_s", title="tokens/s", kind=number)
    yield Column(key="tflops_per_gpu", title="TFLOP/s per GPU", kind=number, short="TFLOP/s", rank=4)
    yield Column(key="mfu", title="MFU", kind=share)
    yield Column(key="base", title="compared with", files_only=not several)
    yield Column(key="scaling", title="scaling", short="scaling", rank=6)
    yield Column(key="samples_factor", title="samples/s, times", kind=share, below=True)
    yield Column(key="speedup", title="speed-up", kind=share, short="speed-up", rank=2)
    yield Column(key="efficiency", title="efficiency", kind=share, short="efficiency")
    yield Column(key="serial_fraction", title="serial fraction", kind=share)
    yield Column(key="state", title="state", below=True)
    yield Column(key="parameters", title="parameters", kind=number, below=True)
    yield Column(key="loss", title="training loss", kind=Spelled.LOSS, below=True)
    yield Column(
        key="peak_memory_gib", title="peak memory, the most (GiB)", kind=number, short="GiB", rank=7, below=True
    )
    yield Column(key="least_memory_gib", title="peak memory, the least (GiB)", kind=number, below=True)
    yield Column(key="memory_factor", title="memory, times", kind=share, below=True)
    yield Column(key="reserved_memory_gib", title="reserved, the most (GiB)", kind=number, below=True)
    yield Column(key="held_gib", title="parameters held, the most (GiB)", kind=number, below=True)
    yield Column(key="gpu_busy_percent", title="GPU busy (%)", kind=number, below=True)
    yield Column(key="runtime_s", title="whole time (s)", kind=number, below=True)
    yield Column(key="runtime_factor", title="whole time, times faster", kind=share, below=True)
    yield Column(key="told_runtime_s", title="training (s), as the Trainer says", kind=number, below=True)
    yield Column(key="told_samples_per_s", title="samples/s, as the Trainer says", kind=number, below=True)
    yield Column(key="notes", title="notes", kind=Spelled.NOTES)


def of(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """List what is compared, each from the fewest devices to the most."""
    place = {run.job: number for number, run in enumerate(runs)}
    by_work: dict[str, list[Run]] = {}
    for run in runs:
        by_work.setdefault(work_of(run), []).append(run)
    for stage in _grouped(runs, lambda run: run.stage):
        for group in _of_stage([run for run in sorted(stage, key=lambda run: place[run.job]) if run.devices]):
            same = by_work[work_of(group[0])] if len(set(map(work_of, group))) == 1 else []
            first = min(place[run.job] for run in group)
            base = _elsewhere(group, [run for run in same if place[run.job] < first])
            compared = [base, *group] if base else group
            if len({(run.devices, *run.layout.items()) for run in compared}) > 1:
                yield compared


def _of_stage(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Group a stage's runs: on ladders, and what is left by the work they do."""
    left = list(runs)
    for ladder in _grouped(runs, _steps_of(runs)):
        if len({run.devices for run in ladder}) > 1:
            yield ladder
            jobs = {run.job for run in ladder}
            left = [run for run in left if run.job not in jobs]
    yield from _grouped(left, lambda run: (work_of(run), repr(repeat(run.values))))


def work_of(run: Run) -> str:
    """Name what a run does, however it is laid out; one whose arguments do not tell does what its stage does."""
    return repr(sorted(run.work.items()) or run.stage)


def _grouped(runs: Iterable[Run], key: Callable[[Run], object]) -> list[list[Run]]:
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return [sorted(group, key=lambda run: run.devices) for group in groups.values()]


def _elsewhere(group: Sequence[Run], earlier: Iterable[Run]) -> Run | None:
    """Find the run of another stage that a group is to be compared with, of those that do its work before it."""
    fewest = group[0].devices
    most = fewest - (group[-1].devices > fewest)  # a ladder has a base of its own, unless there are fewer elsewhere
    fit = (run for run in earlier if run.stage != group[0].stage and 0 < run.devices <= most)
    return min(fit, key=lambda run: run.devices, default=None)


def _steps_of(runs: Sequence[Run]) -> Callable[[Run], object]:
    """Tell ladders apart: by the words on their axes first, then by the numbers that do not follow from the devices."""
    names = list(dict.fromkeys(name for run in runs for name in run.values))
    words = [
        name
        for name in names
        if any(not _is_number(run.values.get(name, 0)) for run in runs) and not _follows(name, runs, alone=True)
    ]
    by_words: dict[object, list[Run]] = {}
    for run in runs:
        by_words.setdefault(_values(run, words), []).append(run)
    fixed = {
        key: [*words, *(name for name in names if name not in words and not _follows(name, group))]
        for key, group in by_words.items()
    }
    return lambda run: _values(run, fixed[_values(run, words)])


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(run: Run, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}={run.values.get(name)!r}" for name in names)


def _follows(name: str, runs: Sequence[Run], *, alone: bool = False) -> bool:
    """Say whether an axis has one value for each number of devices; `alone`: and each for one number only."""
    pairs = {(run.devices, repr(run.values.get(name))) for run in runs}
    devices, values = {number for number, _ in pairs}, {value for _, value in pairs}
    return len(pairs) == len(devices) and (len(values) == len(pairs) or not alone)


def rows(ladder: Sequence[Run]) -> Iterator[dict[str, JSON]]:
    """Compare the runs of a ladder, which is as `of` lists it."""
    by_samples = not all(any(run.tflops()) for run in ladder if run.sample_rates() or run.tflops())
    measured = {run.job: found for run in ladder if (found := _measured(run, by_samples=by_samples))}
    base = next((run for run in ladder if run.job in measured), None)
    as_if_the_same = by_samples and len({repr(sorted(of_a_sample(run.work).items())) for run in ladder}) > 1
    for run in ladder:
        compared = _compared(base, run, measured) if base and run.job in measured else {}
        other = _other_model(base, run) if compared and base else ""
        yield {
            **_said(run),
            **EMPTY,
            **(compared | dict.fromkeys(("efficiency", "samples_factor", "memory_factor")) if other else compared),
            "notes": [*_notes(run, as_if_the_same=as_if_the_same and not other), *filter(None, [other])],
        }


def _other_model(base: Run, run: Run) -> str:
    """Say that a run does something else than its base by the words on its axes: a step of that tells nothing."""
    if of_a_sample(run.work) == of_a_sample(base.work):
        return ""
    named = [name for name, value in run.values.items() if isinstance(value, str) and value != base.values.get(name)]
    said = ", ".join(f"{name} {run.values[name]}" for name in named)
    return f"{said} does other work than {base.job}, so no efficiency compares the two" if named else ""


@dataclass(frozen=True, slots=True)
class _Pace:
    """What a run is compared by."""

    step: Measured
    is_timed: bool
    """Its step's time is known; otherwise a second stands for the step, and only rates compare."""


def _measured(run: Run, *, by_samples: bool) -> _Pace | None:
    times, tflops, samples = run.step_times(), run.tflops(), run.sample_rates()
    step_s = scaling.middle(times)[0] if times else 1.0
    if by_samples and not samples:
        return None
    if not by_samples and not any(tflops):
        return None
    rate = median(samples) if by_samples else median(tflops) * 1e12 * run.devices
    return _Pace(Measured(devices=run.devices, step_s=step_s, operations=rate * step_s), is_timed=bool(times))


def _said(run: Run) -> dict[str, JSON]:
    times, tflops, batch, metrics = run.step_times(), run.tflops(), run.global_batch_size, run.metrics
    step_s, spread = scaling.middle(times) if times else (None, None)
    rates, samples = run.rates(), run.sample_rates()
    return {
        "job": run.job,
        **{f"{AXIS_PREFIX}{name}": value for name, value in run.values.items()},
        "state": run.state,
        "devices": run.devices,
        "nodes": run.nodes,
        "samples_per_device": batch * run.devices_a_copy / run.devices if batch else None,
        "parameters": metrics.parameters,
        "step_s": step_s,
        "step_spread_s": spread,
        "samples_per_s": middle(samples),
        "told_samples_per_s": metrics.said.get("train_samples_per_second"),
        "tokens_per_s": middle(rates),
        "tflops_per_gpu": middle(tflops),
        "mfu": run.mfu,
        "gpu_busy_percent": run.busy_percent,
        "peak_memory_gib": _gib(max(run.peak_memory, default=None)),
        "least_memory_gib": _gib(min(run.peak_memory, default=None)),
        "reserved_memory_gib": _gib(max(metrics.reserved, default=None)),
        "held_gib": _gib(max(metrics.held, default=None)),
        "loss": run.final_loss,
        "runtime_s": run.runtime_s,
        "told_runtime_s": metrics.said.get("train_runtime"),
    }


def _gib(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else size_bytes / GIB


def _compared(base: Run, run: Run, measured: Mapping[str, _Pace]) -> dict[str, JSON]:
    one, own = measured[base.job], measured[run.job]
    is_timed = one.is_timed and own.is_timed
    found = scaling.kind((one.step, own.step))
    strong = is_timed and found is Kind.STRONG
    return {
        "base": base.job,
        "scaling": "base" if run is base else found if is_timed else None,
        "samples_factor": _ratio(middle(run.sample_rates()), middle(base.sample_rates())),
        "runtime_factor": _faster(base, run, measured),
        "memory_factor": _ratio(max(run.peak_memory, default=None), max(base.peak_memory, default=None)),
        "speedup": scaling.speedup(one.step, own.step) if strong else None,
        "efficiency": scaling.efficiency(one.step, own.step),
        "serial_fraction": scaling.serial_fraction(one.step, own.step) if strong else None,
    }


def _ratio(own: float | None, base: float | None) -> float | None:
    return own / base if own is not None and base else None


def _faster(base: Run, run: Run, measured: Mapping[str, _Pace]) -> float | None:
    """Compare what two trainings took as a whole, if they are over and came to the same."""
    whole = [
        replace(measured[each.job].step, step_s=each.runtime_s, operations=measured[each.job].step.operations * steps)
        for each in (base, run)
        if each.state is State.SUCCEEDED
        and each.runtime_s
        and (steps := each.iteration)
        and measured[each.job].is_timed
    ]
    same = len(whole) == 2 and scaling.kind(whole) is Kind.STRONG  # noqa: PLR2004 - both of them
    return scaling.speedup(*whole) if same else None


def _notes(run: Run, *, as_if_the_same: bool) -> Iterator[str]:
    if run.shortfall:
        yield run.shortfall
    if run.lost and run.runtime_s is not None:
        numbers = ", ".join(str(attempt.number) for attempt in run.lost)
        yield f"attempt {numbers} did not say when it ended: the whole time counts up to the last that it wrote"
    if not run.step_times() and not run.sample_rates() and not run.tflops():
        yield from run.problems or ("no step of it was measured",)
    elif as_if_the_same:
        yield BY_SAMPLES
