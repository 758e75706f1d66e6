"""A study's results as frozen values: what its logs, evaluations and checkpoint links say.

Rule 1: what is missing, torn, or no number is None with the reason beside it; never a zero, never an exception.
Rule 2: a cooldown is a training job whose checkpoints/ holds a link to another job's checkpoint. Before the link is
there, the plan's own words for it are believed.
Rule 3: nothing is written; reading is safe beside a watcher and running jobs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from autoexp import backends, checkpoints, studies
from autoexp.errors import AutoexpError
from autoexp.model import JSON, OVER, JobSpec, State
from autoexp.partitions import peak_tflops
from autoexp.report.evaluations import Evaluation, is_training, read_evaluations
from autoexp.report.gpus import Gpus, read_gpus
from autoexp.report.metrics import Metrics, read_metrics
from autoexp.report.numbers import whole
from autoexp.report.series import Attempt, Point, merged, read_attempts
from autoexp.report.work import devices_a_copy, split
from autoexp.rows import rows
from autoexp.status import Row
from autoexp.studies import Study
from autoexp.view import view

QUIET = (State.SUCCEEDED, State.RUNNING)
"""States that need no note."""
SETTLED = OVER | {State.BACKOFF, State.HELD}
"""States in which no attempt is under way."""
_SEQ_LENGTHS = ("seq-length", "training.seq_len", "data.seq_length")
_BATCHES = ("global-batch-size", "training.global_batch_size", "data.global_batch_size")
"""What Megatron-LM, torchtitan and NeMo call them."""
LINKING_HOOK = "cooldown_symlink"
"""The hook that a plan asks for the link of a cooldown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Where a cooldown leaves its parent."""

    parent: str
    iteration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training job."""

    job: str
    stage: str
    values: Mapping[str, JSON] = field(default_factory=dict)
    """Its sweep axes."""
    state: State | None = None
    reason: str = ""
    """Why it is in that state."""
    attempts: tuple[Attempt, ...] = ()
    series: tuple[Point, ...] = ()
    """Its attempts' reports as one series."""
    asked: int | None = None
    """The iteration it is to reach."""
    seq_length: int | None = None
    global_batch_size: int | None = None
    devices: int = 0
    """Its GPUs, or its processes where it has none."""
    nodes: int = 1
    devices_a_copy: int = 1
    """Over how many of them one copy of the model is split, by tensors, layers or the sequence."""
    metrics: Metrics = field(default_factory=Metrics)
    gpus: Gpus = field(default_factory=Gpus)
    """As nvidia-smi saw them."""
    work: Mapping[str, str] = field(default_factory=dict)
    """The arguments that say what it does."""
    layout: Mapping[str, str] = field(default_factory=dict)
    """Those that say how it is laid out over its devices."""
    peak_tflops: float | None = None
    """What one of its GPUs could do at most, as the machine file says."""
    evaluations: tuple[Evaluation, ...] = ()
    branch: Branch | None = None
    family: str = ""
    """The job at the root of its branches: its own id for a pretraining."""
    problems: tuple[str, ...] = ()

    @property
    def iteration(self) -> int | None:
        """The iteration of its last report, or of the last step it wrote down: reports beside a bar lag behind it."""
        steps = [attempt.points[-1].iteration for attempt in self.metrics.attempts]
        return max([self.series[-1].iteration, *steps[-1:]]) if self.series else None

    @property
    def final_loss(self) -> float | None:
        """The training loss of its last report."""
        return self.series[-1].loss if self.series else None

    def tokens(self, iteration: int | None) -> int | None:
        """Count the training tokens up to an iteration, its parent's included."""
        if iteration is None or self.seq_length is None or self.global_batch_size is None:
            return None
        return iteration * self.global_batch_size * self.seq_length

    def rates(self) -> list[float]:
        """List its tokens per second, step by step or report by report, once each attempt has warmed up."""
        told = [point.tokens_per_gpu_s * self.devices for point in self._settled() if point.tokens_per_gpu_s]
        return told or [rate * self.seq_length for rate in self.sample_rates() if self.seq_length]

    def sample_rates(self) -> list[float]:
        """List its samples per second in the same way."""
        found = ((p.samples_per_s, p.global_batch_size or self.global_batch_size, p.seconds) for p in self._settled())
        rates = (told or (batch / seconds if batch and seconds else None) for told, batch, seconds in found)
        return [rate for rate in rates if rate]

    def step_times(self) -> list[float]:
        """List what its iterations took, in seconds, in the same way."""
        return [point.seconds for point in self._settled() if point.seconds]

    def tflops(self) -> list[float]:
        """List its TFLOP/s per GPU in the same way."""
        return [point.tflops for point in self._settled() if point.tflops is not None]

    @property
    def mfu(self) -> float | None:
        """Its share of what its GPUs could do at most: by the machine file, or as it says itself."""
        tflops, told = self.tflops(), [point.mfu for point in self._settled() if point.mfu]
        if tflops and self.peak_tflops:
            return median(tflops) / self.peak_tflops
        return median(told) if told else None

    @property
    def peak_memory(self) -> tuple[int, ...]:
        """The most bytes that each process had in use; of those that only the log tells of, the most of any.

        Where nothing else tells, the most that was in use of each GPU.
        """
        told = [attempt.peak_memory for attempt in self.attempts if attempt.peak_memory]
        return self.metrics.allocated or tuple(sorted(told)[-1:]) or self.gpus.peak_bytes

    @property
    def busy_percent(self) -> float | None:
        """How much of the time its GPUs were busy: by its own metrics, or as nvidia-smi saw them."""
        return self.gpus.busy_percent if self.metrics.busy_percent is None else self.metrics.busy_percent

    @property
    def runtime_s(self) -> float | None:
        """What all its attempts took; None while one runs, or if nobody knows when one ended.

        One that was lost with its node counts up to the last that it wrote.
        """
        lost = {attempt.number for attempt in self.lost}
        lasted = [attempt.spoke_s if attempt.number in lost else attempt.lasted_s for attempt in self.attempts]
        return sum(s for s in lasted if s is not None) if lasted and None not in lasted else None

    @property
    def lost(self) -> list[Attempt]:
        """List the attempts that are over and did not say so themselves."""
        over = self.attempts if self.state in SETTLED else self.attempts[:-1]
        return [attempt for attempt in over if attempt.lasted_s is None and attempt.spoke_s is not None]

    @property
    def shortfall(self) -> str:
        """Why there is less of it than there should be; nothing of one that succeeded or runs."""
        if self.state is None:
            return "its state is unknown"
        if self.state in QUIET:
            return ""
        return f"{self.state}: {self.reason}" if self.reason else str(self.state)

    def evaluated(self, measure: str) -> Evaluation | None:
        """Return the evaluation of its last evaluated checkpoint."""
        found = [e for e in self.evaluations if e.measure == measure and e.loss is not None]
        return max(found, key=lambda e: e.iteration or 0, default=None)

    def evaluated_at(self, measure: str, iteration: int) -> Evaluation | None:
        """Return the evaluation of its checkpoint of this iteration."""
        found = (e for e in self.evaluations if (e.measure, e.iteration) == (measure, iteration))
        return next(found, None)

    def _settled(self) -> Iterator[Point]:
        for attempt in self.metrics.attempts or self.attempts:
            yield from attempt.settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A study's results."""

    study: Study
    runs: tuple[Run, ...] = ()
    measures: tuple[str, ...] = ()
    """The kinds of loss that were measured; the first stands in the tables of runs and cooldowns."""
    problems: tuple[str, ...] = ()
    """What could not be read of the study as a whole."""

    @property
    def measure(self) -> str:
        """The evaluation that runs are compared by."""
        return self.measures[0] if self.measures else ""

    def run(self, job: str) -> Run | None:
        """Return a training job's results."""
        return next((run for run in self.runs if run.job == job), None)

    def families(self) -> list[str]:
        """List the roots of the branches."""
        return list(dict.fromkeys(run.family for run in self.runs))


