"""Where jobs run, as machines/<name>.yaml describes it; `machines` reads that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoexp.model import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What joins a machine's GPUs, as its file says; autoexp/fabrics.py has the names."""

    node: str = ""
    """Inside a node."""
    link: str = ""
    """Between nodes."""
    links_per_gpu: float = 1.0
    node_share: float | None = None
    """The share of the line rate that a gate asks for; None takes the table's."""
    link_share: float | None = None
    threshold_gbps: float | None = None
    """The bus bandwidth a gate asks for, whatever the rest says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The most that a batch scheduler's partition allows one job; None is left to the scheduler."""

    walltime_s: int | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    cpus: int | None = None
    """CPU cores, per node."""
    memory_bytes: int | None = None
    """Per node."""
    gpu: str = ""
    """The kind of GPU its nodes have."""
    peak_tflops: float | None = None
    """What one such GPU could do at most: dense bf16, in 10^12 operations a second."""
    max_submitted: int | None = None
    """How many of the user's jobs may be queued or run there."""
    max_running: int | None = None
    """How many of them may run there, with those of ours that are queued and may start at any moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where jobs run, as machines/<name>.yaml describes it."""

    name: str
    description: str = ""
    executor: str = "local"
    cpus: int | None = None
    """CPU cores for jobs; None counts those of this host."""
    gpus: int | None = None
    """GPUs for jobs; None counts those of this host."""
    python: str = ""
    """The interpreter for trainers and hooks; the one that planned, if empty."""
    launcher: tuple[str, ...] = ("srun",)
    """What starts a program on each node of a job of several."""
    environment: tuple[str, ...] = ()
    """Variables of the watcher's own that jobs see besides PATH, HOME, USER, LANG and TMPDIR."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """What a backend starts here, by backend, unless the recipe's param `program` says otherwise."""
    observer: str = "auto"
    """`inotify`, `poll`, or `auto` to choose."""
    max_stats_per_second: int = 300
    """How many entries of directories are looked at in a second where nothing tells us to."""
    sweep_s: float = 10.0
    """How often every job is looked at, whatever the observer says."""
    poll_s: float = 1.0
    """How often a directory in which something happens is looked at where nothing tells us to."""
    visibility_s: float = 60.0
    """How long a file written elsewhere may take to be seen here."""
    max_submitted: int | None = None
    """How many of the user's jobs a batch scheduler may have, those of other programs and by hand included."""
    qos_max_submitted: Mapping[str, int] = field(default_factory=dict)
    """The same for some of its QOS."""
    max_running: int | None = None
    """How many of them may run, with those of ours that are queued and may start at any moment."""
    qos_max_running: Mapping[str, int] = field(default_factory=dict)
    submit_interval_s: float = 0.0
    """The shortest time from one submission to the next."""
    query_interval_s: float = 15.0
    """A batch scheduler is never asked more often than this."""
    container: Mapping[str, JSON] = field(default_factory=dict)
    """What holds for all containers here; autoexp/containers.py has the keys."""
    setup: str = ""
    """Shell commands that a job begins with, such as `module load cuda`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What a batch scheduler is told of every job, unless its stage says otherwise."""
    stop_grace_s: float = 10.0
    """From the polite signal to the last one."""
    save_grace_s: float = 300.0
    """The same for an attempt that was asked to save."""
    network: Network = Network()
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    """What some of its partitions allow; `options` says which one a job gets that names none."""
    all_partitions: bool = False
    """There are no others."""
