"""Two studies beside each other: the trainings that both have. Pure.

Rule 1: trainings are the same if their ids are, or else if one alone in each study has their stage and axes' values.
Rule 2: ratios are this study's over the other's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from autoexp.model import JSON
from autoexp.report.ladders import GIB
from autoexp.report.numbers import middle
from autoexp.report.results import Results, Run
from autoexp.report.spelling import Column, Kind, Table, without_empty


def table(results: Results, other: Results, name: str) -> Table:
    """One row a training that either study has; `name` is the other study's."""
    partners = _partners(results, other)
    alone = [run for run in other.runs if run.job not in {partner.job for partner in partners.values()}]
    count, share = Kind.COUNT, Kind.SCORE
    return without_empty(
        Table(
            name="comparison",
            title=f"Compared with {name}",
            columns=(
                Column(key="job", title="job", short="job"),
                Column(key="state", title="state"),
                Column(key="other_job", title="the other's job", files_only=True),
                Column(key="other_state", title="the other's state"),
                Column(key="tokens_per_s", title="tokens/s", kind=count, short="tok/s"),
                Column(key="other_tokens_per_s", title="the other's", kind=count, short="other's"),
                Column(key="speed_ratio", title="speed, times", kind=share, short="times"),
                Column(key="samples_per_s", title="samples/s", kind=count),
                Column(key="other_samples_per_s", title="the other's", kind=count),
                Column(key="step_s", title="step, median (s)", kind=count),
                Column(key="other_step_s", title="the other's", kind=count),
                Column(key="tflops_per_gpu", title="TFLOP/s per GPU", kind=count),
                Column(key="other_tflops_per_gpu", title="the other's", kind=count),
                Column(key="peak_memory_gib", title="peak memory (GiB)", kind=count),
                Column(key="other_peak_memory_gib", title="the other's", kind=count),
                Column(key="training_loss", title="training loss", kind=Kind.LOSS, short="loss", rank=2),
                Column(key="other_training_loss", title="the other's", kind=Kind.LOSS),
                Column(key="loss_difference", title="difference", kind=Kind.DIFFERENCE, short="difference", rank=1),
                Column(key="held_out_loss", title="held-out loss", kind=Kind.LOSS),
                Column(key="other_held_out_loss", title="the other's", kind=Kind.LOSS),
                Column(key="notes", title="notes", kind=Kind.NOTES),
            ),
            rows=(
                *(_row(run, partners.get(run.job), results, other) for run in results.runs),
                *(_row(None, run, results, other) for run in alone),
            ),
            caption=f"Above 1, this study is faster than {name}; below 0, its training loss is lower.",
        )
    )


def _partners(results: Results, other: Results) -> Mapping[str, Run]:
    """Find what in the other study is the same training."""
    found = {run.job: run for mine in results.runs if (run := other.run(mine.job))}
    left = [run for run in results.runs if run.job not in found]
    free = [run for run in other.runs if run.job not in found]
    once = Counter(map(_what, left))
    theirs = Counter(map(_what, free))
    by_what = {_what(run): run for run in free if theirs[_what(run)] == 1}
    return found | {run.job: by_what[_what(run)] for run in left if once[_what(run)] == 1 and _what(run) in by_what}


def _what(run: Run) -> str:
    return repr((run.stage, sorted(run.values.items(), key=lambda pair: pair[0])))


def _row(run: Run | None, partner: Run | None, results: Results, other: Results) -> dict[str, JSON]:
    own, theirs = _figures(run, results), _figures(partner, other)
    named = run or partner
    return {
        "job": named.job if named else "",
        "other_job": partner.job if partner else None,
        **own,
        **{f"other_{key}": value for key, value in theirs.items()},
        "speed_ratio": _ratio(own, theirs, "tokens_per_s") or _ratio(own, theirs, "samples_per_s"),
        "loss_difference": _difference(own["training_loss"], theirs["training_loss"], run, partner),
        "notes": list(_notes(run, partner)),
    }


def _figures(run: Run | None, results: Results) -> dict[str, JSON]:
    if run is None:
        keys = ("state", "tokens_per_s", "samples_per_s", "step_s", "tflops_per_gpu", "peak_memory_gib")
        return dict.fromkeys((*keys, "training_loss", "held_out_loss"))
    peak, evaluation = max(run.peak_memory, default=None), run.evaluated(results.measure)
    return {
        "state": run.state,
        "tokens_per_s": middle(run.rates()),
        "samples_per_s": middle(run.sample_rates()),
        "step_s": middle(run.step_times()),
        "tflops_per_gpu": middle(run.tflops()),
        "peak_memory_gib": None if peak is None else peak / GIB,
        "training_loss": run.final_loss,
        "held_out_loss": evaluation.loss if evaluation else None,
    }


def _ratio(own: Mapping[str, JSON], theirs: Mapping[str, JSON], key: str) -> float | None:
    one, other = own[key], theirs[key]
    return one / other if isinstance(one, float) and isinstance(other, float) and other else None


def _difference(one: JSON, other: JSON, run: Run | None, partner: Run | None) -> float | None:
    """Subtract losses of the same iteration; of others they would tell how far the trainings are."""
    if run is None or partner is None or run.iteration != partner.iteration:
        return None
    return one - other if isinstance(one, float) and isinstance(other, float) else None


def _notes(run: Run | None, partner: Run | None) -> Iterator[str]:
    if run is None:
        yield "only the other study has it"
    elif run.shortfall:
        yield run.shortfall
    if partner is None:
        yield "the other study does not have it"
        return
    if partner.shortfall:
        yield f"the other's: {partner.shortfall}"
    if run and run.iteration != partner.iteration:
        yield f"it is at iteration {run.iteration or 0}, the other at {partner.iteration or 0}"
