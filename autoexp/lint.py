"""What a plan would come to regret: slips that nothing refuses, and that planning can see. Pure."""

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Any

from autoexp import branching, partitions
from autoexp.axes import Axis, axes_of
from autoexp.backends.megatron import USUAL_PROGRAM
from autoexp.branching import number, plain
from autoexp.budget import in_words
from autoexp.conditions import jobs_of
from autoexp.costs import cost_of
from autoexp.flags.megatron import FLAGS, VERSIONS
from autoexp.model import JSON, Condition, JobSpec
from autoexp.outline import Plan
from autoexp.places import COMMAND_LINE, KeyPath
from autoexp.saves import branched
from autoexp.stages import Recipe, Stage
from autoexp.world import World, job_dir

OF_FORKS = frozenset(("save-extra-steps", "save-total-limit", "keep-last", "keep-latest-k"))
"""Flags of Megatron-LM's forks that we know."""
OUTPUTS = frozenset(
    f"--{name}"
    for name in ("save", "output", "output-dir", "output_dir", "output-path", "output_path", "save-dir", "save_dir")
)
"""Flags by which programs are told where to write."""
PROGRAMS = (".py", ".sh", ".bash")
LIBRARIES = (
    *(
        "NCCL_",
        "RCCL_",
        "CUDA_",
        "CUBLAS_",
        "CUBLASLT_",
        "CUDNN_",
        "NVTE_",
        "NVIDIA_",
        "HIP_",
        "HSA_",
        "ROCM_",
        "ROCR_",
    ),
    *("ROCBLAS_", "MIOPEN_", "UCX_", "FI_", "OFI_", "GLOO_", "TORCH_", "TORCHELASTIC_", "TORCHINDUCTOR_", "PYTORCH_"),
    *("TRITON_", "XLA_", "MASTER_", "PET_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "MPICH_", "MPI_", "I_MPI_", "OMPI_"),
    *("PMI_", "PMIX_", "SLURM_", "SRUN_", "SBATCH_", "APPTAINER_", "APPTAINERENV_", "SINGULARITY_", "SINGULARITYENV_"),
    *("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_", "WANDB_", "MLFLOW_", "HYDRA_"),
    *("LD_", "LC_", "XDG_", "MALLOC_", "SSL_", "REQUESTS_"),
)
"""How the variables begin that libraries, launchers and the system read."""
OF_THE_SYSTEM = re.compile(
    r"PATH|HOME|USER|TERM|TZ|TMPDIR|LANG(UAGE)?|PYTHON[A-Z]+|(http|https|ftp|all|no)_proxy", re.IGNORECASE
)
"""Whole names that they read."""
CHECKPOINTS = "checkpoints"
"""What a training's output is."""
SHOWN = 3
"""How many of the jobs concerned a message names."""
_NAME = re.compile(r"\$\{\s*([A-Za-z_]\w*)")
_NUMBERS = re.compile(r"-?\d[\d.e+-]*")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is odd about one job, or without one about the recipe."""

    code: str
    what: str
    fix: str
    path: KeyPath
    job: str = ""


def warnings(recipe: Recipe, plan: Plan, world: World, whole: Plan | None = None) -> Iterator[Mapping[str, JSON]]:
    """Yield what is odd, each kind once for each stage: its code, a message, where, and the jobs concerned.

    `whole` is the plan of all jobs, where only some were chosen.
    """
    kinds: dict[tuple[str, KeyPath, str], list[Finding]] = {}
    every = (*plan.jobs, *plan.first)
    of_jobs = (*_of_jobs(plan.jobs, world.root), *_unknown_flags(every, world), *_unread(every, world))
    of_jobs += (*_over_limits(every, world),)
    paths = (*_missing(every, world), *_shared(every), *_shared_by_checkpoints(plan.first, world.root), *_barren(plan))
    for finding in (
        *_unused(recipe),
        *_hidden(recipe, whole or plan),
        *_same_work(recipe),
        *_over_budget(plan),
        *paths,
        *of_jobs,
    ):
        kind = finding.code, finding.path, _NUMBERS.sub("", finding.what)
        kinds.setdefault(kind, []).append(finding)
    for (code, path, _), findings in kinds.items():
        jobs: list[JSON] = [finding.job for finding in findings if finding.job]
        message = f"{_spelled(jobs)}{findings[0].what}; {findings[0].fix}"
        yield {"code": code, "message": message, "where": recipe.places.spell(path), "jobs": jobs}


def _spelled(jobs: Sequence[JSON]) -> str:
    if not jobs:
        return ""
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f"{', '.join(map(str, jobs[:SHOWN]))}{more}: "


def _unused(recipe: Recipe) -> Iterator[Finding]:
    """Find the axes that no stage has, or that nothing reads where they are: by their names or what entries bring."""
    stages = recipe.stages.values()
    own = {stage.name: [*axes_of(stage.raw.get("sweep"), (*stage.path, "sweep"))] for stage in stages}
    for axis in axes_of(recipe.sweep, ("sweep",)):
        theirs = [stage for stage in stages if axis.name not in {each.name for each in own[stage.name]}]
        if any(stage.axes is None or axis.name in stage.axes for stage in stages if stage.each is None):
            yield from _unread_axis(recipe, axis, theirs)
        else:
            fix = "name it in the axes: of one, or remove it"
            yield Finding("unused-axis", f"no stage has the axis {axis.name}", fix, axis.path)
    for name, axes in own.items():
        family = [stage for stage in stages if _descends(stage.name, name, recipe)]
        for axis in axes:
            yield from _unread_axis(recipe, axis, family)


def _descends(stage: str, first: str, recipe: Recipe) -> bool:
    """Say whether a stage is the first one, or appears for its jobs, or for what appears for them."""
    each = recipe.stages[stage].each
    return stage == first or (each is not None and any(_descends(one, first, recipe) for one in each.stages))


def _unread_axis(recipe: Recipe, axis: Axis, stages: Iterable[Stage]) -> Iterator[Finding]:
    """Find out whether an axis makes several jobs of which none reads it, in the stages that have it."""
    sweeps = [_without_choice((recipe.sweep, *(stage.raw.get("sweep") for stage in stages)))]
    bodies = [{key: value for key, value in stage.raw.items() if key != "sweep"} for stage in stages]
    read = set(names_read((recipe.params, sweeps, bodies)))
    is_one = all(value == axis.values[0] for value in axis.values)
    if not is_one and read.isdisjoint((axis.name, *axis.brings, *axis.beside)) and not _is_asked_for(recipe, axis):
        fix = "use it, or remove it: its jobs do the same work several times"
        yield Finding("unused-axis", f"nothing reads the axis {axis.name}", fix, axis.path)


def _is_asked_for(recipe: Recipe, axis: Axis) -> bool:
    """Say whether some stage reads an axis as a sibling's."""
    asked = re.compile(rf"sibling\.[^.}}]+\.params\.({'|'.join(map(re.escape, (axis.name, *axis.brings)))})\b")
    return asked.search(str([stage.raw for stage in recipe.stages.values()])) is not None


def _hidden(recipe: Recipe, whole: Plan) -> Iterator[Finding]:
    """Find params that the sweep stands over for all of a stage's jobs, or those of the study: nobody reads them.

    Of the study's only those are told that the command line sets: that was to change something.
    """
    found: dict[str, set[str]] = {}
    for job in (*whole.jobs, *whole.previews):
        found[job.stage] = found.get(job.stage, {*job.point}) & job.point.keys()
    for stage in recipe.stages.values():
        read = {*names_read(stage.raw.get("sweep") or {})}  # its filter, or its axes, are made of it
        for name in sorted(found.get(stage.name, set()) & (stage.raw.get("params") or {}).keys() - read):
            what = f"the sweep's {name} stands over this param, which nothing ever reads"
            yield Finding("hidden-param", what, "rename it, or remove it", (*stage.path, "params", name))
    everywhere = set.intersection(*found.values()) if found else set()
    for name in sorted(everywhere & recipe.params.keys() - set(names_read(_without_choice(recipe.sweep)))):
        if recipe.places.written.get(("params", name), "").startswith(COMMAND_LINE):
            axes = [axis.name for axis in axes_of(recipe.sweep, ("sweep",)) if name in axis.brings]
            fix = f"pin {axes[0]}, or change its entries" if axes else "change it there"
            what = f"the sweep's {name} stands over this param in all jobs, and setting it changes nothing"
            yield Finding("hidden-param", what, fix, ("params", name))


def _same_work(recipe: Recipe) -> Iterator[Finding]:
    """Find stages that wait for nothing and read nothing of an axis which others read: its jobs are all the same."""
    defined = [*recipe.params.items(), *_definitions(recipe.sweep)]
    reads = {stage.name: _closure(stage.raw, defined) for stage in recipe.stages.values()}
    every = set().union(*reads.values())
    axes = [axis for axis in axes_of(recipe.sweep, ("sweep",)) if len(axis.values) > 1]
    for stage in recipe.stages.values():
        read = reads[stage.name]
        if any(stage.raw.get(key) for key in ("each", "needs", "start")) or not read.isdisjoint(("sibling", "job")):
            continue
        for axis in (axis for axis in axes if not every.isdisjoint((axis.name, *axis.brings))):
            names = (axis.name, *axis.brings, *axis.beside)
            if (stage.axes is None or axis.name in stage.axes) and read.isdisjoint(names):
                what = f"nothing in {stage.name} reads the axis {axis.name}: its jobs do the same work several times"
                fix = "name the axes that it needs, such as axes: []"
                yield Finding("same-work", what, fix, stage.path)


def _definitions(raw: Any) -> Iterator[tuple[str, Any]]:
    """List all keys of a sweep, at any depth, with their values: what it may define."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield str(key), value
            yield from _definitions(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from _definitions(value)


def _closure(raw: Any, defined: Sequence[tuple[str, Any]]) -> set[str]:
    """List the names that a value refers to, through those that the study and its sweep define as well."""
    meant: dict[str, set[str]] = {}
    for name, value in defined:
        meant.setdefault(name, set()).update(names_read(value))
    read: set[str] = set()
    new = {*names_read(raw)}
    while new:
        read |= new
        new = {each for name in new for each in meant.get(name, ())} - read
    return read


def _without_choice(raw: Any) -> Any:
    """Leave out what only chooses among points: it makes no job another one."""
    if isinstance(raw, Mapping):
        return {key: _without_choice(value) for key, value in raw.items() if key not in ("filter", "require")}
    return [_without_choice(value) for value in raw] if isinstance(raw, list | tuple) else raw


def names_read(raw: Any) -> Iterator[str]:
    """Yield the names that a value of any shape refers to, as far as its text shows; a resolver's is among them."""
    if isinstance(raw, str):
        yield from _NAME.findall(raw)
    elif isinstance(raw, Mapping):
        for value in raw.values():
            yield from names_read(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from names_read(value)


def _missing(jobs: Iterable[JobSpec], world: World) -> Iterator[Finding]:
    """Find what jobs cannot do without, and is not there; each path is looked for once, from where the job begins."""
    there: dict[str, bool] = {}
    for job in jobs:
        for path in job.requires:
            place = path if path.startswith("/") else f"{job_dir(world.root, job.study, job.id)}/{path}"
            if place not in there:
                there[place] = world.exists(place)
            if not there[place]:
                what, fix = f"{path} is not there", "correct the path, or put it there before the job starts"
                yield Finding("missing-path", what, fix, ("stages", job.stage, "requires"), job.id)


def _over_budget(plan: Plan) -> Iterator[Finding]:
    wanted = cost_of(plan).hours
    if plan.gpu_hours is not None and wanted > plan.gpu_hours:
        budget = in_words(plan.gpu_hours)
        what = f"one attempt of each job may take {in_words(wanted)} GPU hours, and the budget is {budget}"
        yield Finding("over-budget", what, "what goes beyond it waits: plan fewer jobs, or more hours", ("budget",))


# Jobs


def _over_limits(jobs: Iterable[JobSpec], world: World) -> Iterator[Finding]:
    """Find what asks for more than the machine's file says it can have: the scheduler would refuse it."""
    for job in jobs:
        if (excess := partitions.excess(world.machine, job.resources)) is not None:
            what = f"it asks for {excess.asked}, and {excess.why}"
            yield Finding("over-limit", what, excess.fix, ("stages", job.stage, "resources", excess.key), job.id)


def _unknown_flags(jobs: Iterable[JobSpec], world: World) -> Iterator[Finding]:
    """Find flags that Megatron-LM's own program does not know; it would end with a usage error on the cluster."""
    usual = world.machine.programs.get("megatron", USUAL_PROGRAM)
    for job in jobs:
        if job.backend == "megatron" and str(job.params.get("program", usual)).rpartition("/")[2] == USUAL_PROGRAM:
            for name in sorted(job.args.keys() - FLAGS - OF_FORKS):
                what = f"Megatron-LM {VERSIONS} has no --{name}"
                yield Finding("unknown-argument", what, _near_flag(name), ("stages", job.stage, "args", name), job.id)


@cache
def _near_flag(name: str) -> str:
    near = get_close_matches(name, FLAGS, n=1)
    return f"did you mean --{near[0]}?" if near else "correct it, unless your copy has it"


def _shared(jobs: Iterable[JobSpec]) -> Iterator[Finding]:
    """Find jobs that write where another one writes."""
    writers: dict[str, str] = {}
    for job in jobs:
        for path in dict.fromkeys(_outputs(job)):
            if (first := writers.setdefault(path, job.id)) != job.id:
                what = f"it writes to {path}, and so does {first}"
                fix = "leave the path out, or let it begin with ${dir}, which each job has for itself"
                yield Finding("shared-output", what, fix, ("stages", job.stage), job.id)


def _shared_by_checkpoints(jobs: Iterable[JobSpec], root: str) -> Iterator[Finding]:
    """Find what writes to one place whatever checkpoint it is for."""
    for job in jobs:
        own = job_dir(root, job.study, job.id)
        for path in dict.fromkeys(_outputs(job)):
            if job.iteration is not None and str(job.iteration) not in path and not f"{path}/".startswith(f"{own}/"):
                what = f"it writes to {path}, and so do the jobs of all other checkpoints"
                fix = "leave the path out, or let it begin with ${dir}, or name the ${iteration} in it"
                yield Finding("shared-output", what, fix, ("stages", job.stage), job.id)


def _barren(plan: Plan) -> Iterator[Finding]:
    """Find jobs that are to appear for the checkpoints of a job that saves none, or none so late as any of its kind."""
    by_id = {job.id: job for job in (*plan.jobs, *plan.previews)}
    latest: dict[str, float] = {}
    for job in by_id.values():
        if (end := number(plain(job.args).get("train_iters"))) is not None:
            latest[job.stage] = max(end, latest.get(job.stage, 0))
    for template in plan.templates:
        parent = by_id.get(template.parent)
        if template.kind != "checkpoint" or parent is None:
            continue
        path = ("stages", template.stage, "each")
        last = latest.get(parent.stage)
        first = -(-template.first // template.every) * template.every
        if parent.output != CHECKPOINTS:
            what = f"it appears for checkpoints of {parent.stage}, whose jobs are no trainings, and save none"
            yield Finding("never-starts", what, "name a stage with a backend", path, template.id)
        elif last is not None and first > last > 0:
            what = f"it appears for checkpoints from iteration {first} on, and {parent.stage} ends at {last:g}"
            yield Finding("never-starts", what, "correct from or every", path, template.id)


def _outputs(job: JobSpec) -> Iterator[str]:
    """List the absolute paths that a job is told to write to; others lie in its own directory."""
    words = _words(job)
    for word, following in pairwise((*words, "")):
        name, _, value = word.partition("=")
        if name in OUTPUTS:
            path = value or following
            if path.startswith("/"):
                yield path.rstrip("/")


def _words(job: JobSpec) -> Sequence[str]:
    """Return a job's command line, of a script the script's words."""
    if job.argv[-2:-1] != ("-c",):
        return job.argv
    try:
        return shlex.split(job.argv[-1], comments=True)
    except ValueError:
        return ()


def _unread(jobs: Iterable[JobSpec], world: World) -> Iterator[Finding]:
    """Find exported variables that neither the command nor the programs it names read; libraries read theirs."""
    sources: dict[str, str] = {}
    for job in jobs:
        own = [name for name in job.env if not (name.startswith(LIBRARIES) or OF_THE_SYSTEM.fullmatch(name))]
        paths = [word for word in _words(job) if own and word.startswith("/") and word.endswith(PROGRAMS)]
        for path in paths:
            if path not in sources:
                sources[path] = world.source(path)
        if not paths or job.backend != "command" or not all(sources[path] for path in paths):
            continue  # nobody knows what else it reads
        text = "\n".join((*job.argv, *(sources[path] for path in paths)))
        for name in own:
            if not re.search(rf"\b{name}\b", text):
                what = f"{name} is exported, and {' and '.join(paths)} never reads it"
                fix = "correct the name, or remove it"
                yield Finding("unread-variable", what, fix, ("stages", job.stage, "env", name), job.id)


def _of_jobs(jobs: Iterable[JobSpec], root: str) -> Iterator[Finding]:
    by_id = {job.id: job for job in jobs}
    for job in by_id.values():
        yield from _no_iteration(job)
        yield from _flat_end(job)
        yield from _schedule(job)
        if (why := _never(job, job.start, by_id)) is not None:
            yield Finding("never-starts", *why, ("stages", job.stage, "start"), job.id)
    for branch in branched(by_id.values(), root):
        yield from _branch(*branch)


def _no_iteration(job: JobSpec) -> Iterator[Finding]:
    last = number(plain(job.args).get("train_iters"))
    if last is not None and last < 1 and branching.branch_point(job) is None:
        what, path = f"it trains {last:g} iterations, and saves nothing", ("stages", job.stage, "args", "train-iters")
        yield Finding("no-iteration", what, "give train-iters of at least 1", path, job.id)


def _flat_end(job: JobSpec) -> Iterator[Finding]:
    """Find a training whose schedule is over before it is: Megatron-LM goes on with the lowest rate."""
    said = plain(job.args)
    end, last = number(said.get("lr_decay_iters")), number(said.get("train_iters"))
    falls = said.get("lr_decay_style") != "constant"  # left out, it is linear
    if falls and end is not None and last is not None and end < last and not number(said.get("min_lr")):
        what = f"its last {last - end:g} iterations train with a learning rate of 0: the schedule ends at {end:g}"
        fix = f"give lr-decay-iters {last:g}, as train-iters"
        yield Finding("zero-learning-rate", what, fix, ("stages", job.stage, "args", "lr-decay-iters"), job.id)


def _schedule(job: JobSpec) -> Iterator[Finding]:
    """Find schedules whose parts do not fit into each other; those of cooldowns are looked at as such."""
    said = plain(job.args)
    is_wsd = said.get("lr_decay_style") == "WSD" and branching.branch_point(job) is None
    end = number(said.get("lr_decay_iters")) or number(said.get("train_iters"))
    pairs = (
        ("lr-wsd-decay-iters", end if is_wsd else None, "the schedule ends at"),
        ("lr-decay-iters", number(said.get("train_iters")) if is_wsd else None, "it trains"),
        ("lr-warmup-iters", number(said.get("train_iters")), "it trains"),
    )
    for name, most, where in pairs:
        value = number(said.get(name.replace("-", "_")))
        if value is not None and most is not None and value > most:
            what = f"its {name} is {value:g}, and {where} {most:g}"
            yield Finding("schedule", what, "correct one of the two", ("stages", job.stage, "args", name), job.id)


def _never(job: JobSpec, condition: Condition, jobs: Mapping[str, JobSpec]) -> tuple[str, str] | None:
    """Say why a condition can never hold, and what to do, as far as the plan shows it."""
    inside = [_never(job, part, jobs) for part in condition.parts if condition.name in ("all", "any")]
    if condition.name == "all" or (condition.name == "any" and inside and all(inside)):
        return next(filter(None, inside), None)
    if condition.name == "metadata_equals":
        key, wanted = str(condition.params["key"]), condition.params["value"]
        known = {**job.params, **job.values}
        is_said = f"is {known[key]!r}, and waits for {wanted!r}" if key in known else "is nothing that it has"
        return None if known.get(key, jobs) == wanted else (f"its {key} {is_said}", "correct the key, or the value")
    if condition.name == "checkpoint_reached":
        return next(filter(None, (_out_of_reach(condition, jobs.get(name)) for name in condition.jobs)), None)
    return None


def _out_of_reach(condition: Condition, writer: JobSpec | None) -> tuple[str, str] | None:
    wanted = number(condition.params["iteration"]) or 0
    last = number(plain(writer.args).get("train_iters")) if writer is not None else None
    if writer is not None and writer.output != CHECKPOINTS:
        return f"it waits for a checkpoint of {writer.stage}, which is no training", "name a stage with a backend"
    if writer is not None and last is not None and wanted > last:
        return f"it waits for iteration {wanted:g} of {writer.id}, which ends at {last:g}", "correct one of the two"
    return None


def _branch(job: JobSpec, iteration: int, parent: JobSpec | None) -> Iterator[Finding]:
    """Find what is wrong with a cooldown from this iteration of another job."""
    path: KeyPath = ("stages", job.stage, "prepare", branching.HOOK)
    before = plain(parent.args) if parent else {}
    if iteration < 1:
        fix = "give it a longer run, or save more often: wsd_branch(train_iters, decay, save_interval)"
        yield Finding("branch-at-zero", f"it branches off at iteration {iteration}", fix, path, job.id)
    elif not _is_saved(iteration, before):
        every = number(before.get("save_interval"))
        what = f"it branches off at iteration {iteration}, where nothing is saved (save-interval {every:g})"
        fix = "branch at a multiple, or save there: save-extra-steps: auto, where the program knows it"
        yield Finding("branch-not-saved", what, fix, path, job.id)
    if parent is not None and (begins := _begins(job.start, parent.id)) < iteration:
        what = f"it may begin at iteration {begins} of {parent.id}, and branches off at {iteration}"
        yield Finding("branch-too-early", what, "let start wait for that iteration", path, job.id)
    for what, fix in branching.troubles(job.args, iteration, before):
        yield Finding("cooldown-flags", what, fix, ("stages", job.stage, "args"), job.id)
    if option := branching.deletes(before, iteration):
        what = f"its branch point {iteration} would be deleted by {option} of {parent.id if parent else ''}"
        yield Finding("branch-deleted", what, "keep it, or write keep: link in prepare", path, job.id)


def _begins(start: Condition, parent: str) -> float:
    """Say from which iteration of another job on a condition may hold; without end if it says nothing plain of it."""
    named = [part for part in (start.parts if start.name == "all" else (start,)) if parent in jobs_of(part)]
    if not named or any(part.name != "checkpoint_reached" for part in named):
        return math.inf
    return max(number(part.params["iteration"]) or 0 for part in named)


def _is_saved(iteration: int, args: Mapping[str, Any]) -> bool:
    """Say whether a run of these flags saves there, as far as they tell."""
    every, last = number(args.get("save_interval")), number(args.get("train_iters"))
    extra = args.get("save_extra_steps")
    listed = extra if isinstance(extra, list | tuple) else [extra]
    return not every or iteration % every == 0 or iteration == last or iteration in listed
