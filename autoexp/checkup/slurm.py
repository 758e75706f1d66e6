"""Checks of a Slurm cluster, by its own clients; a job is described to it, and none is submitted."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from getpass import getuser

from autoexp import executors, slurmtext
from autoexp.checkup import Check, Finding, Patient, fail, ok, warn
from autoexp.executors.slurm import FORGETFUL, Printed, call
from autoexp.machine import Partition
from autoexp.model import Resources

CLIENTS = ("sbatch", "squeue", "scancel", "sacct", "scontrol", "sinfo")
PATIENCE_S = 10.0
"""How long a client may take."""
SLOW_S = 2.0
LONG_MESSAGE_S = 100
"""A submission whose answer was lost is not repeated before the controller's MessageTimeout is over."""
UNKEPT = "not running a supported accounting_storage"
"""What sacctmgr says where nothing is kept."""
INSTALL = "load the site's module, or install Slurm's clients"
ASK_THE_SITE = "ask the site whether Slurm is up; the watcher goes on by itself when it is"


def run(*command: str, script: str = "") -> Printed:
    """Call a client of Slurm's, as the watcher does, but not for as long."""
    printed = call(*command, script=script.encode(), patience_s=PATIENCE_S)
    if printed.code is not None:
        return printed
    said = f": {slurmtext.complaint(printed.errors)}" if printed.errors.strip() else ""
    return Printed(None, "", f"no answer within {PATIENCE_S:g} s{said}")


def _answer(*command: str) -> tuple[str | None, str]:
    """Return what a client printed, or None and its complaint."""
    printed = run(*command)
    return (printed.output if printed.code == 0 else None), slurmtext.complaint(printed.errors)


def clients(_: Patient) -> Iterator[Finding]:
    """Look for the programs."""
    missing = [name for name in CLIENTS if shutil.which(name) is None]
    if missing:
        yield fail("Slurm's clients", f"{', '.join(missing)} not found on the PATH", INSTALL)
    else:
        yield ok("Slurm's clients", ", ".join(CLIENTS))


def controller(_: Patient) -> Iterator[Finding]:
    """Ask whether the controller is there, and how fast it answers."""
    began = time.monotonic()
    printed = run("scontrol", "ping")  # one of several controllers may be down, and it prints so, whatever its status
    took_s = time.monotonic() - began
    said = " ".join(printed.output.split()) or slurmtext.complaint(printed.errors)
    if "UP" not in printed.output:
        yield fail("controller", said, ASK_THE_SITE)
    elif took_s > SLOW_S:
        yield warn("controller", f"it took {took_s:.1f} s to answer", "raise query_interval: in the machine file")
    else:
        yield ok("controller", f"{said} ({took_s * 1000:.0f} ms)")


def configuration(_: Patient) -> Iterator[Finding]:
    """Read what of the cluster's settings matters."""
    output, complaint = _answer("scontrol", "show", "config")
    if output is None:
        yield fail("configuration", complaint, ASK_THE_SITE)
        return
    said = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", output, re.MULTILINE))
    yield ok("cluster", f"{said.get('ClusterName', 'without a name')}, Slurm {said.get('SLURM_VERSION', 'unknown')}")
    timeout = said.get("MessageTimeout", "")
    seconds = int(timeout.split()[0]) if timeout[:1].isdecimal() else None
    if seconds is None or seconds > LONG_MESSAGE_S:
        why = f"MessageTimeout is {timeout or 'not told'}: a submission whose answer is lost waits that long"
        yield warn("message timeout", why, "nothing to do, but be patient when Slurm was away")
    else:
        yield ok("message timeout", f"{seconds} s")


def accounting(_: Patient) -> Iterator[Finding]:
    """Ask the accounting for nothing, to see that it answers."""
    output, complaint = _answer("sacct", "--noheader", "--allocations", "--name=autoexp-doctor", "--format=JobIDRaw")
    if output is not None:
        yield ok("accounting", "on: how a job ended can be asked for later")
    elif any(sign in complaint.lower() for sign in FORGETFUL):
        why = "off: the controller alone is asked, and it forgets a job some minutes after its end"
        yield warn("accounting", why, "keep a watcher running; endings come from exit.json then")
    else:
        yield fail("accounting", complaint, "ask the site: slurmdbd does not answer")


