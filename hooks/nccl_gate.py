"""Measures the network of an allocation before training may use it, and writes the verdict to gate.json.

Try it by hand:

    python hooks/nccl_gate.py --ranks 4 --threshold 200 --output gate.json

It runs inside the allocation, with the environment training will have: another NCCL_IB_HCA or NCCL_ALGO is
another network. What it sets for itself ends with its own process. Its exit status is the verdict: 0 pass, 44 missing,
torn or contradictory output, 45 wrong data, 46 below the threshold, 47 timeout, 48 not the ranks or hosts asked for.
What cannot be judged fails, after a second try where a moment's trouble may have been the cause.

It starts all_reduce_perf, or where that is not installed our own measurement with torch.distributed; on several hosts
with srun. Another launcher is given with the command, as one string:

    --command "mpirun -n 16 --hostfile hosts all_reduce_perf -b 1G -e 8G -f 2 -g 1 -n 20 -w 5"

Where several nodes of a Slurm allocation are too slow together, parts of it are measured until it is known which nodes
or links are to blame, as far as that can be known. Slow nodes are suspects; the watcher keeps the study away from them.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median_high
from typing import NoReturn, cast

from autoexp import fabrics, files, gates, localisation, nccl
from autoexp.endings import CANNOT_BE_RUN
from autoexp.machine import Network
from autoexp.nodelists import spelled_out

PLANNED = "ranks hosts threshold"
TAKES = "command threshold ranks hosts timeout"
"""What the planner fills in, unless the recipe does."""
TOOL = "all_reduce_perf"
TIMEOUT_S = 180.0
"""For each try; to be ended costs up to two GRACE_S more."""
GRACE_S = 10.0
"""How long a program that was asked to end may take, so that a launcher can end its ranks on other hosts."""
LOCATE_S = 900.0
"""How long the search for slow nodes may take; what is not measured by then is unclear."""
LEAST_RANKS = 2
MOST = 1e9
"""Seconds that no clock of ours can wait, and GB/s that no network has."""
MAY_PASS = (nccl.Code.UNREADABLE, nccl.Code.SLOW, nccl.Code.TIMEOUT)
"""What a second try may find gone. Wrong data stays wrong, however often a sum is right after all."""

BLAMES = (nccl.Code.SLOW, nccl.Code.WRONG_DATA, nccl.Code.TIMEOUT)
"""What is looked for in parts of an allocation."""
FAR_BELOW = 0.7
"""Of what other groups of as many nodes reach: the paths of healthy ones differ by less, half a link by more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the gate of a job; the exit status is the verdict's code."""
    args = _parser().parse_args(argv)
    asked = nccl.Asked(threshold_gbps=args.threshold, ranks=args.ranks, hosts=args.hosts)
    command = args.command or default_command(args.ranks or LEAST_RANKS, args.hosts or 1)
    verdict, tries = (alone(asked), 0) if args.ranks == 1 else (measure(command, args.timeout, asked), 1)
    if verdict.code in MAY_PASS:
        print(f"nccl_gate: {verdict.cause}; once more", flush=True)
        verdict, tries = measure(command, args.timeout, asked), 2
    verdict = without_guesses(verdict, args.hosts or 1)
    if verdict.code in BLAMES and not args.command and args.hosts:
        verdict = with_findings(verdict, locate(args.ranks or args.hosts, args.hosts, args.timeout, asked))
    record = {**verdict.as_json(), "tries": tries, "command": shlex.join(command)}
    print(json.dumps(record))
    if args.output and not _written(args.output, record):
        return int(nccl.Code.UNREADABLE)
    return int(verdict.code)


