"""What is between short jobs: two hundred that do nothing in two slots, and fifty of which each waits for the last.

python -m benchmarks short_jobs
"""

import subprocess
import time
from collections.abc import Iterator
from itertools import islice

from benchmarks.figures import Figure
from benchmarks.stand import AUTOEXP, Stand, stand

NOTHING = "stages:\n  one: {command: ['true']}\n"
MOVES = 50_000


def measure() -> Iterator[Figure]:
    """Measure all of them."""
    with stand() as place:
        place.plan(NOTHING, jobs=200, cpus="2")
        took_s = until_done_s(place)
        yield Figure(
            what="200 jobs that do nothing, 2 slots",
            measured=took_s,
            unit="s",
            wanted=1.5,
            floor=xargs_s(place, 2),
            floor_is="xargs -P2 over their run.sh",
        )
    with stand() as place:
        place.plan(_chain(50), cpus="2")
        took_s = until_done_s(place)
        yield Figure(
            what="a chain of 50 jobs that do nothing",
            measured=took_s,
            unit="s",
            wanted=0.8,
            floor=xargs_s(place, 1),
            floor_is="xargs over their run.sh",
        )
    yield Figure(
        what="moves a second through step and journal",
        measured=moves_a_second(),
        unit="/s",
        wanted=5000,
        more_is_better=True,
    )


def _chain(length: int) -> str:
    stages = [f"  s{n:02d}: {{command: ['true']{f', needs: s{n - 1:02d}' if n else ''}}}" for n in range(length)]
    return "\n".join(["stages:", *stages, ""])


def until_done_s(place: Stand) -> float:
    """Watch until all is done."""
    began = time.perf_counter()
    subprocess.run([*AUTOEXP, "watch", str(place.root), "--until-done"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def xargs_s(place: Stand, slots: int) -> float:
    """Run the same scripts, so many at once, as attempts of their own."""
    scripts = [str(place.job(name) / "run.sh") for name in place.jobs()]
    command = "export AUTOEXP_ATTEMPT=9 AUTOEXP_TOKEN=t.9.k; mkdir -p ${1%/*}/attempts/009; exec bash $1"
    began = time.perf_counter()
    subprocess.run(
        ["xargs", f"-P{slots}", "-I{}", "bash", "-c", command, "bash", "{}"],
        input="\n".join(scripts),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def moves_a_second() -> float:
    """Decide moves of a thousand jobs, and make them durable a batch at a time."""
    from autoexp.journal import open_journal  # noqa: PLC0415
    from autoexp.model import Job  # noqa: PLC0415
    from autoexp.recall import folder_of  # noqa: PLC0415
    from autoexp.registry import Registry  # noqa: PLC0415
    from autoexp.standings import Standings  # noqa: PLC0415
    from benchmarks import restart  # noqa: PLC0415

    with stand() as place:
        place.plan(NOTHING, jobs=1000)
        specs = Registry(place.root).load(place.root / "bench").study.plan.jobs
        journal = open_journal(folder_of(place.home / "v"), [], Standings(), 0, holder={"host": "h", "pid": 1}, at=0.0)
        began = time.perf_counter()
        told = islice(restart.made_up_moves([Job(spec=spec) for spec in specs]), MOVES)
        while batch := list(islice(told, restart.BATCH)):
            journal.append(batch)
        took_s = time.perf_counter() - began
        journal.close()
    return MOVES / took_s
