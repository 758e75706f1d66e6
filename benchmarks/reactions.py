"""How soon something on disk becomes a durable move, or a started process.

python -m benchmarks reactions
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, percentile
from benchmarks.stand import WAITS, Stand, Tail, stand

MS = 1000
JOBS = 1000
SAMPLES = 200
BURST = 120_000
SAVES = """
import pathlib, time
shard = pathlib.Path({shard!r}).read_bytes()
for n in range(1, {count} + 1):
    folder = pathlib.Path("checkpoints", f"iter_{{n:07d}}", "mp_rank_00")
    folder.mkdir(parents=True)
    (folder / "model_optim_rng.pt").write_bytes(shard)
    pathlib.Path("checkpoints/latest_checkpointed_iteration.txt").write_text(str(n))
    pathlib.Path(f"saved.{{n}}").write_text(repr(time.time()))
    print(f" iteration {{n}}/ {count} | lm loss: 2.0E+00 | number of nan iterations: 0 |", flush=True)
    time.sleep(0.5)
print("[after training is done]")
"""
SHARD = (
    "import argparse, sys, torch; "
    "torch.save({'args': argparse.Namespace(a=1), 'model': {}, 'optimizer': {}}, sys.argv[1])"
)
BRANCHES = """
stages:
  train: {{backend: megatron, params: {{program: {home}/saves.py}}, args: {{train-iters: {count}}}}}
  child:
    each: {{checkpoint: train}}
    command: [bash, -c, 'echo $EPOCHREALTIME > began']