def alone(asked: nccl.Asked) -> nccl.Verdict:
    """Refuse a gate of a single rank."""
    cause = "a single rank has nobody to talk to: leave the gate out"
    return nccl.Verdict(code=nccl.Code.TOPOLOGY, cause=cause, threshold_gbps=asked.threshold_gbps, ranks=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--output", type=_file, help="the file to write the verdict to")
    add("--command", type=_words, help=f"what to run, as one string ({TOOL}, or our own measurement)")
    add("--threshold", type=_positive, default=fabrics.DEFAULT_GBPS, help="GB/s of bus bandwidth to reach")
    add("--ranks", type=_count, help="how many ranks must have run")
    add("--hosts", type=_count, help="on how many hosts")
    add("--timeout", type=_positive, default=TIMEOUT_S, help="seconds the measurement may take")
    return parser


def _file(text: str) -> Path:
    path = Path(text)
    if not path.name:
        raise ValueError(text)
    return path


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    if not words:
        raise ValueError(command)
    return words


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= MOST:
        raise ValueError(text)
    return value


def _written(output: Path, record: Mapping[str, object]) -> bool:
    """Write the verdict; where that fails nobody can see why, so the gate fails."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(output, record, indent=1)
    except OSError as error:
        print(f"nccl_gate: {output} cannot be written: {error.strerror}", file=sys.stderr)
        return False
    return True


def locate(ranks: int, hosts: int, timeout_s: float, asked: nccl.Asked) -> localisation.Findings:
    """Measure parts of the Slurm allocation we run in, many at once, until it is known which are slow."""
    nodes = sorted(spelled_out(os.environ.get("SLURM_JOB_NODELIST", "")))
    each, end = -(-ranks // hosts), time.monotonic() + LOCATE_S
    search, usual = localisation.locate(nodes), dict[int, float]()
    try:
        wave = next(search)
        while True:
            with ThreadPoolExecutor(len(wave)) as pool:
                measured = pool.map(lambda group: measure_part(group, each, timeout_s, asked, end), wave)
                wave = search.send(compared(dict(zip(wave, measured, strict=True)), usual))
    except StopIteration as found:
        return cast("localisation.Findings", found.value)


def measure_part(
    group: localisation.Group, each: int, timeout_s: float, asked: nccl.Asked, end: float
) -> nccl.Verdict | None:
    """Measure some nodes; None where that is not done. One process alone has nobody to talk to."""
    ranks = each * len(group)
    if ranks < LEAST_RANKS:
        return nccl.Verdict(code=nccl.Code.PASS, cause="one process alone", threshold_gbps=asked.threshold_gbps)
    if time.monotonic() > end:
        return None
    command = default_command(ranks, len(group), group)
    verdict = measure(command, timeout_s / 2, replace(asked, ranks=ranks, hosts=len(group)), quiet=True)
    print(f"nccl_gate: {' '.join(group)}: {verdict.busbw_gbps} GB/s, {verdict.cause}", flush=True)
    return verdict


def compared(
    wave: Mapping[localisation.Group, nccl.Verdict | None], usual: dict[int, float]
) -> dict[localisation.Group, bool | None]:
    """Say which groups are fast: by the threshold, and beside the groups of that many nodes in their first wave.

    A few nodes are faster than all of them by their nature: a link at half its rate may pass there, and not here.
    `usual` keeps what groups of each number of nodes reach, in GB/s.
    """
    reached: dict[int, list[float]] = {}
    for group, verdict in wave.items():
        if verdict is not None and verdict.busbw_gbps is not None:
            reached.setdefault(len(group), []).append(verdict.busbw_gbps)
    for size, all_gbps in reached.items():
        usual.setdefault(size, median_high(all_gbps))
    return {group: _is_fast(verdict, usual.get(len(group), 0.0)) for group, verdict in wave.items()}


def _is_fast(verdict: nccl.Verdict | None, usual_gbps: float) -> bool | None:
    """Judge one part; None where it cannot be judged. A part that hangs is a slow one, for the others do not."""
    if verdict is not None and verdict.code in BLAMES:
        return False
    if verdict is None or verdict.code is not nccl.Code.PASS:
        return None
    return verdict.busbw_gbps is None or verdict.busbw_gbps >= FAR_BELOW * usual_gbps


def without_guesses(verdict: nccl.Verdict, hosts: int) -> nccl.Verdict:
    """Suspect no host that only waited for another one (each of them reports the timeout), and not all of them."""
    guessed = verdict.code is nccl.Code.TIMEOUT or len(verdict.suspects) >= hosts
    return replace(verdict, suspects=()) if hosts > 1 and guessed else verdict


def with_findings(verdict: nccl.Verdict, found: localisation.Findings) -> nccl.Verdict:
    """Say in a verdict which nodes and links are slow; at most a quarter of them are suspects."""
    most = max((len(found.good) + len(found.slow)) // 4, 1)
    said = [f"{node} is slow" for node in found.slow]
    said += [f"the link between {one} and {other} is slow" for one, other in found.links]
    said += [f"something among {', '.join(group)} is slow" for group in found.unclear]
    suspects = tuple(dict.fromkeys((*verdict.suspects, *found.excludable(most))))
    return replace(verdict, cause="; ".join((verdict.cause, *said)), suspects=suspects)


def default_command(ranks: int, hosts: int, nodes: Sequence[str] = ()) -> list[str]:
    """Return the measurement: sizes as gradients have them, results checked, all GPUs; on `nodes` if that matters."""
    each = -(-ranks // hosts)
    srun = ["srun", f"--nodes={hosts}", *([f"--nodelist={','.join(nodes)}"] if nodes else [])]
    if shutil.which(TOOL):
        sizes = ["-b", "1G", "-e", "8G", "-f", "2", "-c", "1", "-n", "20", "-w", "5"]
        if hosts == 1 and not nodes:
            return [TOOL, *sizes, "-g", str(ranks)]
        cores = int(os.environ.get("SLURM_CPUS_ON_NODE", each)) // each
        shape = [f"--ntasks={ranks}", f"--ntasks-per-node={each}", f"--cpus-per-task={max(cores, 1)}"]
        return [*srun, *shape, TOOL, *sizes, "-g", "1"]
    own = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={each}"]
    program = ["-m", "autoexp.trainers.allreduce"]
    if hosts == 1:
        return [*(srun if nodes else []), *own, "--standalone", *program]
    meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={nodes[0] if nodes else os.uname().nodename}:{_free_port()}"]
    return [*srun, "--ntasks-per-node=1", *own, f"--nnodes={hosts}", *meet, *program]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


def measure(command: Sequence[str], timeout_s: float, asked: nccl.Asked, *, quiet: bool = False) -> nccl.Verdict:
    """Run the measurement and judge it; its output is passed on, for the log of the job, unless that is too much."""
    try:
        text, status, timed_out = _run(command, timeout_s)
    except OSError as error:
        return gates.unreadable(f"{command[0]}{CANNOT_BE_RUN}{error.strerror}", asked)
    if not quiet:
        print(text, end="" if text.endswith("\n") else "\n", flush=True)
    return gates.judge(text, Network(), replace(asked, status=status, timed_out=timed_out))


def _run(command: Sequence[str], timeout_s: float) -> tuple[str, int, bool]:
    """Return the output, both streams in one, the exit status, and whether it had to be ended."""
    process = subprocess.Popen(  # noqa: S603 - the command is the recipe's, split into words, and no shell sees it
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that its children end with it
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return _end(process), process.returncode, True
    except BaseException:  # we are ended ourselves, and it must not outlive us
        _end(process)
        raise
    return output.decode(errors="replace"), process.returncode, False


def _end(process: subprocess.Popen[bytes]) -> str:
    """End the program and its children, asking first; return what it had printed."""
    for request, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=patience_s)
            return output.decode(errors="replace")
    return ""  # a child in another session still holds the pipe; its words are lost, and the verdict is the same


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    raise SystemExit(main())
