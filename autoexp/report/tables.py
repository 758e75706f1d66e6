"""The report's tables: training jobs, evaluated checkpoints, cooldowns, scores of tasks. Pure.

Rule 1: a cell is a number that was measured, or nothing; the notes say why it is nothing.
Rule 2: a cooldown is judged by the same measure on the same text, at its own end against its parent at the branch.
Rule 3: a score stands beside its standard error and what it is of; one of some of a task's samples says so.
"""

from collections.abc import Iterable, Iterator
from statistics import mean, median

from autoexp import scaling
from autoexp.model import JSON, State
from autoexp.report import best, finetuning, ladders, repeats
from autoexp.report.evaluations import Evaluation, Score
from autoexp.report.results import Results, Run
from autoexp.report.series import ENOUGH, WARM_UP
from autoexp.report.spelling import AXIS_PREFIX, Column, Kind, Table, count


def make(results: Results) -> tuple[Table, ...]:
    """Make the tables, in the order in which they are printed."""
    losses = runs(results), checkpoints(results), cooldowns(results), scores(results)
    compared = ladders.table(results)
    again = repeats.table(results, compared)
    return *losses, compared, again, best.table(results), finetuning.table(results)


# Training jobs.


def runs(results: Results) -> Table:
    """One row a training job."""
    axes = dict.fromkeys(name for run in results.runs for name in run.values)
    held_out = f"; the held-out loss is that of {results.measure}" if len(results.measures) > 1 else ""
    peaks = sorted({run.peak_tflops for run in results.runs if run.peak_tflops})
    has_mfu = any(run.mfu for run in results.runs)
    mfu = f"; MFU is TFLOP/s per GPU over the machine's peak of {' or '.join(f'{p:g}' for p in peaks)}" if peaks else ""
    return Table(
        name="runs",
        title="Training runs",
        columns=(
            Column(key="job", title="job", short="job"),
            Column(key="stage", title="stage", files_only=True),
            *(Column(key=f"{AXIS_PREFIX}{name}", title=name, kind=Kind.AXIS) for name in axes),
            Column(key="state", title="state", short="state"),
            Column(key="iteration", title="iterations", kind=Kind.PROGRESS, short="iterations", rank=6),
            Column(key="train_iters", title="asked", kind=Kind.WHOLE, files_only=True),
            Column(key="tokens", title="trained tokens", kind=Kind.COUNT, short="tokens", rank=2),
            Column(key="training_loss", title="training loss (last report)", kind=Kind.LOSS, short="loss"),
            Column(key="held_out_loss", title="held-out loss", kind=Kind.LOSS, short="held-out"),
            Column(key="perplexity", title="perplexity", kind=Kind.PERPLEXITY, short="ppl", rank=3),
            Column(key="evaluated_iteration", title="evaluated at", kind=Kind.WHOLE),
            Column(key="tokens_per_s", title="tokens/s (median)", kind=Kind.COUNT, short="tok/s"),
            Column(key="tflops_per_gpu", title="TFLOP/s per GPU (median)", kind=Kind.COUNT, short="TFLOP/s", rank=4),
            *([Column(key="mfu", title="MFU", kind=Kind.SCORE, short="MFU", rank=5)] if has_mfu else ()),
            Column(key="attempts", title="attempts", kind=Kind.WHOLE, short="attempts", rank=7),
            Column(key="notes", title="notes", kind=Kind.NOTES),
        ),
        rows=tuple(_run_row(run, results) for run in results.runs),
        caption=(
            "Losses are in nats per token. Medians are over the steps in metrics.jsonl, or else the log's reports, "
            f"without the first {WARM_UP} of each "
            f"attempt that has more than {ENOUGH}; tokens/s is that of the whole job{mfu}{held_out}."
        ),
    )


def _run_row(run: Run, results: Results) -> dict[str, JSON]:
    evaluation = run.evaluated(results.measure)
    rates, tflops = run.rates(), run.tflops()
    return {
        "job": run.job,
        "stage": run.stage,
        **{f"{AXIS_PREFIX}{name}": value for name, value in run.values.items()},
        "state": run.state,
        "iteration": run.iteration,
        "train_iters": run.asked,
        "tokens": run.tokens(run.iteration),
        "training_loss": run.final_loss,
        "held_out_loss": evaluation.loss if evaluation else None,
        "perplexity": evaluation.perplexity if evaluation else None,
        "evaluated_iteration": evaluation.iteration if evaluation else None,
        "tokens_per_s": median(rates) if rates else None,
        "tflops_per_gpu": median(tflops) if tflops else None,
        "mfu": run.mfu,
        "attempts": len(run.attempts),
        "notes": list(_run_notes(run, results)),
    }


def _run_notes(run: Run, results: Results) -> Iterator[str]:
    yield from filter(None, (run.shortfall, *run.problems))
    if run.series and results.measures and run.evaluated(results.measure) is None:
        yield "no checkpoint of it has a held-out loss yet"


# Checkpoints.


