"""Check this installation, this machine and the experiments folder: what is wrong, why, and the fix.

autoexp doctor
autoexp doctor --machine lumi --root experiments/
autoexp doctor --json

Nothing is changed and nothing is submitted. The status is 1 if something failed.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from autoexp import machines, targets
from autoexp.checkup import Check, Finding, Grade, Patient, examine, installation, ok, place, warn
from autoexp.machine import Machine
from autoexp.machines import Known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp doctor`."""
    parser.add_argument("--root", metavar="DIR", help="the experiments folder (else $AUTOEXP_ROOT, else ./experiments)")
    parser.add_argument("--machine", metavar="NAME", default="auto", help="check for this machine")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check, and print each finding as it is made."""
    known = machines.find(arguments.machine)
    machine = known.read()
    patient = Patient(machine=machine, root=targets.default_root(arguments.root).absolute())
    found: list[Finding] = []
    for finding in _findings(patient, _who(machine, arguments.machine, known)):
        found.append(finding)
        if not arguments.json:
            print(finding.line(), flush=True)
    if arguments.json:
        print(json.dumps({"machine": machine.name, "root": str(patient.root), "findings": list(map(asdict, found))}))
    return 1 if any(finding.grade is Grade.FAIL for finding in found) else 0


def _findings(patient: Patient, first: Finding) -> Iterator[Finding]:
    yield first
    yield from examine(patient, (installation.CHECKS, place.CHECKS, _of_executor(patient.machine)))


def _who(machine: Machine, asked: str, known: Known) -> Finding:
    """Say which machine this is; a cluster that nobody recognised would have its jobs run on its login node."""
    from shutil import which  # noqa: PLC0415 - few need it

    rule, has_rule = machines.rule_here(known), bool(known.raw.get("identify"))
    said = f"{machine.name}, executor {machine.executor}"
    if asked != "auto":
        elsewhere = "; its identify rule does not hold here" if has_rule and not rule else ""
        return ok("machine", f"{said}, as you named it{elsewhere}")
    if machine.executor == "local" and rule is None and which("sbatch"):
        why = f"{said}, though there is an sbatch: no machine's identify rule holds"
        return warn("machine", why, "name yours (--machine NAME, machine: NAME), or give a machine file its rule")
    return ok("machine", f"{said}: {rule or 'no other machine is recognised'}")


def _of_executor(machine: Machine) -> tuple[Check, ...]:
    """Return the checks of a batch scheduler; a local machine has none of its own."""
    if machine.executor != "slurm":
        return ()
    from autoexp.checkup import slurm  # noqa: PLC0415 - where there is one

    return slurm.CHECKS
