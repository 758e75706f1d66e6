"""The fastest configuration for each number of devices, where a study tried several. Pure."""

from collections.abc import Iterator
from statistics import median

from autoexp.model import JSON
from autoexp.report.ladders import GIB, work_of
from autoexp.report.results import Results, Run
from autoexp.report.spelling import AXIS_PREFIX, Column, Kind, Table, without_empty


def table(results: Results) -> Table:
    """One row for each work and number of devices that more than one layout was tried for."""
    found = [(best, tried) for tried in _tried(results) if (best := _fastest(tried)) is not None]
    axes = dict.fromkeys(name for best, _ in found for name in best.values)
    count = Kind.COUNT
    return without_empty(
        Table(
            name="best",
            title="The fastest for each number of devices",
            columns=(
                Column(key="devices", title="devices", kind=Kind.WHOLE, short="devices"),
                Column(key="nodes", title="nodes", kind=Kind.WHOLE),
                Column(key="job", title="job", short="job"),
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
            rows=tuple(_row(best, tried) for best, tried in found),
            caption=(
                "Of the runs that do the same work on as many devices, the one of most samples a second. How far it is "
                "ahead of the next is the ratio of the two."
            ),
        )
    )


def _tried(results: Results) -> Iterator[list[Run]]:
    """Group runs by work and devices, where their layouts differ; the fewest devices first within each work."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in results.runs:
        groups.setdefault((work_of(run), run.devices), []).append(run)
    works = list(dict.fromkeys(work for work, _ in groups))
    for _, group in sorted(groups.items(), key=lambda item: (works.index(item[0][0]), item[0][1])):
        if len({tuple(run.layout.items()) for run in group}) > 1:
            yield group


def _speed(run: Run) -> float:
    rates = run.sample_rates() or run.rates()
    return median(rates) if rates else 0.0


def _fastest(tried: list[Run]) -> Run | None:
    best = max(tried, key=_speed)
    return best if _speed(best) else None


def _row(best: Run, tried: list[Run]) -> dict[str, JSON]:
    speeds = sorted((speed for run in tried if (speed := _speed(run))), reverse=True)
    samples, rates, tflops = best.sample_rates(), best.rates(), best.tflops()
    peak = max(best.peak_memory, default=None)
    left = len(tried) - len(speeds)
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
        "ahead": speeds[0] / speeds[1] if len(speeds) > 1 else None,
        "measured": len(speeds),
        "tried": len(tried),
        "notes": [f"{left} of {len(tried)} have no speed; the scaling table says why"] if left else [],
    }
