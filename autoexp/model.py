"""The nouns: what a study is made of, as frozen values.

`JobSpec` is what planning decided and never changes; `Job` is where it stands now, folded from the journal.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | tuple[JSON, ...] | Mapping[str, JSON] | None"


class State(StrEnum):
    """Where a job stands; `lifecycle.TABLE` says how it moves."""

    WAITING = auto()
    """Its start conditions do not hold yet."""
    HELD = auto()
    """A person, or a policy, wants it to wait for `release`."""
    SUBMITTING = auto()
    """The intent is on disk; the executor has not answered yet."""
    QUEUED = auto()
    """The executor has it, and it has not begun."""
    GATING = auto()
    """It has begun, and its gate is measuring."""
    RUNNING = auto()
    STALLED = auto()
    """It runs, and makes no progress."""
    STOPPING = auto()
    """It was asked to end."""
    BACKOFF = auto()
    """The last attempt failed; the next one waits for its time."""
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    SKIPPED = auto()
    """Its start conditions can no longer hold."""


OVER = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED})
ACTIVE = frozenset(
    {State.SUBMITTING, State.QUEUED, State.GATING, State.RUNNING, State.STALLED, State.STOPPING},
)
"""States in which an attempt is open and its files are worth looking at."""


class Verb(StrEnum):
    """What a marker file can ask."""

    HOLD = auto()
    RELEASE = auto()
    START = auto()
    SAVE = auto()
    CANCEL = auto()
    RESTART = auto()
    RETRY = auto()
    SUCCEED = auto()
    FAIL = auto()

    @property
    def trigger(self) -> str:
        """The name that the event of asking for it has in the table."""
        return f"{self}_requested"


class EndingClass(StrEnum):
    """Why an attempt ended; retry policies are keyed by it."""

    SUCCESS = auto()
    TIME_LIMIT = auto()
    PREEMPTED = auto()
    NODE_FAIL = auto()
    HOST_OOM = auto()
    GPU_OOM = auto()
    NETWORK = auto()
    CANCELLED = auto()
    LAUNCH = auto()
    CONFIG = auto()
    DIVERGED = auto()
    HUNG = auto()
    CRASHED = auto()
    UNKNOWN = auto()


class Remedy(StrEnum):
    """What a retry policy does about an ending."""

    RESUME = auto()
    """Another attempt, which continues from the newest checkpoint."""
    RETRY = auto()
    EXCLUDE_NODE = auto()
    """Another attempt, elsewhere."""
    HOLD = auto()
    FAIL = auto()
    CANCEL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A named question; `conditions.ask` answers it.

    `jobs` and `templates` are the planned jobs and each-templates that its `stage` parameter stands for.
    """

    name: str
    params: Mapping[str, JSON] = field(default_factory=dict)
    parts: tuple["Condition", ...] = ()
    jobs: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one attempt occupies while it runs."""

    nodes: int = 1
    cpus: int = 1
    """CPU cores, per node."""
    gpus_per_node: int = 0
    processes_per_node: int = 1
    """What the launcher starts on each node."""
    memory_bytes: int | None = None
    """Per node."""
    walltime_s: int | None = None
    requeue: bool = False
    """A batch scheduler may queue it again by itself, under the same id."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What else a batch scheduler is told: partition, account, qos, and whatever options it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an ending leads to."""

    remedy: Remedy
    attempts: int | None = None
    """How many more attempts such endings may lead to; None leaves that to `RetryPolicy.max_attempts`."""
    backoff_s: float | None = None
    """The first wait, as `RetryPolicy.backoff_s`."""
    reduce: Mapping[str, float] = field(default_factory=dict)
    """Params that the next attempts have other values of, and what these are multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How many attempts count against a job, and what each ending leads to."""

    max_attempts: int = 1
    when: Mapping[EndingClass, Answer] = field(default_factory=dict)
    backoff_s: float = 10.0
    """The wait before the second attempt; it doubles with each further one."""
    queue_ahead: bool = False
    """The next attempt is submitted as soon as one has begun, to begin when that one is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """A hook with the values a recipe gives it."""

    name: str
    path: str
    values: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that is done when something happens; autoexp/rulebook.py has the names."""

    name: str
    text: str = ""
    """The reason, message, line or stage; `{NAME}` stands for what a log's line says."""
    path: str = ""
    """The file that a line is appended to."""
    values: Mapping[str, JSON] = field(default_factory=dict)
    """The params that a restart changes."""
    hook: HookCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is done when a line of a job's log matches, or when the job comes into a state."""

    name: str
    log: str = ""
    """A regular expression."""
    state: str = ""
    came_from: str = ""
    """The state before, if only that counts."""
    limit: int = 1
    """How often in the life of a job."""
    when: Condition | None = None
    """What must hold besides."""
    do: tuple[Deed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Jobs that will appear: one for each checkpoint, or each job, of a parent."""

    id: str
    stage: str
    parent: str
    """A job's id, or another template's."""
    kind: str
    """`checkpoint` or `job`."""
    first: int = 1
    every: int = 1
    batch: int | None = None
    """How many checkpoints a job stands for at most; None makes a job for each."""
    axes: Mapping[str, JSON] = field(default_factory=dict)
    """The template's own sweep axes with their values."""
    point: Mapping[str, JSON] = field(default_factory=dict)
    """What its own sweep point defines (axes, entry params, defaults) as written."""

    def wants(self, iteration: int) -> bool:
        """Say whether a checkpoint of this iteration gets a job."""
        return iteration >= self.first and iteration % self.every == 0

    def child(self, parent: str, iteration: int | None) -> str:
        """Name the job that appears for `parent` (a job's id) and, per checkpoint, this iteration."""
        prefix = self.id.removesuffix(self.parent)
        return f"{prefix}{parent}" if iteration is None else f"{prefix}{parent}@{iteration:07d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a job that stands for a batch of checkpoints does for one of them."""

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """The variables that differ from the job's own."""
    params: Mapping[str, JSON] = field(default_factory=dict)
    """The names whose values differ from the job's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as planned: every value resolved."""

    id: str
    study: str
    stage: str
    values: Mapping[str, JSON] = field(default_factory=dict)
    """The sweep axes, each with its value."""
    params: Mapping[str, JSON] = field(default_factory=dict)
    """Every name its recipe gives it, resolved."""
    point: Mapping[str, JSON] = field(default_factory=dict)
    """What its sweep point defines (axes, entry params, defaults) as written, for the jobs that appear for it."""
    needs: tuple[str, ...] = ()
    parent: str | None = None
    """The job that a job of an `each` stage appeared for."""
    template: str | None = None
    iteration: int | None = None
    """The checkpoint's that it appeared for; of a batch, the last one's."""
    iterations: tuple[int, ...] = ()
    """Those of the batch of checkpoints it stands for; empty if it stands for one thing."""
    runs: tuple[Run, ...] = ()
    """What it does for each of `iterations`, one after the other."""
    backend: str | None = None
    args: Mapping[str, JSON] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    output: str = ""
    """Where its results stand, relative to its directory."""
    start: Condition = field(default_factory=lambda: Condition(name="all"))
    cancel: Condition | None = None
    """When nobody needs it any more."""
    finish: Condition | None = None
    """When it has done enough, although its program has not ended."""
    prepare: tuple[HookCall, ...] = ()
    gate: tuple[str, ...] = ()
    """The gate's argv; empty without one."""
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    no_progress_s: float | None = None
    events: tuple[Rule, ...] = ()
    priority: int = 0
    """What is submitted first where not all may be: the highest."""
    requires: tuple[str, ...] = ()
    """Files and folders that it cannot do without, such as its data."""
    key: str = ""
    """The study's own random mark, part of every token."""
    children: tuple[Template, ...] = ()
    """What appears for this job, or for its checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Where a job stands: the fold of its journal lines."""

    spec: JobSpec
    state: State | None = None
    """None before its birth is in the journal."""
    attempt: int = 0
    """The newest attempt's number; 0 before the first."""
    token: str | None = None
    scheduler_id: str | None = None
    unused: bool = False
    """The newest attempt was refused before it ran: the next submission is the same attempt."""
    withdrawn: bool = False
    """We asked the executor to take the newest attempt back."""
    pending: Verb | None = None
    """What was asked and waits for the attempt to end."""
    hung: bool = False
    """It was stopped because it stalled."""
    avoided: Mapping[str, float] = field(default_factory=dict)
    """Nodes that its endings were blamed on, and until when nothing of its study is to run there."""
    astray: str = ""
    """It was stopped because it did not continue from where it was to, as this says."""
    started_at: float = 0.0
    """When the newest attempt began, where it has GPUs; seconds since the epoch."""
    gpu_seconds: float = 0.0
    """What its attempts that are over have used."""
    spent: int = 0
    """Attempts that count against `RetryPolicy.max_attempts`."""
    ahead: int = 0
    """The attempt that waits in the queue for the present one to end; 0 without one."""
    dropped: int = 0
    """The newest attempt that waited there, and was taken back: its number is used up."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """How many of `spent` ended in each class whose answer counts them."""
    reduced: Mapping[str, JSON] = field(default_factory=dict)
    """Params that its attempts have other values of than the plan, since one ended for want of memory, say."""
    refusals: int = 0
    """Submissions refused, or with a lost answer, in a row."""
    matched: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    """How often each of its `events` has happened, and where its log said so last."""
    due: tuple[Mapping[str, JSON], ...] = ()
    """Of these, what has not been answered yet, each with what was seen."""
    checkpoints: tuple[int, ...] = ()
    """Iterations of its own whole checkpoints, in the order they were found."""
    batches: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """Which of its checkpoints stand in one job together, by template."""
    afresh: int = 0
    """The attempt that a restart asked for: what a batch had done before it does not count."""
    began_at: int = 0
    """The newest checkpoint's iteration when the attempt was submitted: progress since then refunds it."""
    since: float = 0.0
    """When it came into its state, seconds since the epoch."""
    wake_at: float | None = None
    """When it tries again; None if nothing but events moves it."""
    reason: str = ""
    """Why it is in its state, for a person to read."""
    ending: EndingClass | None = None
    """How the newest attempt ended."""
    retired: bool = False
    """The recipe no longer has it."""

    @property
    def id(self) -> str:
        """Its name within the study."""
        return self.spec.id

    @property
    def iteration(self) -> int:
        """The newest whole checkpoint's iteration; 0 without one."""
        return max(self.checkpoints, default=0)

    def templates_for(self, iteration: int | None) -> Iterator[Template]:
        """List what stands for just a checkpoint of this iteration, or (None) for the job itself."""
        for template in self.spec.children:
            kind = "job" if iteration is None else "checkpoint"
            if template.kind == kind and template.batch is None and self._is_alone(iteration, template):
                yield template

    def _is_alone(self, iteration: int | None, template: Template) -> bool:
        return iteration is None or (template.wants(iteration) and iteration not in self.batched(template.id))

    def batched(self, template: str) -> Collection[int]:
        """List the iterations that stand in a template's batches."""
        return {iteration for batch in self.batches.get(template, ()) for iteration in batch}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A condition's answer, with its reason."""

    holds: bool
    reason: str
    unknown: bool = False
    """Nobody knows yet, or now: its opposite does not hold either."""
    dead: bool = False
    """It can no longer hold, whatever happens next (short of a person's marker)."""
    stays: bool = False
    """It holds, and always will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One move, as the journal keeps it; `changes` are the fields of `Job` that it set."""

    at: float
    study: str
    job: str
    attempt: int
    trigger: str
    source: State | None
    target: State
    evidence: Mapping[str, JSON] = field(default_factory=dict)
    changes: Mapping[str, JSON] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
