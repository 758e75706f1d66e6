"""What reading logs costs.

python -m benchmarks logs
"""

import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from autoexp import backends
from autoexp.logs import LogFacts
from autoexp.tail import read_on
from benchmarks.figures import Figure

GB = 10**9
REPORT = (
    " [2026-11-20 10:00:{n:02d}] iteration {n:8d}/  500000 | consumed samples: {n:12d} | "
    "elapsed time per iteration (ms): 1234.5 | throughput per GPU (TFLOP/s/GPU): 400.1 | "
    "learning rate: 3.000000E-04 | global batch size:  1024 | lm loss: 2.345678E+00 | loss scale: 1.0 | "
    "grad norm: 0.123 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
)
OTHER = "[rank{n}]: some line that a library prints about its own doings, of which there are many in any log\n"


def write(path: Path, size: int) -> None:
    """Write a log of Megatron's: a report, and nine lines of others."""
    block = b"".join(
        (REPORT.format(n=n) + "".join(OTHER.format(n=m) for m in range(9))).encode() for n in range(1, 1000)
    )
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(block)


def measure() -> Iterator[Figure]:
    """Measure all of them."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "output.log"
        write(log, GB)
        subprocess.run(["cat", log], stdout=subprocess.DEVNULL, check=True)  # into the cache
        backend = backends.find("megatron")
        began = time.perf_counter()
        facts = read_on(log, LogFacts(), backend)
        looks = [time.perf_counter() - began]
        while facts.behind:
            began = time.perf_counter()
            facts = read_on(log, facts, backend)
            looks.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(["grep", "-c", "lm loss", log], stdout=subprocess.PIPE, check=True)
        grep_s = time.perf_counter() - began
        yield Figure(
            what="scan of a 1 GB Megatron log",
            measured=sum(looks),
            unit="s",
            wanted=1.5,
            floor=grep_s,
            floor_is="grep -c",
        )
        yield Figure(what="the longest that one look at it holds up others", measured=max(looks), unit="s", wanted=0.05)
        tracemalloc.start()
        began = time.perf_counter()
        read_on(log, facts, backend)
        yield Figure(
            what="attach where one left off, 1 GB", measured=1000 * (time.perf_counter() - began), unit="ms", wanted=50
        )
        yield Figure(what="its memory", measured=tracemalloc.get_traced_memory()[1] / 1e6, unit="MB", wanted=1)
        tracemalloc.stop()
