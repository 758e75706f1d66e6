"""What transformers' Trainer says of its trainings: losses by epoch, its own speeds, exact match and F1. Pure."""

from collections.abc import Iterator, Mapping

from autoexp.model import JSON
from autoexp.report.results import Results, Run
from autoexp.report.spelling import Column, Kind, Table, without_empty

GIB = 1 << 30
_SAID: Mapping[str, str] = {
    "train_loss": "train_loss",
    "told_samples_per_s": "train_samples_per_second",
    "eval_samples_per_s": "eval_samples_per_second",
    "exact_match": "eval_exact_match",
    "f1": "eval_f1",
}
"""Its words for what our columns hold."""


def table(results: Results) -> Table:
    """One row a training that has logged into metrics.jsonl; the others of its stage stand there with their reason."""
    stages = {run.stage for run in results.runs if run.metrics.said}
    runs = [run for run in results.runs if run.stage in stages]
    epochs = max((len(run.metrics.evaluated) for run in runs), default=0)
    return without_empty(
        Table(
            name="finetuning",
            title="Fine-tuning",
            columns=tuple(_columns(epochs)),
            rows=tuple(_row(run, epochs) for run in runs),
            caption=(
                "As the Trainer logs it: the training loss is the mean over all steps, and speeds are those of whole "
                "epochs. Exact match and F1 are of the answers that the model gives, in per cent."
            ),
        )
    )


def _columns(epochs: int) -> Iterator[Column]:
    yield Column(key="job", title="job", short="job")
    yield Column(key="state", title="state")
    yield Column(key="devices", title="devices", kind=Kind.WHOLE, short="devices", rank=3)
    yield Column(key="train_loss", title="training loss, mean", kind=Kind.LOSS, short="loss")
    for epoch in range(1, epochs + 1):
        is_last = epoch == epochs
        title = f"evaluation loss, epoch {epoch}"
        yield Column(key=f"eval_loss_{epoch}", title=title, kind=Kind.LOSS, short="eval loss" if is_last else "")
    yield Column(key="told_samples_per_s", title="training, samples/s", kind=Kind.COUNT, short="samples/s")
    yield Column(key="eval_samples_per_s", title="evaluation, samples/s", kind=Kind.COUNT, short="eval/s", rank=2)
    yield Column(key="steps_per_epoch", title="steps an epoch", kind=Kind.WHOLE)
    yield Column(key="peak_memory_gib", title="peak memory, the most (GiB)", kind=Kind.COUNT, short="GiB", rank=4)
    yield Column(key="gpu_busy_percent", title="GPU busy (%)", kind=Kind.COUNT)
    yield Column(key="exact_match", title="exact match (%)", kind=Kind.COUNT, short="EM", rank=1)
    yield Column(key="f1", title="F1 (%)", kind=Kind.COUNT, short="F1")
    yield Column(key="notes", title="notes", kind=Kind.NOTES)


def _row(run: Run, epochs: int) -> dict[str, JSON]:
    said, peak = run.metrics.said, max(run.peak_memory, default=None)
    by_epoch = [loss for _, loss in sorted(run.metrics.evaluated.items())]
    losses: dict[str, JSON] = {f"eval_loss_{epoch}": loss for epoch, loss in enumerate(by_epoch, 1)}
    empty: dict[str, JSON] = {f"eval_loss_{epoch}": None for epoch in range(1, epochs + 1)}
    return {
        "job": run.job,
        "state": run.state,
        "devices": run.devices,
        **empty,
        **losses,
        **{key: said.get(theirs) for key, theirs in _SAID.items()},
        "steps_per_epoch": run.metrics.steps_per_epoch,
        "peak_memory_gib": None if peak is None else peak / GIB,
        "gpu_busy_percent": run.busy_percent,
        "notes": [run.shortfall] if run.shortfall else [],
    }
