"""Measures the network of an allocation before training may use it, and writes the verdict to gate.json.

Try it by hand, on a node with several GPUs, or on a log that is there already:

    python hooks/nccl_gate.py --ranks 4 --threshold 200 --output gate.json
    python hooks/nccl_gate.py --parse nccl.log --threshold 200

It runs inside the allocation, with the environment training will have: another NCCL_IB_HCA or NCCL_ALGO is
another network. Its exit status is the verdict: 0 pass, 44 missing, torn or contradictory output, 45 wrong
data, 46 below the threshold, 47 timeout, 48 not the ranks or hosts asked for. What cannot be judged fails.

Across nodes, give the launcher with the command, as one string:

    --command "srun --ntasks-per-node=4 --gpus-per-task=1 all_reduce_perf -b 1G -e 8G -f 2 -g 1 -n 20 -w 5"
"""

import argparse
import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from autoexp import files, nccl

TOOL = "all_reduce_perf"
THRESHOLD_GBPS = 5.0
"""Below this even one 100 Gb/s link is broken; a machine's own file should ask for far more."""
TIMEOUT_S = 180.0
GRACE_S = 10.0
"""How long a program that was asked to end may take, so that a launcher can end its ranks on other hosts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the gate of a job; the exit status is the verdict's code."""
    args = _parser().parse_args(argv)
    asked = nccl.Asked(
        threshold_gbps=args.threshold, ranks=args.ranks, hosts=args.hosts, excerpt=args.parse is not None
    )
    if args.parse:
        verdict = judge_file(args.parse, asked)
    else:
        verdict = measure(args.command or default_command(args.ranks), args.timeout, asked)
    print(json.dumps(verdict.as_json()))
    if args.output and not _written(args.output, verdict):
        return int(nccl.Code.UNREADABLE)
    return int(verdict.code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, help="the file to write the verdict to")
    add("--command", type=_words, help=f"what to run, as one string ({TOOL} over --ranks GPUs of this node)")
    add("--parse", type=Path, metavar="LOG", help="judge this output, and run nothing")
    add("--threshold", type=_positive, default=THRESHOLD_GBPS, help="GB/s of bus bandwidth to reach")
    add("--ranks", type=int, help="how many ranks must have run")
    add("--hosts", type=int, help="on how many hosts")
    add("--timeout", type=_positive, default=TIMEOUT_S, help="seconds the measurement may take")
    return parser


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    if not words:
        raise ValueError(command)
    return words


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def _written(output: Path, verdict: nccl.Verdict) -> bool:
    """Write the verdict; where that fails nobody can see why, so the gate fails."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(output, verdict.as_json(), indent=1)
    except OSError as error:
        print(f"nccl_gate: {output} cannot be written: {error.strerror}", file=sys.stderr)
        return False
    return True


def default_command(ranks: int | None) -> list[str]:
    """Return the measurement of one node: sizes as gradients have them, results checked, all its GPUs."""
    return [TOOL, "-b", "1G", "-e", "8G", "-f", "2", "-g", str(ranks or 1), "-c", "1", "-n", "20", "-w", "5"]


def judge_file(log: Path, asked: nccl.Asked) -> nccl.Verdict:
    """Judge an output that was kept; one that cannot be read fails."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return _unreadable(f"{log} cannot be read: {error.strerror}", asked.threshold_gbps)
    return nccl.judge(nccl.read(text), asked)


def measure(command: Sequence[str], timeout_s: float, asked: nccl.Asked) -> nccl.Verdict:
    """Run the measurement and judge it; its output is passed on, for the log of the job."""
    try:
        text, status, timed_out = _run(command, timeout_s)
    except OSError as error:
        return _unreadable(f"{command[0]} cannot be run: {error.strerror}", asked.threshold_gbps)
    print(text, end="" if text.endswith("\n") else "\n", flush=True)
    return nccl.judge(nccl.read(text), replace(asked, status=status, timed_out=timed_out))


def _unreadable(cause: str, threshold_gbps: float) -> nccl.Verdict:
    return nccl.Verdict(code=nccl.Code.UNREADABLE, cause=cause, threshold_gbps=threshold_gbps)


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
