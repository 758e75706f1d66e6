"""Slips of single jobs: their flags, paths, variables and resources. Pure."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise

from autoexp import partitions
from autoexp.backends.megatron import USUAL_PROGRAM
from autoexp.branching import plain
from autoexp.flags.megatron import FLAGS, VERSIONS
from autoexp.lint.finding import Finding
from autoexp.model import JobSpec
from autoexp.outline import Plan
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


def of_jobs(plan: Plan, world: World) -> Iterator[Finding]:
    """Find them in all jobs, and in the first of those that appear later."""
    every = (*plan.jobs, *plan.first)
    yield from _missing(every, world)
    yield from _shared(every)
    yield from _shared_by_checkpoints(plan.first, world.root)
    yield from _unknown_flags(every, world)
    yield from _unread(every, world)
    yield from _unnamed_runs(every)
    yield from _misspelled(every, world)
    yield from _over_limits(every, world)


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


def _unnamed_runs(jobs: Iterable[JobSpec]) -> Iterator[Finding]:
    """Find trainings that Megatron-LM refuses to begin: its arguments.py asserts a run's name beside the project's."""
    for job in jobs:
        said = plain(job.args)
        if job.backend == "megatron" and said.get("wandb_project") and not said.get("wandb_exp_name"):
            what = "it has a wandb-project and no wandb-exp-name, without which Megatron-LM does not start"
            yield Finding("unnamed-run", what, "add wandb-exp-name: ${job}", ("stages", job.stage, "args"), job.id)


def _misspelled(jobs: Iterable[JobSpec], world: World) -> Iterator[Finding]:
    """Find scripts that a shell cannot read, in the first job of each stage: those of the others are alike."""
    first: dict[str, JobSpec] = {}
    for job in jobs:
        first.setdefault(job.stage, job)
    for stage, job in first.items():
        if "bash" in job.argv and job.argv[-2:-1] == ("-c",) and (said := world.misspelled(job.argv[-1])):
            fix = "correct it: the job would end at once"
            yield Finding("shell-syntax", f"bash cannot read its script ({said})", fix, ("stages", stage), job.id)
