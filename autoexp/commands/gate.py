"""Judge a network: measure it here, or read what all_reduce_perf or its kin have printed.

It exits with the gate's code: 0 pass, 44 missing, torn or contradictory output, 45 wrong data, 46 too slow, 47 timeout,
48 not the ranks or hosts asked for. What cannot be judged fails.

  autoexp gate --parse nccl.log --ranks 16 --hosts 2 --threshold 300
  autoexp gate --machine workstation
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from autoexp import fabrics, folders, gates, machines, nccl
from autoexp.errors import AutoexpError
from autoexp.machine import Machine

STDERR = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp gate`."""
    parser.add_argument("--machine", metavar="NAME", default="auto", help="whose network: it should be as fast as")
    parser.add_argument("--parse", metavar="LOG", type=Path, help="judge this output, and run nothing")
    parser.add_argument("--ranks", metavar="N", type=_count, help="how many ranks must have run")
    parser.add_argument("--hosts", metavar="K", type=_count, help="on how many hosts")
    what = "bus bandwidth to reach, instead of the machine's"
    parser.add_argument("--threshold", metavar="GBPS", type=_positive, default=0.0, help=what)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: write a number from 1 on")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no bandwidth: write GB/s, a number above 0")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Judge, print, and return the gate's code."""
    machine = machines.load(arguments.machine)
    verdict = _parsed(arguments, machine) if arguments.parse else _measured(arguments, machine)
    print(json.dumps(verdict) if arguments.json else _told(verdict))
    return int(verdict["code"])


def _parsed(arguments: argparse.Namespace, machine: Machine) -> dict[str, Any]:
    asked = nccl.Asked(threshold_gbps=arguments.threshold, ranks=arguments.ranks, hosts=arguments.hosts, excerpt=True)
    return gates.judge_file(arguments.parse, machine.network, asked).as_json()


def _measured(arguments: argparse.Namespace, machine: Machine) -> dict[str, Any]:
    """Run the hook, in a process of its own: what it measures with stays there. What that says is no part of ours."""
    ranks, hosts = arguments.ranks or max(len(machines.gpus(machine)), 2), arguments.hosts or 1
    if hosts > ranks:
        what = f"{ranks} ranks cannot be on {hosts} hosts"
        raise AutoexpError(what, why="each host has a rank at least", fix="give --ranks N, of all hosts together")
    least = arguments.threshold or fabrics.threshold_gbps(machine.network, ranks, hosts)
    if least is None:
        raise AutoexpError(
            f"nobody says how fast {ranks} ranks on {hosts} hosts must be",
            why=f"the network: of machine {machine.name} does not tell",
            fix="give --threshold GBPS, or complete the machine file",
        )
    hook = folders.find("hooks", "nccl_gate", ".py")
    with tempfile.TemporaryDirectory(prefix="autoexp-gate-") as folder:
        output = Path(folder) / "gate.json"
        flags = (f"--output={output}", f"--ranks={ranks}", f"--hosts={hosts}", f"--threshold={least}")
        done = subprocess.run((machine.python, hook, *flags), stdout=STDERR, check=False)  # noqa: S603 - our own hook
        if output.exists():
            verdict: dict[str, Any] = json.loads(output.read_bytes())
            return verdict
    cause = f"the hook ended with status {done.returncode}, and wrote no verdict"
    return gates.unreadable(cause, nccl.Asked(threshold_gbps=least)).as_json()


def _told(verdict: dict[str, Any]) -> str:
    busbw, ranks = verdict["busbw_gbps"], verdict["ranks"]
    speed = "" if busbw is None else f"{busbw:g} GB/s at the largest size, {verdict['threshold_gbps']:g} asked for"
    facts = [verdict["cause"], speed, f"{ranks} ranks" if ranks else ""]
    suspects = ", ".join(verdict["suspects"])
    facts.append(f"look at {suspects}" if suspects else "")
    return f"{verdict['verdict']} ({verdict['code']}): {'; '.join(fact for fact in facts if fact)}"
