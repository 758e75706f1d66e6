"""How a study's trainings scale: runs on different numbers of devices beside each other. Pure.

Rule 1: runs stand on one ladder if they are of one stage, and of the same values on all axes but those that follow from
the number of devices (a zip of `world` and `layers`, say).
Rule 2: the fewest devices are what the others are compared with.
Rule 3: what a step costs is what the log says of it; where it says nothing, samples count, and a note says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from autoexp import scaling
from autoexp.model import JSON
from autoexp.report.results import Results, Run
from autoexp.report.spelling import AXIS_PREFIX, Column, Table
from autoexp.report.spelling import Kind as Spelled
from autoexp.scaling import Kind, Measured

GIB = 1 << 30
BY_SAMPLES = "its log does not tell the operations of a step: its samples are compared, as if the models were the same"


def table(results: Results) -> Table:
    """One row a run, ladder by ladder."""
    ladders = list(of(results.runs))
    axes = dict.fromkeys(name for ladder in ladders for run in ladder for name in run.values)
    return Table(
        name="scaling",
        title="Scaling",
        columns=(
            Column(key="job", title="job", short="job"),
            *(Column(key=f"{AXIS_PREFIX}{name}", title=name, kind=Spelled.AXIS) for name in axes),
            Column(key="devices", title="devices", kind=Spelled.WHOLE, short="devices"),
            Column(key="nodes", title="nodes", kind=Spelled.WHOLE),
            Column(key="samples_per_device", title="samples a device", kind=Spelled.COUNT, short="batch", rank=5),
            Column(key="step_s", title="step, median (s)", kind=Spelled.COUNT, short="step s"),
            Column(key="step_spread_s", title="between quartiles (s)", kind=Spelled.COUNT),
            Column(key="samples_per_s", title="samples/s", kind=Spelled.COUNT, short="samples/s", rank=3),
            Column(key="tokens_per_s", title="tokens/s", kind=Spelled.COUNT),
            Column(key="tflops_per_gpu", title="TFLOP/s per GPU", kind=Spelled.COUNT, short="TFLOP/s", rank=4),
            Column(key="scaling", title="scaling", short="scaling", rank=6),
            Column(key="speedup", title="speed-up", kind=Spelled.SCORE, short="speed-up", rank=2),
            Column(key="efficiency", title="efficiency", kind=Spelled.SCORE, short="efficiency"),
            Column(key="serial_fraction", title="serial fraction", kind=Spelled.SCORE),
            Column(key="peak_memory_gib", title="peak memory, the most (GiB)", kind=Spelled.COUNT, short="GiB", rank=7),
            Column(key="least_memory_gib", title="peak memory, the least (GiB)", kind=Spelled.COUNT),
            Column(key="loss", title="training loss", kind=Spelled.LOSS),
            Column(key="notes", title="notes", kind=Spelled.NOTES),
        ),
        rows=tuple(row for ladder in ladders for row in _rows(ladder)),
        caption=(
            "Each ladder is compared with its fewest devices. Efficiency is the ratio of operations a device and "
            "second: where a step's work stays the same (strong) that is speed-up x N0 / N, where it grows with the "
            "devices (weak) T(N0) / T(N). Where it does neither (mixed) a ratio of times would tell nothing. The "
            "serial fraction is Karp and Flatt's. Steps at the start of an attempt are left out."
        ),
    )


def of(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """List the ladders of a study, each from the fewest devices to the most."""
    for stage in dict.fromkeys(run.stage for run in runs):
        own = [run for run in runs if run.stage == stage and run.devices]
        fixed = _fixed(own)
        groups: dict[tuple[str, ...], list[Run]] = {}
        for run in own:
            groups.setdefault(tuple(repr(run.values.get(name)) for name in fixed), []).append(run)
        for group in groups.values():
            if len({run.devices for run in group}) > 1:
                yield sorted(group, key=lambda run: run.devices)


def _fixed(runs: Sequence[Run]) -> list[str]:
    """List the axes that do not follow from the number of devices."""
    names = dict.fromkeys(name for run in runs for name in run.values)
    return [name for name in names if not _follows(name, runs)]


def _follows(name: str, runs: Sequence[Run]) -> bool:
    seen: dict[int, str] = {}
    return all(seen.setdefault(run.devices, repr(run.values.get(name))) == repr(run.values.get(name)) for run in runs)


def _rows(ladder: Sequence[Run]) -> Iterator[Mapping[str, JSON]]:
    by_samples = not all(any(run.tflops()) for run in ladder if run.step_times())
    measured = {run.job: found for run in ladder if (found := _measured(run, by_samples=by_samples))}
    base = next((measured[run.job] for run in ladder if run.job in measured), None)
    for run in ladder:
        yield {
            **_said(run),
            **_compared(base, measured.get(run.job)),
            "notes": list(_notes(run, by_samples=by_samples)),
        }


def _measured(run: Run, *, by_samples: bool) -> Measured | None:
    times, batch = run.step_times(), run.global_batch_size
    if not times or (by_samples and batch is None):
        return None
    step_s, _ = scaling.middle(times)
    work = float(batch or 0) if by_samples else median(run.tflops()) * 1e12 * step_s * run.devices
    return Measured(devices=run.devices, step_s=step_s, operations=work)


def _said(run: Run) -> dict[str, JSON]:
    times, tflops, batch = run.step_times(), run.tflops(), run.global_batch_size
    step_s, spread = scaling.middle(times) if times else (None, None)
    memory = [peak / GIB for peak in run.peak_memory]
    rates = run.rates()
    return {
        "job": run.job,
        **{f"{AXIS_PREFIX}{name}": value for name, value in run.values.items()},
        "devices": run.devices,
        "nodes": run.nodes,
        "samples_per_device": batch / run.devices if batch else None,
        "step_s": step_s,
        "step_spread_s": spread,
        "samples_per_s": batch / step_s if batch and step_s else None,
        "tokens_per_s": median(rates) if rates else None,
        "tflops_per_gpu": median(tflops) if tflops else None,
        "peak_memory_gib": max(memory, default=None),
        "least_memory_gib": min(memory, default=None),
        "loss": run.final_loss,
    }


def _compared(base: Measured | None, own: Measured | None) -> dict[str, JSON]:
    empty: dict[str, JSON] = dict.fromkeys(("scaling", "speedup", "efficiency", "serial_fraction"))
    if base is None or own is None:
        return empty
    found = scaling.kind((base, own)) if base is not own else None
    strong = found is Kind.STRONG or base is own
    return {
        "scaling": "base" if found is None else found,
        "speedup": scaling.speedup(base, own) if strong else None,
        "efficiency": scaling.efficiency(base, own),
        "serial_fraction": scaling.serial_fraction(base, own) if strong else None,
    }


def _notes(run: Run, *, by_samples: bool) -> Iterator[str]:
    if not run.step_times():
        yield "no step of it was measured"
    elif by_samples:
        yield BY_SAMPLES
    yield from run.problems
