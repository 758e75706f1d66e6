"""Judges checkpoints in a process of its own, for their files may come from anybody.

A pickle of a few hundred bytes can ask for hours of processor time, or for all the memory there is, without running
anything: dictionary keys of tuples that share tuples, a memo of four billion places. Python cannot interrupt that, so
the process that reads is given little of both, and may be lost; the watcher goes on, and says why.
"""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoexp import checkpoints, clock
from autoexp.checkpoints import Judgement

MOST_CPU_S = 10
"""A 2 TB checkpoint takes less than one."""
MOST_BYTES = 8 << 30
"""Of address space; the index of a 2 TB checkpoint takes some hundred MB."""
_TOO_LONG = f"judging it takes more than {MOST_CPU_S} s of processor time: no training wrote it as it is"
AGAIN_AFTER_S = 3600.0
"""When it is worth another try."""
_ASIDE = "import sys; sys.path.append(sys.argv[1]); from autoexp.examiner import serve; serve()"
"""What the other process runs; the folder that autoexp lies in comes last, and may be a checkout."""


@dataclass(slots=True)
class Examiner:
    """The other process: it starts with the first question, and anew after one that it did not survive."""

    told: Callable[[Judgement, Path], None] = lambda _judgement, _folder: None
    """Is told of what could not be judged."""
    _child: "subprocess.Popen[str] | None" = None
    _hopeless: dict[Path, tuple[float, Judgement]] = field(default_factory=dict)
    """Folders that it did not survive, and when."""

    def judge(self, folder: Path, *, deep: bool = False) -> Judgement:
        """Judge as `checkpoints.judge` does, but for what takes too much: that is not complete."""
        tried_at, judgement = self._hopeless.get(folder, (-AGAIN_AFTER_S, None))
        if judgement is not None and clock.now() - tried_at < AGAIN_AFTER_S:
            return judgement
        said = self._ask({"folder": str(folder), "deep": deep})
        if isinstance(said, dict):
            return Judgement(**said)
        judgement = checkpoints.unjudged(folder, said)
        self._hopeless[folder] = clock.now(), judgement
        self.told(judgement, folder)
        return judgement

    def _ask(self, question: dict[str, Any]) -> dict[str, Any] | str:
        """Ask, and return the answer; where there is none, why not."""
        child, self._child = self._child or self._start(), None  # a reader that is interrupted leaves an answer behind
        try:
            said = _answer(child, json.dumps(question))
        except BaseException:
            _end(child)
            raise
        if not said.endswith("\n"):
            status = _end(child)
            return _TOO_LONG if status == -signal.SIGXCPU else f"the process that judges it ended with status {status}"
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError:
            _end(child)
            return f"the process that judges it answered {said[:80]!r}"
        self._child = child
        return found

    @staticmethod
    def _start() -> "subprocess.Popen[str]":
        # -P: a json.py in the user's working folder is none of ours
        command = (sys.executable, "-P", "-c", _ASIDE, str(Path(__file__).resolve().parents[1]))
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - it is ourselves

    def close(self) -> None:
        """Let the other one go."""
        if self._child is not None:
            _end(self._child)
            self._child = None


@contextmanager
def examining(told: Callable[[Judgement, Path], None] | None = None) -> Iterator[None]:
    """Judge every checkpoint in a process of its own for a while; `told` hears of what could not be judged."""
    examiner = Examiner(told) if told else Examiner()
    try:
        with checkpoints.judged_by(examiner.judge):
            yield
    finally:
        examiner.close()


def _answer(child: "subprocess.Popen[str]", question: str) -> str:
    """Return the line that it answers; empty where it ends instead."""
    try:
        print(question, file=child.stdin, flush=True)
        return child.stdout.readline() if child.stdout else ""
    except BrokenPipeError:
        return ""


def _end(child: "subprocess.Popen[str]") -> int:
    """Let it go; return its status."""
    for pipe in filter(None, (child.stdin, child.stdout)):
        with suppress(BrokenPipeError):
            pipe.close()
    try:
        return child.wait(1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


# In the other process


def _limit(kind: int, most: int) -> None:
    """Allow ourselves no more than this."""
    _, hardest = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hardest == resource.RLIM_INFINITY else min(most, hardest), hardest))


def _limit_cpu() -> None:
    """Allow ourselves a few seconds more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + MOST_CPU_S)


def serve() -> None:
    """Answer questions until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _limit(resource.RLIMIT_AS, MOST_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    for line in sys.stdin:
        question = json.loads(line)
        folder = Path(question["folder"])
        _limit_cpu()
        judgement = checkpoints.judge(folder)
        if question["deep"]:
            resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU)[1:] * 2)
            judgement = checkpoints.judge(folder, deep=True)  # its files are read in full, however long that takes
        print(json.dumps(asdict(judgement)), flush=True)  # noqa: T201 - the answer
