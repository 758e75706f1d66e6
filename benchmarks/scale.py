"""What a root of ten thousand jobs costs: to watch, to start, to look at; and what is asked of a file server.

python -m benchmarks scale
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, percentile
from benchmarks.reactions import marker_ms
from benchmarks.stand import AUTOEXP, WAITS, Stand, stand

JOBS, RUNNING = 10_000, 1_000
RESTING_S = 30.0
TWO_STAGES = """
stages:
  one:
    command: [sleep, infinity]
    start: {{file_exists: {{path: "${{calc:'\\"job.yaml\\" if ${{n}} < {running} else \\"never\\"'}}"}}}}
"""
LINE = " iteration {0:8d}/ 1000000 | consumed samples: {0:12d} | lm loss: 2.0E+00 | number of nan iterations: 0 |\n"


def measure() -> Iterator[Figure]:
    """Measure all of them."""
    with stand() as place:
        place.plan(WAITS, jobs=JOBS)
        idle_ms = yield from waiting(place)
        yield from commands(place)
    with stand() as place:
        place.plan(TWO_STAGES.format(running=RUNNING), jobs=JOBS, cpus=str(RUNNING))
        yield from busy(place, idle_ms)
    with stand() as place:
        place.plan(TWO_STAGES.format(running=RUNNING), jobs=RUNNING, cpus=str(RUNNING), observer="poll")
        yield from polled(place)


def waiting(place: Stand) -> Iterator[Figure]:
    """Watch jobs that all wait."""
    with place.watched() as watcher:
        journal = watcher.ready(waiting=JOBS)
        time.sleep(5.0)
        found = marker_ms(place, journal, place.jobs()[:100])
        yield Figure(what="CPU, 10,000 jobs that wait", measured=watcher.load(RESTING_S), unit="%", wanted=0.5)
        yield Figure(what="resident memory, 10,000 jobs", measured=watcher.memory_mb(), unit="MB", wanted=200)
        took_s = _wall_s("watch", str(place.root), "--ensure", cwd=place.home)
        bare_s = _python_s()
        yield Figure(
            what="a cron tick that finds a live watcher",
            measured=took_s,
            unit="s",
            wanted=0.15,
            floor=bare_s,
            floor_is="python -c pass",
        )
    return percentile(found, 0.5)


def commands(place: Stand) -> Iterator[Figure]:
    """Look at it, and start again."""
    status_s = min(_wall_s("status", str(place.root), cwd=place.home) for _ in range(3))
    yield Figure(
        what="status of 10,000 jobs",
        measured=status_s,
        unit="s",
        wanted=0.2,
        floor=_python_s(),
        floor_is="python -c pass",
    )
    with place.watched():
        began = time.perf_counter()
        var = place.home / "var" / "experiments"
        before = {path.name for path in (var / "journal").iterdir()}
        while {path.name for path in (var / "journal").iterdir()} == before:
            time.sleep(0.001)
        place.journal()
        took_s = time.perf_counter() - began
    scan_s = _scan_s(place.root / "bench" / "jobs")
    yield Figure(
        what="restart with 10,000 jobs, to the journal's first line",
        measured=took_s,
        unit="s",
        wanted=2,
        floor=scan_s,
        floor_is="one scandir of the tree",
    )


def busy(place: Stand, idle_ms: float) -> Iterator[Figure]:
    """Watch a thousand that write a line a second, of ten thousand."""
    with place.watched("--observer", "inotify") as watcher:
        journal = watcher.ready(running=RUNNING)
        logs = list(place.root.glob("bench/jobs/*/attempts/001/output.log"))
        over = threading.Event()
        writer = threading.Thread(target=_write_logs, args=(logs, over))
        writer.start()
        try:
            time.sleep(5.0)
            yield Figure(
                what="CPU, 1,000 of 10,000 jobs log once a second",
                measured=watcher.load(RESTING_S),
                unit="%",
                wanted=25,
            )
            found = marker_ms(place, journal, place.jobs()[-100:])
            yield Figure(
                what="marker to journal meanwhile, p50",
                measured=percentile(found, 0.5),
                unit="ms",
                wanted=3 * idle_ms,
                floor=idle_ms,
                floor_is="the same, idle",
            )
            yield Figure(what="resident memory meanwhile", measured=watcher.memory_mb(), unit="MB", wanted=200)
        finally:
            over.set()
            writer.join()


def _write_logs(logs: list[Path], over: threading.Event) -> None:
    """Write a line to each log every second, evenly spread; in a process of its own, so that it costs nobody else."""
    open_files = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in logs]
    for number in range(1_000_000):
        due = time.monotonic() + 1 / len(open_files)
        os.write(open_files[number % len(open_files)], LINE.format(number // len(open_files)).encode())
        if over.is_set():
            break
        time.sleep(max(due - time.monotonic(), 0))
    for file in open_files:
        os.close(file)


def polled(place: Stand) -> Iterator[Figure]:
    """Count what a watcher that polls asks of the file system; none of it inside checkpoints."""
    with place.watched("--observer", "poll") as watcher:
        watcher.ready(running=RUNNING)
        shards = place.job(place.jobs()[0]) / "checkpoints"
        for iteration in range(1, 201):
            rank = shards / f"iter_{iteration:07d}"
            rank.mkdir(parents=True)
            for shard in range(64):
                (rank / f"shard_{shard}").touch()
        time.sleep(5.0)
        calls = traced(watcher.process.pid, RESTING_S)
    asked = [line for line in calls if re.search(r"(stat|statx|access|openat|getdents64)\(", line)]
    inside = [line for line in calls if "/shard_" in line]
    yield Figure(
        what="stats, opens and listings a second, 1,000 running jobs polled",
        measured=len(asked) / RESTING_S,
        unit="/s",
        wanted=300,
    )
    yield Figure(what="shards of 200 checkpoints that were stat'ed", measured=len(inside), unit="", wanted=0)


def traced(pid: int, seconds: float) -> list[str]:
    """List the system calls with paths that a process makes meanwhile."""
    words = ["strace", "-f", "-e", "trace=%file,getdents64,fstat", "-p", str(pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as tracer:
        threading.Timer(seconds, tracer.terminate).start()
        return tracer.stderr.read().splitlines() if tracer.stderr else []


def _wall_s(*words: str, cwd: Path) -> float:
    began = time.perf_counter()
    subprocess.run([*AUTOEXP, *words], cwd=cwd, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _python_s() -> float:
    found = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([AUTOEXP[0], "-c", "pass"], check=True)
        found.append(time.perf_counter() - began)
    return min(found)


def _scan_s(folder: Path) -> float:
    began = time.perf_counter()
    for entry in os.scandir(folder):
        if entry.is_dir():
            list(os.scandir(entry.path))
    return time.perf_counter() - began
