"""List the machines there are files for, and say which one this is.

autoexp machines
autoexp machines --json

The one with the asterisk is what `machine: auto`, the default of a recipe, comes to here.
"""

import argparse
import json
from typing import Any

from autoexp import machines
from autoexp.machine import Machine, Partition
from autoexp.machines import Known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp machines`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each."""
    known = machines.everything()
    here = machines.here(known) or "local"
    found = [_described(name, one, is_here=name == here) for name, one in known.items()]
    print(json.dumps({"here": here, "machines": found}) if arguments.json else "\n".join(_lines(found)))
    return 0


def _described(name: str, known: Known, *, is_here: bool) -> dict[str, Any]:
    machine = known.read()
    rule = machines.rule_here(known) or "no machine's identify rule holds"
    return {
        "machine": name,
        "description": machine.description,
        "executor": machine.executor,
        "partitions": list(machine.partitions),
        "gpus": _gpus(machine),
        "file": str(known.path),
        "extends": [path.stem for path in known.bases],
        "here": is_here,
        "why": rule if is_here else None,
    }


def _gpus(machine: Machine) -> list[str]:
    """Name the GPUs of a node, of each kind there is."""
    if machine.partitions:
        return list(dict.fromkeys(_kind(one) for one in machine.partitions.values() if one.gpus_per_node))
    count = len(machines.gpus(machine)) if machine.executor == "local" else 0
    return [f"{count} GPU{'' if count == 1 else 's'}"] if count else []


def _kind(partition: Partition) -> str:
    return f"{partition.gpus_per_node} {partition.gpu or 'GPUs'}"


def _lines(found: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            f"{'*' if one['here'] else ' '} {one['machine']}",
            one["executor"],
            ", ".join(one["gpus"]) or "-",
            ", ".join(one["partitions"]) or "-",
            one["description"] + (f" (this one: {one['why']})" if one["here"] else ""),
        )
        for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