def read(study: Study, var: str | None = None) -> Results:
    """Read everything a report needs."""
    specs, torn = jobs_of(study)
    states, unknown = _states(study, var)
    found, lost = read_evaluations(study, specs, states)
    trained = [_read_run(study, spec, states.get(spec.id)) for spec in specs.values() if is_training(spec)]
    runs = {run.job: replace(run, evaluations=tuple(found.get(run.job, ()))) for run in trained}
    return Results(
        study=study,
        runs=tuple(_settle(run, runs) for run in runs.values()),
        measures=tuple(dict.fromkeys(e.measure for listed in found.values() for e in listed if not e.of_tasks)),
        problems=tuple(filter(None, (torn, unknown, lost))),
    )


def jobs_of(study: Study) -> tuple[dict[str, JobSpec], str]:
    """Gather the study's jobs, in the plan's order, and say what could not be read of them."""
    found = {spec.id: spec for spec in study.plan.jobs}
    try:
        appeared = {spec.id: spec for spec in studies.appeared(study.dir)}
    except (AutoexpError, OSError) as error:
        return found, f"appeared.jsonl cannot be read, so evaluations are missing: {error}"
    order = {template.id: number for number, template in enumerate(study.plan.templates)}
    by_plan = sorted(
        appeared.values(), key=lambda spec: (order.get(spec.template or "", len(order)), spec.iteration or 0)
    )
    return found | {spec.id: spec for spec in by_plan}, ""


