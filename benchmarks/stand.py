"""A place to measure in: a root with a study, and a watcher of it as a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUTOEXP = (sys.executable, "-m", "autoexp")
STUDY = "bench"
TICKS = os.sysconf("SC_CLK_TCK")
LONG_S = 900.0
WAITS = "stages:\n  one: {command: [true], start: {file_exists: {path: never}}}\n"
"""Jobs that wait for ever."""


@dataclass(frozen=True, slots=True)
class Stand:
    """A folder of its own, with a root."""

    home: Path

    @property
    def root(self) -> Path:
        """The experiments folder."""
        return self.home / "experiments"

    def job(self, name: str) -> Path:
        """A job's directory."""
        return self.root / STUDY / "jobs" / name

    def jobs(self) -> list[str]:
        """List the names of all jobs that there are directories of."""
        return sorted(path.name for path in (self.root / STUDY / "jobs").iterdir())

    def plan(self, stages: str, jobs: int = 1, **machine: str) -> None:
        """Plan a study; of more than one job, by a sweep over `n`."""
        usual = {"extends": "local", **machine}
        (self.home / "machines").mkdir(exist_ok=True)
        (self.home / "machines" / "stand.yaml").write_text("".join(f"{key}: {usual[key]}\n" for key in usual))
        sweep = f"sweep: {{params: {{n: {list(range(jobs))}}}}}\n" if jobs > 1 else ""
        (self.home / "bench.yaml").write_text(f"study: {STUDY}\nmachine: stand\n{sweep}{stages}")
        self.autoexp("plan", "bench.yaml")

    def autoexp(self, *words: str) -> str:
        """Run a command of autoexp's to its end."""
        root = ("--root", str(self.root)) if words[0] in ("plan", "run") else ()
        done = subprocess.run([*AUTOEXP, *words, *root], cwd=self.home, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    @contextmanager
    def watched(self, *options: str) -> Iterator["Watcher"]:
        """Have it watched; end whatever jobs are left afterwards."""
        words = [*AUTOEXP, "watch", str(self.root), *options]
        with subprocess.Popen(words, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield Watcher(self, process)
            finally:
                process.terminate()
                process.wait()
                self.end_jobs()

    def end_jobs(self) -> None:
        """Kill what jobs have left running."""
        from autoexp.hosts import carriers  # noqa: PLC0415 - after the path is set

        for pid in carriers("AUTOEXP_ROOT", str(self.root)):
            os.kill(pid, 9)

    def journal(self) -> "Tail":
        """Follow the journal from here on."""
        return Tail(max((self.home / "var" / "experiments" / "journal").glob("*.jsonl"), key=lambda p: int(p.stem)))

    def states(self) -> Mapping[str, int]:
        """Count the jobs by state."""
        said = json.loads(self.autoexp("status", str(self.root), "--json"))
        counts: dict[str, int] = {}
        for row in said["studies"][0]["jobs"]:
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        return counts


@dataclass(frozen=True, slots=True)
class Watcher:
    """The watcher's process."""

    stand: Stand
    process: "subprocess.Popen[bytes]"

    def ready(self, **states: int) -> "Tail":
        """Wait until so many jobs are in these states; return the journal from there on."""
        until(lambda: states.items() <= self._states().items(), f"{states}")
        return self.stand.journal()

    def _states(self) -> Mapping[str, int]:
        progress = self.stand.home / "var" / "experiments" / "progress.json"
        return self.stand.states() if progress.exists() else {}

    def cpu_s(self) -> float:
        """Return the processor time it has used so far, its threads and ended children included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICKS

    def load(self, seconds: float) -> float:
        """Return how much of one core it uses meanwhile, in per cent."""
        before, began = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - before) / (time.monotonic() - began)

    def memory_mb(self) -> float:
        """Return its resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1024


class Tail:
    """The lines of a file as they are added."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines that have come since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [json.loads(line) for line in lines]

    def until(self, wanted: Callable[[dict[str, Any]], bool], patience_s: float = 60.0) -> float:
        """Return when a line like this was there, by our clock; it is looked for every 0.1 ms."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if any(wanted(line) for line in self.lines()):
                return time.perf_counter()
            time.sleep(0.0001)
        raise TimeoutError("the line never came")


def until(holds: Callable[[], bool], what: str, patience_s: float = LONG_S) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not come about.
    """
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


@contextmanager
def stand() -> Iterator[Stand]:
    """Have a place, and leave nothing of it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Stand(Path(folder))
