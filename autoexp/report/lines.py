"""What the plots of scaling show, as numbers: ladders as lines, and each run's memory and step times. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, quantiles

from autoexp import scaling
from autoexp.model import JSON
from autoexp.report import curves, ladders, spelling
from autoexp.report.ladders import GIB
from autoexp.report.results import Results, Run
from autoexp.report.work import repeat

Points = tuple[tuple[int, float], ...]
"""Numbers of devices, each with a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One ladder: the fastest run of each number of devices, or the mean of those that repeat each other."""

    label: str
    family: int
    """Whose colour it has, counted from 0."""
    rates: Points
    """Devices, and what they do in a second."""
    efficiencies: Points
    others: Points = ()
    """The rates of slower runs."""
    rate_halves: Mapping[int, float] = field(default_factory=dict)
    """By devices, half of the interval that holds the true mean of repeated runs in 95 of 100 cases."""
    efficiency_halves: Mapping[int, float] = field(default_factory=dict)

    def ideal(self, devices: int) -> float:
        """Say what so many devices would do if each did what those of the base do."""
        fewest, rate = self.rates[0]
        return rate * devices / fewest


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One run's values: of its processes, or of its steps."""

    label: str
    family: int
    values: tuple[float, ...]
    """In their order: by rank, or by step."""

    @property
    def box(self) -> tuple[float, float, float, float, float]:
        """The 5th, 25th, 50th, 75th and 95th hundredth of them."""
        if len(self.values) == 1:
            return (self.values[0],) * 5
        cuts = quantiles(self.values, n=20, method="inclusive")
        return cuts[0], cuts[4], cuts[9], cuts[14], cuts[18]


def unit(results: Results) -> str:
    """Name the rate that all runs have: tokens, which compare best, or else samples, or else operations."""
    told = [row for ladder in ladders.of(results.runs) for row in ladders.rows(ladder) if row["base"]]
    keys = {"tokens_per_s": "tokens per second", "samples_per_s": "samples per second"}
    found = (name for key, name in keys.items() if all(row[key] is not None for row in told))
    return next(found, "TFLOP/s of all devices")


def lines(results: Results) -> list[Line]:
    """List the ladders with more than one number of devices measured; those that repeat each other are one."""
    found = [ladder for ladder in ladders.of(results.runs) if len({run.devices for run in ladder}) > 1]
    groups: dict[object, list[Line]] = {}
    for key, line in _lines(results, found, unit(results)):
        groups.setdefault(key, []).append(line)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Line]) -> Line:
    """Make one line of ladders that repeat each other."""
    first, *more = group
    if not more:
        return first
    rates, rate_halves = _means([line.rates for line in group])
    efficiencies, efficiency_halves = _means([line.efficiencies for line in group])
    return replace(
        first,
        rates=rates,
        efficiencies=efficiencies,
        others=(),
        rate_halves=rate_halves,
        efficiency_halves=efficiency_halves,
    )


def _means(several: Iterable[Points]) -> tuple[Points, Mapping[int, float]]:
    values: dict[int, list[float]] = {}
    for points in several:
        for devices, value in points:
            values.setdefault(devices, []).append(value)
    halves = {devices: scaling.interval(each)[1] for devices, each in values.items() if len(each) > 1}
    return tuple((devices, fmean(each)) for devices, each in sorted(values.items())), halves


def _lines(results: Results, found: Sequence[Sequence[Run]], what: str) -> Iterator[tuple[object, Line]]:
    """Yield the line of each ladder, and what ladders have in common that repeat each other."""
    families = results.families()
    for ladder in found:
        rows = [row for row in ladders.rows(ladder) if _rate(row, what)]
        rates, others = _best((_devices(row), _rate(row, what)) for row in rows)
        if len(rates) > 1:
            own = _own(ladder)
            alone = None if repeat(own[0].values) else own[0].job
            key = own[0].stage, ladders.work_of(own[0]), repr(_shared(own)), alone
            line = Line(
                label=_label(ladder, found),
                family=families.index(ladder[-1].family),
                rates=rates,
                efficiencies=_best((_devices(row), _number(row["efficiency"])) for row in rows)[0],
                others=others,
            )
            yield key, line


def _devices(row: Mapping[str, JSON]) -> int:
    found = row["devices"]
    return found if isinstance(found, int) else 0


def _number(value: JSON) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _rate(row: Mapping[str, JSON], what: str) -> float:
    if row["base"] is None:
        return 0.0
    if what.startswith("TFLOP"):
        return _number(row["tflops_per_gpu"]) * _devices(row)
    return _number(row["tokens_per_s" if what.startswith("tokens") else "samples_per_s"])


def _best(pairs: Iterator[tuple[int, float]]) -> tuple[Points, Points]:
    """Tell the highest value of each number of devices from the others."""
    listed = sorted(pairs)
    best = dict(listed)  # of several values the last, which is the highest
    return tuple(best.items()), tuple(pair for pair in listed if pair not in best.items())


def _own(ladder: Sequence[Run]) -> list[Run]:
    """List a ladder's runs but for a base of another stage."""
    return [run for run in ladder if run.stage == ladder[-1].stage]


def _shared(own: Sequence[Run]) -> dict[str, JSON]:
    """Return the axes on which the runs of a ladder agree, but for those that repeat it."""
    values = {name: value for name, value in own[0].values.items() if name not in repeat(own[0].values)}
    return {name: value for name, value in values.items() if all(run.values.get(name) == value for run in own)}


def _label(ladder: Sequence[Run], all_of_them: Sequence[Sequence[Run]]) -> str:
    """Name a ladder by its stage, where there are several, and by what tells it from the stage's other ladders."""
    own = _own(ladder)
    words = [
        f"{name} {spelling.axis(value)}" if not isinstance(value, str) else value
        for name, value in _shared(own).items()
        if any(run.values.get(name) != value for other in all_of_them for run in other if run.stage == own[0].stage)
    ]
    several = len({found[-1].stage for found in all_of_them}) > 1
    return curves.drawable([own[0].stage, *words] if several or not words else words, " ")


def memory(results: Results) -> list[Spread]:
    """List what each process of the compared runs took at most, in GiB."""
    return list(_spreads(results, lambda run: [peak / GIB for peak in run.peak_memory]))


def steps(results: Results) -> list[Spread]:
    """List what the steps of the compared runs took, in seconds."""
    return list(_spreads(results, lambda run: run.step_times()))


def _spreads(results: Results, of: Callable[[Run], Sequence[float]]) -> Iterator[Spread]:
    """Take a list of values from each run that is compared with others, if it has any."""
    families = {name: number for number, name in enumerate(results.families())}
    compared = {run.job: run for ladder in ladders.of(results.runs) for run in ladder}
    for run in compared.values():
        if values := tuple(of(run)):
            yield Spread(label=curves.run_label(run), family=families[run.family], values=values)