def _states(study: Study, var: str | None) -> tuple[dict[str, Row], str]:
    try:
        return {row.job: row for row in rows(view(study.root, var), study.dir.name)}, ""
    except (AutoexpError, OSError, ValueError, LookupError, TypeError) as error:
        return {}, f"the jobs' states are unknown: {error}"


# Training jobs.


def _read_run(study: Study, spec: JobSpec, row: Row | None) -> Run:
    """Read one training job; evaluations and its family come later."""
    problems: list[str] = []
    attempts: tuple[Attempt, ...] = ()
    try:
        attempts = read_attempts(study.job_dir(spec.id), backends.find(str(spec.backend)))
    except (AutoexpError, OSError) as error:
        problems.append(f"its attempts cannot be read: {error}")
    problems += [attempt.problem for attempt in attempts if attempt.problem]
    series = merged(attempts)
    sizes = [point.global_batch_size for point in series if point.global_batch_size]
    told = [attempt.train_iters for attempt in attempts if attempt.train_iters]
    metrics = read_metrics(study.job_dir(spec.id))
    work, layout = split(spec.args, str(study.job_dir(spec.id)))
    run = Run(
        job=spec.id,
        stage=spec.stage,
        values=spec.values,
        state=row.state if row else None,
        reason=row.reason if row else "",
        attempts=attempts,
        series=series,
        asked=whole(spec.args.get("train-iters")) or (told[-1] if told else None),
        seq_length=_given(spec, _SEQ_LENGTHS) or metrics.seq_length,
        global_batch_size=_given(spec, _BATCHES) or metrics.global_batch_size or (sizes[-1] if sizes else None),
        devices=spec.resources.nodes * (spec.resources.gpus_per_node or spec.resources.processes_per_node),
        nodes=spec.resources.nodes,
        devices_a_copy=devices_a_copy(spec.args),
        metrics=metrics,
        gpus=read_gpus(study.job_dir(spec.id)),
        work=work,
        layout=layout,
        peak_tflops=peak_tflops(study.machine, spec.resources),
        branch=_linked(study, spec) or _planned(spec),
    )
    return replace(run, problems=(*problems, *_lacks(run, sizes)))


def _given(spec: JobSpec, names: Iterable[str]) -> int | None:
    return next((found for name in names if (found := whole(spec.args.get(name)))), None)


def _lacks(run: Run, sizes: list[int]) -> Iterator[str]:
    """Say what a training job's own numbers lack."""
    if not run.series:
        if run.attempts and not any(attempt.problem for attempt in run.attempts):
            yield "its log has no report yet"
        return
    if run.final_loss is None:
        yield f"the report of iteration {run.series[-1].iteration} has no finite loss"
    if run.seq_length is None:
        yield "its tokens are unknown: neither its args nor its metrics.jsonl tell how many a sample has"
    elif run.global_batch_size is None:
        yield "its tokens are unknown: neither its args nor its log have a global batch size"
    if len(set(sizes)) > 1:
        yield f"its global batch size varies ({min(sizes)} to {max(sizes)}); tokens count {run.global_batch_size}"


def _linked(study: Study, spec: JobSpec) -> Branch | None:
    """Find the link to another job's checkpoint; the newest, should there be several."""
    folder = study.job_dir(spec.id) / "checkpoints"
    for iteration, path in reversed(checkpoints.iterations(folder).items()):
        try:
            target = path.resolve().relative_to(study.jobs_dir.resolve()) if path.is_symlink() else None
        except (OSError, RuntimeError, ValueError):  # a circle of links, or one that leaves the study
            continue
        if target is not None and target.parts[0] != spec.id:
            return Branch(parent=target.parts[0], iteration=iteration)
    return None


def _planned(spec: JobSpec) -> Branch | None:
    """Find where a cooldown that has not begun is to branch."""
    for call in spec.prepare:
        source, iteration = Path(str(call.values.get("from", ""))), whole(call.values.get("iteration"))
        if call.name == LINKING_HOOK and iteration and source.parts[-3:-2] == ("jobs",):
            return Branch(parent=source.parts[-2], iteration=iteration)
    return None


def _settle(run: Run, runs: Mapping[str, Run]) -> Run:
    """Find the root of a job's branches; a branch off something else than a training job of the study is none."""
    branch = run.branch if run.branch and run.branch.parent in runs else None
    path = [run.job]
    while (last := runs[path[-1]].branch) and last.parent in runs and last.parent not in path:
        path.append(last.parent)
    return replace(run, branch=branch, family=path[-1])