def checkpoints(results: Results) -> Table:
    """One row an evaluated checkpoint."""
    several = len(results.measures) > 1
    return Table(
        name="checkpoints",
        title="Evaluated checkpoints",
        columns=(
            Column(key="job", title="job", short="job"),
            Column(key="iteration", title="iteration", kind=Kind.WHOLE, short="iteration"),
            Column(key="tokens", title="tokens", kind=Kind.COUNT, short="tokens"),
            Column(key="measure", title="evaluation", short="evaluation", files_only=not several),
            Column(key="held_out_loss", title="held-out loss", kind=Kind.LOSS, short="held-out"),
            Column(key="perplexity", title="perplexity", kind=Kind.PERPLEXITY, short="ppl"),
            Column(key="evaluation_job", title="evaluation job", files_only=True),
            Column(key="notes", title="notes", kind=Kind.NOTES),
        ),
        rows=tuple(
            _checkpoint_row(run, each) for run in results.runs for each in _by_iteration(run) if not each.of_tasks
        ),
        caption="Losses are in nats per token, on text held out from training.",
    )


def _by_iteration(run: Run) -> list[Evaluation]:
    return sorted(run.evaluations, key=lambda each: each.iteration or 0)


def _checkpoint_row(run: Run, evaluation: Evaluation) -> dict[str, JSON]:
    return {
        "job": run.job,
        "iteration": evaluation.iteration,
        "tokens": run.tokens(evaluation.iteration),
        "measure": evaluation.measure,
        "held_out_loss": evaluation.loss,
        "perplexity": evaluation.perplexity,
        "evaluation_job": evaluation.job,
        "notes": [evaluation.problem] if evaluation.problem else [],
    }


# Cooldowns.


def cooldowns(results: Results) -> Table:
    """One row a cooldown."""
    return Table(
        name="cooldowns",
        title="Cooldowns",
        columns=(
            Column(key="job", title="cooldown", short="cooldown"),
            Column(key="parent", title="parent", short="parent", rank=9),
            Column(key="branch_iteration", title="branch iteration", kind=Kind.WHOLE, short="branch", rank=2),
            Column(key="branch_tokens", title="tokens at the branch", kind=Kind.COUNT, short="tokens", rank=1),
            Column(key="tokens", title="tokens at the end", kind=Kind.COUNT, short="to", rank=3),
            Column(key="loss_at_branch", title="held-out loss at the branch", kind=Kind.LOSS, short="at branch"),
            Column(key="loss_after", title="held-out loss after the cooldown", kind=Kind.LOSS, short="after"),
            Column(key="difference", title="difference", kind=Kind.DIFFERENCE, short="difference"),
            Column(key="better", title="better", kind=Kind.FLAG, short="better"),
            Column(key="notes", title="notes", kind=Kind.NOTES),
        ),
        rows=tuple(_cooldown_row(run, parent, results) for run, parent in branches(results)),
        caption=(
            "The held-out loss of the parent at the branch point, and of the cooldown at its end, in nats per token. "
            "Below zero, the cooldown is better."
        ),
    )


def branches(results: Results) -> Iterator[tuple[Run, Run]]:
    """List the cooldowns, each with its parent."""
    runs_by_id = {run.job: run for run in results.runs}
    return ((run, runs_by_id[run.branch.parent]) for run in results.runs if run.branch)


def _cooldown_row(run: Run, parent: Run, results: Results) -> dict[str, JSON]:
    at = run.branch.iteration if run.branch else 0
    before = parent.evaluated_at(results.measure, at)
    after = run.evaluated_at(results.measure, run.asked) if run.asked else run.evaluated(results.measure)
    known = before is not None and after is not None and before.sample == after.sample
    difference = _minus(after, before) if known else None
    return {
        "job": run.job,
        "parent": parent.job,
        "branch_iteration": at,
        "branch_tokens": parent.tokens(at),
        "tokens": run.tokens(run.asked),
        "loss_at_branch": before.loss if before else None,
        "loss_after": after.loss if after else None,
        "difference": difference,
        "better": None if difference is None else difference < 0,
        "notes": list(_cooldown_notes(run, parent, before, after)),
    }


def _minus(one: Evaluation | None, other: Evaluation | None) -> float | None:
    if one is None or other is None or one.loss is None or other.loss is None:
        return None
    return one.loss - other.loss


def _cooldown_notes(run: Run, parent: Run, before: Evaluation | None, after: Evaluation | None) -> Iterator[str]:
    """Say why a cooldown cannot be judged yet, or at all."""
    if run.state is not State.SUCCEEDED:
        yield f"{run.state}: {run.reason}" if run.reason else str(run.state or "its state is unknown")
    at = run.branch.iteration if run.branch else 0
    yield from _lack(before, f"{parent.job} has no evaluation of iteration {at}")
    if run.state is State.SUCCEEDED or after is not None:
        yield from _lack(after, f"it has no evaluation of iteration {run.asked}")
    if _minus(after, before) is not None and before and after and before.sample != after.sample:
        yield "the two losses were measured on different texts"


