"""The fastest configuration for each number of devices, where a study tried several. Pure."""

from collections.abc import Callable, Iterator
from statistics import median

from autoexp.model import JSON
from autoexp.report.ladders import GIB, work_of
from autoexp.report.results import Results, Run
from autoexp.report.spelling import AXIS_PREFIX, Column, Kind, Table, without_empty


def table(results: Results) -> Table:
    """One row for each work and number of devices that several layouts were tried on.

    Where the arguments tell nothing, as with programs that read a file, the axes' values stand for the layout.
    """
    found = [(tried, speeds) for tried in _tried(results) if (speeds := _speeds(tried))]
    best = {max(speeds, key=lambda job: speeds[job]) for _, speeds in found}
    axes = dict.fromkeys(name for tried, _ in found for run in tried if run.job in best for name in run.values)
    count = Kind.COUNT
    return without_empty(
        Table(
            name="best",
            title="The fastest for each number of devices",
            columns=(
                Column(key="job", title="job", short="job"),
                Column(key="devices", title="devices", kind=Kind.WHOLE, short="devices"),
                Column(key="nodes", title="nodes", kind=Kind.WHOLE),
                *(Column(key=f"{AXIS_PREFIX}{name}", title=name, kind=Kind.AXIS) for name in axes),
                Column(key="samples_per_s", title="samples/s", kind=count, short="samples/s"),
                Column(key="tokens_per_s", title="tokens/s", kind=count, short="tok/s", rank=2),
                Column(key="tflops_per_gpu", title="TFLOP/s per GPU", kind=count, short="TFLOP/s", rank=3),
                Column(key="mfu", title="MFU", kind=Kind.SCORE, short="MFU", rank=4),
                Column(key="peak_memory_gib", title="peak memory, the most (GiB)", kind=count, short="GiB", rank=5),
                Column(key="ahead", title="ahead of the next", kind=Kind.SCORE),
                Column(key="measured", title="measured", kind=Kind.WHOLE),
                Column(key="tried", title="planned", kind=Kind.WHOLE),
                Column(key="notes", title="notes", kind=Kind.NOTES),
            ),
            rows=tuple(_row(tried, speeds) for tried, speeds in found),
            caption=(
                "Of the runs that do the same work on as many devices, the one of most operations a second; where logs "
                "do not tell those, by MFU, tokens or samples. How far it is ahead of the next is the ratio of the two."
            ),
        )
    )


def _tried(results: Results) -> Iterator[list[Run]]:
    """Group runs by work and devices, where their layouts differ; the fewest devices first within each work."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in results.runs:
        groups.setdefault((work_of(run), run.devices), []).append(run)
    works = {work: place for place, work in enumerate(dict.fromkeys(work for work, _ in groups))}
    for _, group in sorted(groups.items(), key=lambda item: (works[item[0][0]], item[0][1])):
        if len({repr(run.layout if run.work else run.values) for run in group}) > 1:
            yield group


_MEASURES: tuple[Callable[[Run], list[float]], ...] = (
    Run.tflops,
    lambda run: [run.mfu] if run.mfu else [],
    Run.rates,
    Run.sample_rates,
)
"""What tells best how fast a run is comes first: the length of samples may differ, and that of a step."""


def _speeds(tried: list[Run]) -> dict[str, float]:
    """Measure runs, by their ids, by what all of them tell that tell anything."""
    found = [{run.job: median(values) for run in tried if any(values := list(of(run)))} for of in _MEASURES]
    return next((speeds for speeds in found if len(speeds) == max(map(len, found))), {})


def _row(tried: list[Run], speeds: dict[str, float]) -> dict[str, JSON]:
    best = max((run for run in tried if run.job in speeds), key=lambda run: speeds[run.job])
    fast = sorted(speeds.values(), reverse=True)
    samples, rates, tflops = best.sample_rates(), best.rates(), best.tflops()
    peak = max(best.peak_memory, default=None)
    left = len(tried) - len(fast)
    return {
        "devices": best.devices,
        "nodes": best.nodes,
        "job": best.job,
        **{f"{AXIS_PREFIX}{name}": value for name, value in best.values.items()},
        "samples_per_s": median(samples) if samples else None,
        "tokens_per_s": median(rates) if rates else None,
        "tflops_per_gpu": median(tflops) if tflops else None,
        "mfu": best.mfu,
        "peak_memory_gib": None if peak is None else peak / GIB,
        "ahead": fast[0] / fast[1] if len(fast) > 1 else None,
        "measured": len(fast),
        "tried": len(tried),
        "notes": [f"{left} of {len(tried)} have no speed; the scaling table says why"] if left else [],
    }