"""


def measure() -> Iterator[Figure]:
    """Measure all of them."""
    floor_ms = event_and_sync_ms()
    with stand() as place:
        place.plan(WAITS, jobs=JOBS)
        with place.watched() as watcher:
            journal = watcher.ready(waiting=JOBS)
            time.sleep(2.0)
            yield from _of(marker_ms(place, journal, place.jobs()[:SAMPLES]), "marker to journal, 1,000 jobs", floor_ms)
            again = place.jobs()[SAMPLES : 2 * SAMPLES]
            yield from _of(turned_ms(place, journal, again), "marker right after another was taken", floor_ms)
    with stand() as place:
        yield from _of(fresh_ms(place), "marker in directories just created", floor_ms)
    with stand() as place:
        found = child_ms(place, 20)
        yield Figure(
            what="parent's checkpoint to child's process, p50",
            measured=percentile(found, 0.5),
            unit="ms",
            wanted=30,
            floor=spawn_ms(),
            floor_is="bash -c",
        )
    with stand() as place:
        yield from storm(place)


def _of(found_ms: Sequence[float], what: str, floor_ms: float) -> Iterator[Figure]:
    limits = ((0.5, "p50", 5.0), (0.99, "p99", 20.0), (1.0, "max", 100.0))
    for share, name, wanted in limits:
        measured = percentile(found_ms, share)
        floor = "inotify and fdatasync, p50"
        yield Figure(
            what=f"{what}, {name}", measured=measured, unit="ms", wanted=wanted, floor=floor_ms, floor_is=floor
        )


def marker_ms(place: Stand, journal: Tail, jobs: Sequence[str]) -> list[float]:
    """Drop a marker for each job in turn."""
    return [_drop(place, journal, job, "hold") for job in jobs]


def turned_ms(place: Stand, journal: Tail, jobs: Sequence[str]) -> list[float]:
    """Drop one marker, and another as soon as the first is taken."""
    found = []
    for job in jobs:
        _drop(place, journal, job, "hold")
        while (place.job(job) / "markers" / "hold").exists():
            time.sleep(0.0001)
        found.append(_drop(place, journal, job, "release"))
    return found


def _drop(place: Stand, journal: Tail, job: str, verb: str) -> float:
    began = time.perf_counter()
    (place.job(job) / "markers" / verb).touch()
    return MS * (journal.until(lambda line: line["job"] == job and line["trigger"] == f"{verb}_requested") - began)


def fresh_ms(place: Stand) -> list[float]:
    """Drop markers for jobs that a plan has just brought about, each as soon as the journal knows of it."""
    found, jobs = [], 10
    place.plan(WAITS, jobs=jobs)
    with place.watched() as watcher:
        journal = watcher.ready(waiting=jobs)
        for more in range(jobs + 1, jobs + 21):
            known = set(place.jobs())
            place.plan(WAITS, jobs=more)
            journal.until(lambda line: line["trigger"] == "planned" and line["from"] is None)
            found += [_drop(place, journal, job, "hold") for job in set(place.jobs()) - known]
    return found


def child_ms(place: Stand, count: int) -> list[float]:
    """Save checkpoints; a child of each writes down when it began."""
    shard = place.home / "shard.pt"
    (place.home / "saves.py").write_text(SAVES.format(shard=str(shard), count=count))
    subprocess.run([sys.executable, "-c", SHARD, str(shard)], check=True)
    place.plan(BRANCHES.format(home=place.home, count=count), cpus="4")
    place.autoexp("watch", str(place.root), "--until-done")
    found = []
    for saved in place.root.rglob("saved.*"):
        (child,) = place.root.glob(f"bench/jobs/*{int(saved.suffix[1:]):07d}/began")
        found.append(MS * (float(child.read_text()) - float(saved.read_text())))
    return found


def storm(place: Stand) -> Iterator[Figure]:
    """Have two processes create files in watched directories, while markers are dropped for other jobs."""
    place.plan(WAITS, jobs=JOBS)
    with place.watched() as watcher:
        journal = watcher.ready(waiting=JOBS)
        jobs = place.jobs()
        words = ("import sys,os\nfor n in range(int(sys.argv[1])):\n open(f'{sys.argv[2]}/f{n}', 'w').close()",)
        writers = [
            subprocess.Popen([sys.executable, "-c", *words, str(BURST // 2), str(place.job(job))]) for job in jobs[:2]
        ]
        asked = jobs[100:200]
        for job in asked:
            (place.job(job) / "markers" / "hold").touch()
        for writer in writers:
            writer.wait()
        ended, held = time.perf_counter(), set[str]()
        while len(held) < len(asked) and time.perf_counter() < ended + 60:
            held |= {line["job"] for line in journal.lines() if line["trigger"] == "hold_requested"}
            time.sleep(0.01)
        took_s = time.perf_counter() - ended
    yield Figure(what=f"markers lost in a storm of {BURST:,} files", measured=len(asked) - len(held), unit="", wanted=0)
    yield Figure(what="from its end until all are journaled", measured=took_s, unit="s", wanted=10)


# What the machine needs itself


def event_and_sync_ms() -> float:
    """Measure from a file's creation to a line made durable by a thread that inotify woke."""
    from watchdog.events import FileSystemEventHandler  # noqa: PLC0415
    from watchdog.observers import Observer  # noqa: PLC0415

    found, heard = [], threading.Event()

    class Handler(FileSystemEventHandler):
        def on_created(self, event: object) -> None:  # noqa: ARG002
            os.write(log, b"x" * 300)
            os.fdatasync(log)
            heard.set()

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seen").mkdir()
        log = os.open(Path(folder) / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        observer = Observer()
        observer.schedule(Handler(), f"{folder}/seen")
        observer.start()
        for number in range(SAMPLES):
            heard.clear()
            began = time.perf_counter()
            (Path(folder) / "seen" / str(number)).touch()
            heard.wait()
            found.append(MS * (time.perf_counter() - began))
            time.sleep(0.002)
        observer.stop()
        observer.join()
        os.close(log)
    return percentile(found, 0.5)


def spawn_ms() -> float:
    """Measure how long it takes to start bash."""
    found = []
    for _ in range(50):
        began = time.perf_counter()
        subprocess.run(["bash", "-c", ":"], check=True)
        found.append(MS * (time.perf_counter() - began))
    return percentile(found, 0.5)