def _lack(evaluation: Evaluation | None, otherwise: str) -> Iterator[str]:
    if evaluation is None:
        yield otherwise
    elif evaluation.problem:
        yield f"{evaluation.job}: {evaluation.problem}"


# Scores.


def scores(results: Results) -> Table:
    """One row a score: a checkpoint, a task, a metric."""
    rows = [row for run in results.runs for each in _by_iteration(run) for row in _score_rows(run, each)]
    return Table(
        name="scores",
        title="Scores of tasks",
        columns=(
            Column(key="job", title="job"),
            Column(key="iteration", title="iteration", kind=Kind.WHOLE),
            Column(key="tokens", title="tokens", kind=Kind.COUNT),
            Column(key="measure", title="evaluation", files_only=len({row["measure"] for row in rows}) <= 1),
            Column(key="task", title="task"),
            Column(key="metric", title="metric"),
            Column(key="score", title="score", kind=Kind.SCORE),
            Column(key="stderr", title="standard error", kind=Kind.SCORE),
            Column(key="few_shot", title="examples shown", kind=Kind.WHOLE),
            Column(key="samples", title="samples", kind=Kind.WHOLE),
            Column(key="evaluation_job", title="evaluation job", files_only=True),
            Column(key="notes", title="notes", kind=Kind.NOTES),
        ),
        rows=tuple(rows),
        caption="Scores compare where as many examples were shown before each question, and all samples asked.",
    )


def _score_rows(run: Run, evaluation: Evaluation) -> Iterator[dict[str, JSON]]:
    said: dict[str, JSON] = {
        "job": run.job,
        "iteration": evaluation.iteration,
        "tokens": run.tokens(evaluation.iteration),
        "measure": evaluation.measure,
        "evaluation_job": evaluation.job,
        "notes": [evaluation.problem] if evaluation.problem else [],
    }
    if evaluation.of_tasks and not evaluation.scores:
        yield said
    for score in evaluation.scores:
        yield {
            **said,
            "task": score.task,
            "metric": score.metric,
            "score": score.value,
            "stderr": score.stderr,
            "few_shot": score.few_shot,
            "samples": score.samples,
            "notes": list(_score_notes(score)),
        }


def _score_notes(score: Score) -> Iterator[str]:
    if score.value is None:
        yield "it is no number"
    if score.is_cut:
        yield f"of {score.samples} of {score.samples_in_all} samples only: it compares with no other"


# In a few words.


def headlines(results: Results, tables: Iterable[Table]) -> list[str]:
    """Say what the tables come to."""
    by_name = {table.name: table for table in tables}
    return [
        _headline_of_runs(results),
        *_headline_of_losses(by_name["runs"]),
        *_headline_of_cooldowns(by_name["cooldowns"]),
        *_headline_of_scores(by_name["scores"]),
        *_headline_of_scaling(by_name["scaling"]),
        *results.problems,
    ]


def _headline_of_runs(results: Results) -> str:
    states = [str(run.state or "unknown") for run in results.runs]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    return f"{_some(len(states), 'training run')}: {counted}." if states else "No training runs."


def _headline_of_losses(table: Table) -> Iterator[str]:
    rows = [row for row in table.rows if isinstance(row["held_out_loss"], float)]
    if rows:
        best = min(rows, key=lambda row: row["held_out_loss"])  # type: ignore[arg-type,return-value]
        perplexity = f", perplexity {best['perplexity']:.2f}" if best["perplexity"] is not None else ""
        tokens = best["tokens"]
        after = f" after {count(tokens)} tokens" if isinstance(tokens, int) else ""
        yield f"Lowest held-out loss: {best['held_out_loss']:.4f} nats per token{perplexity}, by {best['job']}{after}."


def _headline_of_cooldowns(table: Table) -> Iterator[str]:
    differences = [row["difference"] for row in table.rows if isinstance(row["difference"], float)]
    if differences:
        better = sum(difference < 0 for difference in differences)
        yield (
            f"{better} of {_some(len(differences), 'judged cooldown')} ended below the loss of the branch point: "
            f"{mean(differences):+.4f} nats per token on average."
        )
    if left := len(table.rows) - len(differences):
        yield f"{_some(left, 'cooldown')} cannot be judged so far; the notes say why."


def _headline_of_scores(table: Table) -> Iterator[str]:
    rows = [row for row in table.rows if row.get("score") is not None]
    if rows:
        tasks = {row["task"] for row in rows}
        checkpoints = {(row["job"], row["iteration"]) for row in rows}
        yield f"{_some(len(tasks), 'task')} scored at {_some(len(checkpoints), 'checkpoint')}; see the scores."


def _headline_of_scaling(table: Table) -> Iterator[str]:
    told = [row for row in table.rows if isinstance(row["efficiency"], float) and row["base"] != row["job"]]
    if rows := [row for row in told if row["scaling"] in (scaling.Kind.STRONG, scaling.Kind.WEAK)]:  # not of other work
        most = max(rows, key=lambda row: (row["devices"], row["efficiency"]))
        yield f"On the most devices, {most['devices']}: {most['efficiency']:.1%} efficiency, by {most['job']}."


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
