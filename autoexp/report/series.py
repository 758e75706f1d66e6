"""What a training job's logs say: its attempts, each a series of reports.

Rule 1: a report says what its own line says. A loss that a line leaves out (as Megatron does when it is not a number)
is None, never the one before it.
Rule 2: the newest attempt is right: what it reports of an iteration replaces what an earlier one did.
Rule 3: the first reports of an attempt include its start (loading, compiling, warming up), so speeds leave them out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autoexp.backends import Backend
from autoexp.files import read_json
from autoexp.logs import LogFacts, complete_lines
from autoexp.report.numbers import LARGEST_WHOLE, duration_s, finite, whole

CHUNK_BYTES = 1 << 20
WARM_UP = 2
"""Reports at the start of an attempt that its speed leaves out."""
ENOUGH = 4
"""An attempt with no more reports than this keeps them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One report of a log."""

    iteration: int
    loss: float | None = None
    seconds: float | None = None
    """Per iteration."""
    tflops: float | None = None
    """TFLOP/s per GPU."""
    global_batch_size: int | None = None
    samples_per_s: float | None = None
    """Of the whole job, where the program tells that itself."""
    tokens_per_gpu_s: float | None = None
    mfu: float | None = None
    """As the program itself reckons it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt's log says."""

    number: int
    points: tuple[Point, ...] = ()
    train_iters: int | None = None
    lasted_s: float | None = None
    """From its start to its end, 0 of one that never began; None while it has not ended, or nobody knows when."""
    spoke_s: float | None = None
    """From its start to the last that it wrote: what is known of one that was lost with its node."""
    peak_memory: int | None = None
    """The most bytes that its log tells of."""
    problem: str = ""
    """Why its log says less than it could."""

    @property
    def settled(self) -> tuple[Point, ...]:
        """The reports that its speed is taken from."""
        return self.points[WARM_UP:] if len(self.points) > ENOUGH else self.points


def read_attempts(job_dir: Path, backend: Backend) -> tuple[Attempt, ...]:
    """Read every attempt of a job, the oldest first; none if it has not begun."""
    try:
        folders = {int(path.name): path for path in (job_dir / "attempts").iterdir() if path.name.isdecimal()}
    except FileNotFoundError:
        return ()
    return tuple(read_attempt(folders[number], number, backend) for number in sorted(folders))


def read_attempt(folder: Path, number: int, backend: Backend) -> Attempt:
    """Read one attempt's log; what cannot be read of it is said, and costs nothing else."""
    reader = _Reader(backend)
    try:
        reader.read(_lines(folder / "output.log"))
        problem = reader.problem(number)
    except FileNotFoundError:
        problem = f"attempt {number} has no log"
    except OSError as error:
        problem = f"the log of attempt {number} cannot be read: {error.strerror}"
    return Attempt(
        number=number,
        points=tuple(reader.points),
        train_iters=whole(reader.facts.train_iters),
        lasted_s=_lasted_s(folder),
        spoke_s=_spoke_s(folder),
        peak_memory=reader.peak_memory or None,
        problem=problem,
    )


def _lasted_s(folder: Path) -> float | None:
    try:
        if not (
            (folder / "started.json").exists() or (folder / "exit.json").exists() or (folder / "output.log").exists()
        ):
            return 0.0  # it never began
        began, ended = (finite((read_json(folder / name) or {}).get("at")) for name in ("started.json", "exit.json"))
    except OSError:
        return None
    return ended - began if began is not None and ended is not None and ended >= began else None


def _spoke_s(folder: Path) -> float | None:
    try:
        began = finite((read_json(folder / "started.json") or {}).get("at"))
        wrote = (folder / "output.log").stat().st_mtime
    except OSError:
        return None
    return wrote - began if began is not None and wrote >= began else None


def merged(attempts: Iterable[Attempt]) -> tuple[Point, ...]:
    """Join attempts, given oldest first, to one series by iteration."""
    found = {point.iteration: point for attempt in attempts for point in attempt.points}
    return tuple(found[iteration] for iteration in sorted(found))


class _Reader:
    """A backend's reading of one log."""

    def __init__(self, backend: Backend) -> None:
        self.facts = LogFacts()
        self.points: list[Point] = []
        self.peak_memory = 0
        self._backend = backend
        self._senseless = 0

    def read(self, lines: Iterable[str]) -> None:
        """Note each report, and count those of an iteration that is none."""
        for line in lines:
            self._note(self._backend.read(self.facts, line))
            self.peak_memory = max(self.peak_memory, self.facts.peak_memory_bytes or 0)

    def _note(self, facts: LogFacts) -> None:
        if facts.iteration is None or facts.reports == self.facts.reports:
            self.facts = facts
        elif facts.iteration > LARGEST_WHOLE:
            self._senseless += 1
        else:
            if self.points and self.points[-1].iteration == facts.iteration:  # several ranks report
                self.points.pop()
            self.points.append(_point(facts, facts.iteration))
            self.facts = replace(facts, loss=None)

    def problem(self, number: int) -> str:
        return f"{self._senseless} lines in the log of attempt {number} make no sense" if self._senseless else ""


def _point(facts: LogFacts, iteration: int) -> Point:
    return Point(
        iteration=iteration,
        loss=finite(facts.loss),
        seconds=duration_s(facts.seconds_per_iteration),
        tflops=finite(facts.tflops),
        global_batch_size=whole(facts.global_batch_size),
        samples_per_s=duration_s(facts.samples_per_second),
        tokens_per_gpu_s=duration_s(facts.tokens_per_second),
        mfu=finite(facts.mfu),
    )


def _lines(path: Path) -> Iterator[str]:
    """Read complete lines; the last one of a log still being written waits for its end."""
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            lines, used = complete_lines(rest + chunk)
            rest = (rest + chunk)[used:]
            yield from (line.decode(errors="replace") for line in lines)
