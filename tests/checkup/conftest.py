"""What checks look at, and a real cluster to ask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoexp.checkup import Check, Finding, Patient, carried_out
from autoexp.machine import Machine
from tests.slurm.conftest import running, slurm  # noqa: F401 - fixtures

Ask = Callable[..., dict[str, Finding]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Carry out one check, and return its findings by what they are about."""

    def run(check: Callable[[Patient], Any], root: Path | None = None, **machine: Any) -> dict[str, Finding]:
        patient = Patient(machine=Machine(name="m", **machine), root=root or tmp_path / "experiments")
        return {finding.what: finding for finding in carried_out(Check("asked", check), patient)}

    return run
