"""What a job's log has told so far, and how its bytes become lines. Pure text."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autoexp.model import EndingClass

LONGEST_LINE_BYTES = 1 << 13
"""A longer line is read as if it ended here: no grammar needs more."""


MOST_SAVES = 100
"""How many saves are remembered: a log may call any number of them successful, and each line is read as it comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A line that one of the job's `events` was waiting for; `offset` is its first byte's place in the log."""

    rule: str
    offset: int
    line: str
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """Everything that counts in one attempt's log, up to `offset`."""

    inode: int = 0
    offset: int = 0
    """Bytes read, up to the end of the last complete line."""
    behind: bool = False
    """More stands there than one look reads."""
    iteration: int | None = None
    """The last one it tells of, as it counts them."""
    train_iters: int | None = None
    reports: int = 0
    """How many reports it holds: lines that tell a loss, where a progress bar tells an iteration only."""
    loss: float | None = None
    lr: float | None = None
    tflops: float | None = None
    """Model TFLOP/s per GPU."""
    mfu: float | None = None
    """Of the peak, as the program itself reckons it: 0.4 is 40 %."""
    tokens_per_second: float | None = None
    """Per GPU."""
    samples_per_second: float | None = None
    """Of all GPUs."""
    peak_memory_bytes: int | None = None
    """On the GPU of the rank that reports, or the highest of all where each is told."""
    seconds_per_iteration: float | None = None
    global_batch_size: int | None = None
    loaded: int | None = None
    """The iteration of the checkpoint that the run continued from."""
    lost: str = ""
    """The line that says that it found no checkpoint to continue from."""
    first_lr: float | None = None
    """The learning rate of the first report since it loaded."""
    first_iteration: int | None = None
    """The iteration of that report."""
    saving: int | None = None
    """A save that has begun and is not called successful yet."""
    saves: tuple[int, ...] = ()
    """Iterations whose save the log calls successful, the last `MOST_SAVES` of them."""
    done: bool = False
    """The program's own mark of a finished training."""
    cut_short: str = ""
    """The line that says that the training ends before its last iteration, though nothing failed."""
    diverged: bool = False
    """The last report has no finite loss."""
    symptom: EndingClass | None = None
    """What the strongest telling error line points at, of those since the training last got further."""
    symptom_line: str = ""
    matches: tuple[Match, ...] = ()
    last_line: str = ""
    """The last line that is not blank, shortened."""

    def with_save(self, iteration: int) -> tuple[int, ...]:
        """Return `saves` with one more."""
        return (*self.saves[1 - MOST_SAVES :], iteration)


_ENDS = re.compile(rb"\r\n|\n|\r")


def complete(data: bytes) -> int:
    r"""Say how many bytes the complete lines take that these begin with.

    `\r`, `\n` and `\r\n` each end a line. A last `\r` is left for later, its `\n` may be on the way.
    """
    usable = data[:-1] if data.endswith(b"\r") else data
    end = max(usable.rfind(b"\n"), usable.rfind(b"\r")) + 1
    return end or (len(usable) if len(usable) > LONGEST_LINE_BYTES else 0)


def complete_lines(data: bytes) -> tuple[list[bytes], int]:
    """Split bytes into complete lines; return them and how many bytes they took."""
    used = complete(data)
    lines = _ENDS.split(data[:used]) if used else []
    return lines[:-1] if lines and not lines[-1] else lines, used


def numbered_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split bytes that end with a line into lines, each with the place of its first byte."""
    start = 0
    for end in _ENDS.finditer(data):
        yield start, data[start : end.start()]
        start = end.end()
    if start < len(data):
        yield start, data[start:]


_SYMPTOMS: Mapping[EndingClass, str] = {
    EndingClass.TIME_LIMIT: r"DUE TO TIME LIMIT",
    EndingClass.PREEMPTED: r"DUE TO PREEMPTION|DUE TO JOB REQUEUE",
    EndingClass.NODE_FAIL: r"DUE TO NODE FAILURE|Node failure on|UNCORRECTABLE MEMORY ERROR AT",
    EndingClass.HOST_OOM: r"oom[-_ ]?kill|Out Of Memory|Cannot allocate memory|DefaultCPUAllocator: can't allocate"
    r"|[Ee]xceeded (?:job )?memory limit|(?<![\w'])MemoryError\b",
    EndingClass.CANCELLED: r"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ \*\*\*",
    EndingClass.GPU_OOM: r"(?:CUDA|HIP)(?: error:)? out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
    r"|RESOURCE_EXHAUSTED: Out of memory",
    EndingClass.CONFIG: r"error: (?:unrecognized arguments|argument |the following arguments are required)"
    r"|(?:ModuleNotFoundError|python[\d.]*): No module named",
    EndingClass.LAUNCH: r"(?<!Call to bind failed: )Address already in use|Unable to create step for job"
    r"|FATAL:\s+could not open image",
    EndingClass.CRASHED: r"\bexitcode\s*: -9\b|Signal 9 \(SIGKILL\)|: tasks? [\d,-]+: Killed\b",
    EndingClass.NETWORK: r"NCCL (?:WARN|error).*(?:timeout|unhandled|remote)|ncclRemoteError|ncclSystemError"
    r"|Watchdog caught collective operation timeout|Connection (?:closed|reset) by peer",
}
"""The strongest first: what the scheduler says, then causes, then what every other rank says when one has died.

Slurm kills what exceeds its memory by a cancellation: so want of memory stands before that.
"""
BEGINS_AGAIN = "autoexp: the scheduler queued this attempt again, and it begins again"
"""What run.sh writes then: what was wrong before it is over."""
OF_THE_SCHEDULER = (EndingClass.TIME_LIMIT, EndingClass.PREEMPTED, EndingClass.NODE_FAIL, EndingClass.CANCELLED)
"""Why a scheduler ends a program; it may go on for a while to save, and leave with exit code 0."""
_SYMPTOM = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _SYMPTOMS.items()))


HINTS = (
    *(b"emory", b"MEMORY", b"oom", b"CUBLAS", b"DUE TO", b"CANCELLED AT", b"Node fail", b"NCCL", b"nccl", b"Watchdog"),
    *(b"exitcode", b"SIGKILL", b"Killed", b"Connection", b"error: ", b"No mod", b"Address", b"Unable", b"FATAL: "),
)
"""Every symptom has one of these; searching for them is a hundred times faster."""
HINTS_OF_THE_SCHEDULER = (b"DUE TO", b"CANCELLED AT", b"Node failure on", b"UNCORRECTABLE MEMORY ERROR AT")
"""Every symptom of the scheduler's has one of these: those outlive what the training says afterwards."""


def may_tell(data: bytes) -> bool:
    """Say whether a piece of a log can hold a symptom at all."""
    return any(hint in data for hint in HINTS)


def is_stronger(found: EndingClass, known: EndingClass | None) -> bool:
    """Say whether an error line tells more than the one that was seen before."""
    order = list(_SYMPTOMS)
    return known is None or order.index(found) < order.index(known)


def symptom(line: str) -> EndingClass | None:
    """Say what an error line points at, if it points at anything."""
    found = _SYMPTOM.search(line)
    return EndingClass(found.lastgroup) if found and found.lastgroup else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stands on disk when an attempt has ended, for a backend to judge."""

    log: LogFacts = field(default_factory=LogFacts)
    tracker: int | None = None
    """The iteration the checkpoint folder's tracker names."""
    checkpoints: tuple[int, ...] = ()
    """Iterations of whole checkpoints, the linked one included."""