def partitions(patient: Patient) -> Iterator[Finding]:
    """Hold the machine file's partitions against the cluster's."""
    output, complaint = _answer("sinfo", "--noheader", "--format=%R|%a")
    if output is None:
        yield fail("partitions", complaint, ASK_THE_SITE)
        return
    there = dict(line.strip().split("|") for line in output.splitlines() if "|" in line)
    machine, listed = patient.machine, ", ".join(there)
    named = [name for name in machine.options.get("partition", "").split(",") if name]
    fix = f"correct partition: in machines/{machine.name}.yaml; there are {listed}"
    for name in named:
        if name not in there:
            yield fail("partition", f"the cluster has no {name}", fix)
        elif there[name] != "up":
            yield warn("partition", f"{name} is {there[name]}", "jobs wait until it is up, or name another one")
        else:
            yield ok("partition", f"{name} is up")
    if gone := [name for name in machine.partitions if name not in there and name not in named]:
        why = f"the cluster has no {', '.join(gone)}, or does not show it to you"
        yield warn("partitions", why, f"correct partitions: in machines/{machine.name}.yaml")
    if not named:
        yield ok("partition", f"Slurm's default; there are {listed}")


def account(patient: Patient) -> Iterator[Finding]:
    """Look whether this user may use the account and the QOS that the machine file names."""
    options, file = patient.machine.options, f"machines/{patient.machine.name}.yaml"
    wanted = {key: options[key] for key in ("account", "qos") if key in options}
    output, complaint = _answer(
        *("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getuser()}", "format=Account,QOS")
    )
    if output is None:
        why = f"nobody can say which accounts are yours: {complaint}"
        unsure = warn("account", why, "see what the submission below comes to")
        yield unsure if wanted or UNKEPT not in complaint else ok("account", f"none is named; {why}")
        return
    rows = [line.split("|") for line in output.splitlines() if "|" in line]
    yours = {"account": {row[0] for row in rows}, "qos": {name for row in rows for name in row[1].split(",") if name}}
    for key, name in wanted.items():
        if name.lower() in {one.lower() for one in yours[key]}:
            yield ok(key, f"{name} is yours")
        else:
            known = ", ".join(sorted(yours[key])) or "none"
            yield fail(key, f"{name} is not among yours: {known}", f"correct {key}: in {file}")
    if "account" not in wanted:
        yield ok("account", f"none is named; yours are {', '.join(sorted(yours['account'])) or 'none'}")


def overrides(_: Patient) -> Iterator[Finding]:
    """Look for variables of sbatch's that go before what a job says."""
    found = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("SBATCH_")]
    if found:
        why = f"{', '.join(found)} goes before what recipes and machine files say"
        yield warn("environment", why, f"unset {' '.join(one.partition('=')[0] for one in found)}")


def submission(patient: Patient) -> Iterator[Finding]:
    """Have Slurm say whether it would take a small job with the machine's options."""
    machine = patient.machine
    partition = machine.partitions.get(machine.options.get("partition", ""), Partition())
    asked = Resources(walltime_s=60, gpus_per_node=min(partition.gpus_per_node or 0, 1))
    lines = executors.directives(machine, asked)
    script = "\n".join(("#!/bin/bash", *lines, "true", ""))
    printed = run("sbatch", "--test-only", "--job-name=autoexp-doctor", "--output=/dev/null", script=script)
    words = slurmtext.complaint(printed.errors)
    if printed.code == 0:
        yield ok("submission", f"a small job would be taken: {words}")
    else:
        yield fail("submission", f"a small job would be refused: {words}", slurmtext.fix(printed.errors))


CHECKS = (
    Check("Slurm's clients", clients, vital=True),
    Check("controller", controller, vital=True),
    Check("configuration", configuration),
    Check("accounting", accounting),
    Check("partitions", partitions),
    Check("account", account),
    Check("environment", overrides),
    Check("submission", submission),
)
